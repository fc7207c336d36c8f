"""Compare: every figure is scikit-learn's, every interval that of a bootstrap written out in full."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn import metrics as sklearn
from written_results import NAMES, Maps, write_results

import batchseg
from batchseg.comparison import bootstrap
from batchseg.comparison.sparse_counts import SparseCounts
from batchseg.config.base import METRICS
from batchseg.config.compare import CLASS_FIGURES

CLASSES = len(NAMES)
TIMES, SEED = 40, 7

Figures = dict[str, float]


def scenes(noise: float, seed: int = 0, count: int = 9) -> dict[str, Maps]:
    """Images of one ground truth, partly ignored; one has none. Class 3 is rare, and the masks abstain."""
    rng, dice = np.random.default_rng(1), np.random.default_rng(seed)
    images: dict[str, Maps] = {}
    for index in range(count):
        truth = rng.integers(0, 3, (8, 6 + index))
        truth[0, :2] = 3 if index == 4 else 0
        wrong = dice.random(truth.shape) < noise
        predicted = np.where(wrong, dice.integers(0, 3, truth.shape), truth)
        truth[1, :3] = CLASSES  # ignored
        predicted[2, 0] = CLASSES  # the mask abstains
        images[f"{index % 2}/{index}.png"] = (predicted, None if index == 6 else truth)
    return images


def data_set_figures(pairs: list[Maps]) -> Figures:
    """By scikit-learn, from the pixels; of each class as well, NaN where a figure is undefined."""
    flat = [(p.ravel(), t.ravel()) for p, t in pairs if t is not None]
    predicted, truth = (np.concatenate(maps) for maps in zip(*flat, strict=True))
    predicted, truth = predicted[truth < CLASSES], truth[truth < CLASSES]
    occurring = np.union1d(truth, predicted)
    labels = occurring[occurring < CLASSES]
    options: dict[str, Any] = {"labels": labels, "zero_division": 0}
    figures = {
        "accuracy": sklearn.accuracy_score(truth, predicted),
        "recall_weighted": sklearn.recall_score(truth, predicted, average="weighted", **options),
        "f1_weighted": sklearn.f1_score(truth, predicted, average="weighted", **options),
        "recall_macro": sklearn.recall_score(truth, predicted, average="macro", **options),
        "f1_macro": sklearn.f1_score(truth, predicted, average="macro", **options),
        "precision_macro": sklearn.precision_score(truth, predicted, average="macro", **options),
        "mean_iou": sklearn.jaccard_score(truth, predicted, average="macro", **options),
    }
    each: dict[str, Any] = {"labels": range(CLASSES), "average": None}
    by_class = {
        "iou": sklearn.jaccard_score(truth, predicted, zero_division=0, **each),
        "recall": sklearn.recall_score(truth, predicted, zero_division=np.nan, **each),
        "precision": sklearn.precision_score(truth, predicted, zero_division=np.nan, **each),
        "f1": sklearn.f1_score(truth, predicted, zero_division=np.nan, **each),
    }
    by_class["iou"] = np.where(np.isin(range(CLASSES), labels), by_class["iou"], np.nan)
    return figures | {
        f"{figure} of {name}": values[label]
        for figure, values in by_class.items()
        for label, name in enumerate(NAMES)
    }


def plain_bootstrap(
    old: dict[str, Maps], new: dict[str, Maps], measure: Callable[[list[Maps]], Figures]
) -> dict[str, tuple[float | None, ...]]:
    """The interval of each difference: draw images, put their pixels together, measure; again and again."""
    names = sorted(name for name, (_, truth) in old.items() if truth is not None)
    rng = np.random.default_rng(SEED)
    drawn: dict[str, list[float]] = {}
    for _ in range(TIMES):
        picks = [names[place] for place in rng.integers(0, len(names), len(names))]
        before, after = measure([old[name] for name in picks]), measure([new[name] for name in picks])
        for name in before:
            drawn.setdefault(name, []).append(after[name] - before[name])
    known = {name: [value for value in values if not np.isnan(value)] for name, values in drawn.items()}
    return {
        name: tuple(np.quantile(values, [0.05, 0.95])) if values else (None, None)
        for name, values in known.items()
    }


@pytest.fixture(scope="module")
def old() -> dict[str, Maps]:
    return scenes(0.1)


@pytest.fixture(scope="module")
def new() -> dict[str, Maps]:
    return scenes(0.3, seed=5)


@pytest.fixture(scope="module")
def report(
    old: dict[str, Maps], new: dict[str, Maps], tmp_path_factory: pytest.TempPathFactory
) -> batchseg.CompareReport:
    folder = tmp_path_factory.mktemp("compared")
    backwards = dict(reversed(new.items()))  # the order of the rows means nothing
    config = batchseg.CompareConfig(
        old=str(write_results(folder / "old", old)),
        new=str(write_results(folder / "new", backwards)),
        bootstrap=TIMES,
        seed=SEED,
        confidence=0.9,
        listed=3,
    )
    return batchseg.compare(config)


def found(report: batchseg.CompareReport) -> dict[str, Any]:
    by_class = {
        f"{figure} of {name}": report.classes[name][figure] for figure in CLASS_FIGURES for name in NAMES
    }
    return {**report.metrics, **by_class}


def test_figures_are_those_of_scikit_learn(
    report: batchseg.CompareReport, old: dict[str, Maps], new: dict[str, Maps]
) -> None:
    before, after = data_set_figures([*old.values()]), data_set_figures([*new.values()])
    figures = found(report)
    assert set(figures) == set(before) >= set(METRICS)
    for name, figure in figures.items():
        expected = [before[name], after[name], after[name] - before[name]]
        known = [None if np.isnan(value) else pytest.approx(value, abs=1e-12) for value in expected]
        assert [figure.old, figure.new, figure.difference] == known, name
    assert figures["precision of boat"].new is None  # or absent classes would go untested


def test_intervals_are_those_of_a_plain_bootstrap(
    report: batchseg.CompareReport, old: dict[str, Maps], new: dict[str, Maps]
) -> None:
    expected = plain_bootstrap(old, new, data_set_figures)
    for name, figure in found(report).items():
        assert (figure.low, figure.high) == pytest.approx(expected[name], abs=1e-12), name
    assert report.metrics["mean_iou"].high < 0  # or the test would show little


def test_the_images_that_changed_most(
    report: batchseg.CompareReport, old: dict[str, Maps], new: dict[str, Maps]
) -> None:
    scored = [name for name, (_, truth) in old.items() if truth is not None]
    scores = {
        name: tuple(data_set_figures([side[name]])["mean_iou"] for side in (old, new)) for name in scored
    }
    order = sorted(scored, key=lambda name: -abs(scores[name][1] - scores[name][0]))[:3]
    assert [each.id for each in report.changed] == order
    for each in report.changed:
        assert (each.old, each.new) == pytest.approx(scores[each.id], abs=1e-12)
        assert each.difference == pytest.approx(each.new - each.old)


def shares(*maps: np.ndarray) -> np.ndarray:
    areas = np.bincount(np.concatenate([each.ravel() for each in maps]), minlength=CLASSES + 1)
    return areas / areas.sum()


def test_predicted_areas_need_no_truth(
    report: batchseg.CompareReport, old: dict[str, Maps], new: dict[str, Maps]
) -> None:
    moved = {name: np.abs(shares(new[name][0]) - shares(old[name][0])).sum() / 2 for name in old}
    order = sorted(moved, key=lambda name: (-moved[name], name))[:3]
    assert [(each.id, pytest.approx(each.share)) for each in report.moved] == [(n, moved[n]) for n in order]
    before, after = (shares(*(predicted for predicted, _ in side.values())) for side in (old, new))
    for drift in (report.drift["both"], report.drift["all"]):
        assert (drift.old_images, drift.new_images) == (9, 9)
        assert drift.distance == pytest.approx(np.abs(after - before).sum() / 2)
        assert {name: (shift.old, shift.new) for name, shift in drift.areas.items()} == {
            name: pytest.approx((before[label], after[label]))
            for label, name in enumerate([*NAMES, "(none)"])
        }
    assert (report.drift["came"].new_images, report.drift["came"].distance) == (0, None)


def test_what_is_read_in_pieces_is_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(2)
    entries = [rng.integers(*bounds, 900) for bounds in ((0, 100), (-1, 4), (-1, 4), (1, 50))]
    side = SparseCounts.from_entries(*entries, (100, 4))
    whole = bootstrap.resampled([side], 13, 3)[0]
    monkeypatch.setattr(bootstrap, "_WEIGHTS", 300)
    monkeypatch.setattr(bootstrap, "_BLOCK", 7 * 4 * 5)
    assert len(bootstrap.blocks(side)) == 15
    np.testing.assert_array_equal(bootstrap.resampled([side], 13, 3)[0], whole)


def test_another_seed_gives_other_intervals_and_none_gives_none(
    report: batchseg.CompareReport, old: dict[str, Maps], new: dict[str, Maps], tmp_path: Path
) -> None:
    paths = {
        "old": str(write_results(tmp_path / "old", old)),
        "new": str(write_results(tmp_path / "new", new)),
    }
    settings = {**paths, "bootstrap": TIMES, "confidence": 0.9}
    again, other = (batchseg.compare(batchseg.CompareConfig(**settings, seed=s)) for s in (SEED, SEED + 1))
    assert again.metrics == report.metrics
    assert other.metrics["mean_iou"].low != report.metrics["mean_iou"].low
    none = batchseg.compare(batchseg.CompareConfig(**paths, bootstrap=0)).metrics["mean_iou"]
    assert none.difference == report.metrics["mean_iou"].difference
    assert (none.low, none.high) == (None, None)
