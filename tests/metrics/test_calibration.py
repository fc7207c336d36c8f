"""Calibration against torchmetrics, scikit-learn and sums by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import log_loss
from torchmetrics.classification import MulticlassCalibrationError

from batchseg.metrics.calibration import BINS, Calibration, CalibrationSums

Pixels = tuple[np.ndarray, np.ndarray]


def pixels(seed: int, classes: int, count: int, sureness: float = 3.0) -> Pixels:
    """Probabilities [C, N], none of which rounds to 1, and true classes that they are mostly right about."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(0, sureness, (classes, count))
    p_CN = np.exp(logits - logits.max(0))
    p_CN = (0.9999 * p_CN / p_CN.sum(0) + 0.0001 / classes).astype(np.float32)
    truth_N = np.where(rng.random(count) < 0.7, p_CN.argmax(0), rng.integers(0, classes, count))
    return p_CN, truth_N.astype(np.uint8)


def calibration(p_CN: np.ndarray, truth_N: np.ndarray, known_N: np.ndarray | None = None) -> Calibration:
    known_N = np.ones(len(truth_N), bool) if known_N is None else known_N
    return Calibration.of(p_CN, truth_N, np.zeros(len(truth_N), np.uint8), known_N)


def rows_of(found: Calibration) -> list[dict[str, Any]]:
    return pa.table(found.groups()).to_pylist()


@pytest.mark.parametrize(
    ("classes", "count", "sureness"), [(2, 4096, 1), (11, 4096, 3), (150, 500, 6), (3, 1, 1)]
)
def test_figures_are_those_of_the_libraries(classes: int, count: int, sureness: float) -> None:
    p_CN, truth_N = pixels(classes, classes, count, sureness)
    found = calibration(p_CN, truth_N).figures()
    error = MulticlassCalibrationError(classes, n_bins=15, norm="l1")
    ece = error(torch.from_numpy(p_CN.T), torch.from_numpy(truth_N.astype(np.int64)))
    assert found["ece"] == pytest.approx(float(ece), abs=1e-6)
    p_NC = p_CN.T.astype(np.float64)
    assert found["nll"] == pytest.approx(log_loss(truth_N, p_CN.T, labels=range(classes)), abs=1e-5)
    squares = ((p_NC - np.eye(classes)[truth_N]) ** 2).sum(1)
    assert found["brier"] == pytest.approx(squares.mean(), abs=1e-6)
    own = p_NC[np.arange(count), truth_N]
    assert found["truth_probability_p05"] == pytest.approx(np.percentile(own, 5), abs=1e-9)
    assert found["probed_pixels"] == count


@pytest.mark.parametrize(("top", "bin"), [(0.5, 7), (0.53, 7), (0.54, 8), (0.73, 10), (0.74, 11), (1.0, 14)])
def test_bins_are_closed_above(top: float, bin: int) -> None:
    """Guo's; torchmetrics has what is certain in a sixteenth."""
    p_CN = np.array([[top], [1 - top]], np.float32)
    (row,) = rows_of(calibration(p_CN, np.array([1])))
    assert (row["predicted"], row["bin"], row["pixels"]) == (0, bin, 1)
    assert calibration(p_CN, np.array([1])).figures()["ece"] == pytest.approx(top, abs=1e-6)


def test_what_became_nothing_costs_what_it_costs_with_float32() -> None:
    p_CN = np.array([[0.0], [1.0]], np.float32)
    found = calibration(p_CN, np.array([0]))
    assert found.figures()["nll"] == pytest.approx(log_loss([0], p_CN.T, labels=[0, 1]), abs=1e-6)
    assert found.figures()["brier"] == 2


def test_only_known_pixels_count() -> None:
    p_CN, truth_N = pixels(1, 4, 100)
    known_N = np.arange(100) % 3 > 0
    truth = np.where(known_N, truth_N, 4)  # void
    some = calibration(p_CN, truth, known_N)
    alone = calibration(p_CN[:, known_N], truth_N[known_N])
    assert (some.figures(), rows_of(some)) == (alone.figures(), rows_of(alone))


def test_no_pixel_has_no_figures() -> None:
    none = calibration(np.zeros((3, 0), np.float32), np.zeros(0, int))
    figures = none.figures()
    assert figures.pop("probed_pixels") == 0
    assert set(figures.values()) == {None}
    assert rows_of(none) == []
    assert none.sums().ece is None


@given(st.integers(0, 1000), st.integers(2, 12), st.lists(st.integers(0, 300), min_size=1, max_size=4))
@settings(max_examples=60)
def test_parts_add_to_the_whole_in_any_order(seed: int, classes: int, cuts: list[int]) -> None:
    p_CN, truth_N = pixels(seed, classes, 300)
    order = np.random.default_rng(seed).permutation(300)
    parts = np.split(order, sorted(cuts))
    added = calibration(p_CN[:, parts[0]], truth_N[parts[0]])
    for part in parts[1:]:
        added += calibration(p_CN[:, part], truth_N[part])
    whole = calibration(p_CN, truth_N)
    assert added.figures() == whole.figures()
    assert rows_of(added) == rows_of(whole)


@given(st.integers(0, 1000), st.integers(2, 12))
@settings(max_examples=40)
def test_the_table_gives_what_the_pixels_give(seed: int, classes: int) -> None:
    p_CN, truth_N = pixels(seed, classes, 400)
    found = calibration(p_CN, truth_N)
    rows = rows_of(found)
    assert sum(row["pixels"] for row in rows) == 400
    assert len({(row["truth"], row["predicted"], row["bin"]) for row in rows}) == len(rows)
    assert found.sums().ece == pytest.approx(found.figures()["ece"], abs=1e-12)
    best_N, own_N = p_CN.argmax(0), p_CN[truth_N, np.arange(400)]
    for row in rows:
        chosen = (truth_N == row["truth"]) & (best_N == row["predicted"])
        chosen &= (p_CN.max(0) > row["bin"] / BINS) & (p_CN.max(0) <= (row["bin"] + 1) / BINS)
        assert chosen.sum() == row["pixels"]
        assert row["top_sum"] == pytest.approx(p_CN.max(0)[chosen].sum(dtype=float), abs=1e-5)
        assert row["truth_sum"] == pytest.approx(own_N[chosen].sum(dtype=float), abs=1e-5)


def test_sums_over_images() -> None:
    """ECE and thresholds of a data set are those of all its pixels; images need not have the same classes."""
    images = [pixels(1, 3, 200), pixels(2, 7, 300)]
    every = sum((calibration(*each).sums() for each in images), start=CalibrationSums.zeros())
    means = np.full(9, np.inf)
    for index in range(7):
        own = np.concatenate([p_CN[index, truth_N == index] for p_CN, truth_N in images if index < len(p_CN)])
        means[index] = own.mean(dtype=float)
    np.testing.assert_allclose(every.thresholds(9), means, rtol=0, atol=1e-7)
    tops = np.concatenate([p_CN.max(0) for p_CN, _ in images])
    right = np.concatenate([p_CN.argmax(0) == truth_N for p_CN, truth_N in images])
    bins = np.ceil(tops.astype(float) * 15)
    gaps = [abs((tops[bins == each] - right[bins == each]).sum(dtype=float)) for each in range(1, 16)]
    assert every.ece == pytest.approx(sum(gaps) / 500, abs=1e-6)
    assert every.pixels == 500
