"""Calibration in whole runs: what the tables say is what the libraries give at the same pixels."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from click.testing import CliRunner
from PIL import Image
from raster_model import Waves
from raster_scenes import MODEL, check_equal_cuts, make_scene, run, settings
from sklearn.metrics import log_loss
from torch.nn.functional import interpolate
from torchmetrics.classification import MulticlassCalibrationError

import batchseg
from batchseg.cli.group import cli
from batchseg.inspect.verify import verify
from batchseg.stages import score
from batchseg.stages.item import Item

pytestmark = [
    pytest.mark.usefixtures("in_process"),
    pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning"),
]

FIGURES = ("probed_pixels", "ece", "brier", "nll", "truth_probability_p05", "suspect_fraction")
SIZES = {"a.png": (220, 310), "b.png": (50, 40), "sub/c.png": (97, 501)}
VOID = 255


def save(path: Path, pixels: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)


@pytest.fixture
def scene(tmp_path: Path) -> Path:
    """Three pictures with truths in blocks, of which the model knows something; some pixels have none."""
    rng = np.random.default_rng(7)
    for name, (height, width) in SIZES.items():
        coarse = Image.fromarray(rng.integers(0, 256, (5, 6, 3), np.uint8))
        image = np.asarray(coarse.resize((width, height), Image.Resampling.BICUBIC))
        save(tmp_path / "images" / name, image)
        truth = probabilities(image).argmax(0).astype(np.uint8)
        blocks = rng.choice([0, 1, 2, 3, 4, VOID], (height // 10 + 1, width // 10 + 1)).astype(np.uint8)
        blocks = blocks.repeat(10, 0).repeat(10, 1)[:height, :width]
        other = (
            rng.random((height // 10 + 1, width // 10 + 1)).repeat(10, 0).repeat(10, 1)[:height, :width] < 0.4
        )
        save(tmp_path / "truth" / name, np.where(other, blocks, truth))
    return tmp_path


def probabilities(image: np.ndarray) -> np.ndarray:
    """Of the model, at every pixel [C, H, W], by torch alone."""
    maps = torch.from_numpy(Waves("cpu").one(image))[None]
    found = interpolate(maps, image.shape[:2], mode="bilinear", align_corners=False)[0].softmax(0)
    return found.numpy()


def segment(scene: Path, out: str = "out", **more: Any) -> batchseg.RunResult:
    config = {key: value for key, value in settings(scene, out, {}, **more).items() if key != "tiling"}
    return batchseg.run(batchseg.load_config(overrides=config))


def rows(scene: Path, out: str = "out") -> dict[str, dict[str, Any]]:
    return {row["id"]: row for row in pq.read_table(scene / out / "images").to_pylist()}


def figures(p_CN: np.ndarray, truth_N: np.ndarray) -> dict[str, float]:
    """By the libraries."""
    error = MulticlassCalibrationError(len(p_CN), n_bins=15, norm="l1")
    own_N = p_CN[truth_N, np.arange(len(truth_N))]
    return {
        "probed_pixels": len(truth_N),
        "ece": float(error(torch.from_numpy(p_CN.T), torch.from_numpy(truth_N.astype(np.int64)))),
        "brier": float(((p_CN - np.eye(len(p_CN))[truth_N].T) ** 2).sum(0).mean()),
        "nll": float(log_loss(truth_N, p_CN.T, labels=range(len(p_CN)))),
        "truth_probability_p05": float(np.percentile(own_N.astype(float), 5)),
    }


def truth_and_probabilities(scene: Path, name: str) -> tuple[np.ndarray, np.ndarray]:
    image = np.asarray(Image.open(scene / "images" / name))
    return np.asarray(Image.open(scene / "truth" / name)), probabilities(image)


def at_probes(*maps: np.ndarray) -> list[np.ndarray]:
    """The middles of 64 x 64 cells of each map [..., H, W], flattened."""
    height, width = maps[0].shape[-2:]
    places = [
        [int((index + 0.5) * length / min(length, 64)) for index in range(min(length, 64))]
        for length in (height, width)
    ]
    found = [each[..., places[0], :][..., places[1]] for each in maps]
    return [each.reshape(*each.shape[:-2], -1) for each in found]


@pytest.mark.filterwarnings("ignore:The y_prob values do not sum")
def test_columns_are_what_the_libraries_give(scene: Path) -> None:
    result = segment(scene)
    found = rows(scene)
    every: list[tuple[np.ndarray, np.ndarray]] = []
    for name in SIZES:
        truth_N, p_CN = at_probes(*truth_and_probabilities(scene, name))
        known = truth_N != VOID
        every.append((p_CN[:, known], truth_N[known]))
        for figure, value in figures(*every[-1]).items():
            assert found[name][figure] == pytest.approx(value, abs=3e-6), (name, figure)
    total = figures(np.concatenate([p for p, _ in every], 1), np.concatenate([t for _, t in every]))
    assert result.calibration == {
        "images": 3,
        "pixels": total["probed_pixels"],
        **{name: pytest.approx(total[name], abs=3e-6) for name in ("ece", "brier", "nll")},
    }
    assert verify(str(scene / "out")).counts == {}


def test_the_table_adds_up_to_the_columns(scene: Path) -> None:
    """In SQL, as an analyst does it: the error of calibration, thresholds, and what is suspect."""
    segment(scene)
    table = f"'{scene}/out/calibration/*.parquet'"
    ece = duckdb.sql(
        f"""select id, sum(gap) / sum(pixels), sum(pixels) from (
            select id, bin, sum(pixels) as pixels,
                abs(sum(top_sum) - coalesce(sum(pixels) filter (truth = predicted), 0)) as gap
            from {table} group by id, bin) group by id"""
    ).fetchall()
    found = rows(scene)
    assert {name for name, _, _ in ece} == {*found}
    for name, value, pixels in ece:
        assert value == pytest.approx(found[name]["ece"], abs=1e-9)
        assert pixels == found[name]["probed_pixels"]
    thresholds = dict(
        duckdb.sql(f"select truth, sum(truth_sum) / sum(pixels) from {table} group by truth").fetchall()
    )
    suspect = dict(
        duckdb.sql(
            f"""with means as (
                select truth as class, sum(truth_sum) / sum(pixels) as mean from {table} group by truth)
            select id, coalesce(sum(pixels) filter (truth != predicted and top_sum / pixels >= mean), 0)
            from {table} join means on class = predicted group by id"""
        ).fetchall()
    )
    assert len(thresholds) == 5
    for name, row in found.items():
        assert row["suspect_fraction"] == pytest.approx(int(suspect[name]) / row["probed_pixels"])
    assert any(row["suspect_fraction"] > 0.01 for row in found.values())


@pytest.mark.filterwarnings("ignore:The y_prob values do not sum")
def test_probes_are_near_what_all_pixels_give(scene: Path) -> None:
    """Within four standard errors of a sample of so many pixels: 4 sd / sqrt(n). Of ECE, a mean over pixels
    that are right or not, the deviation is at most a half."""
    segment(scene)
    found = rows(scene)
    for name, size in SIZES.items():
        truth_HW, p_CHW = truth_and_probabilities(scene, name)
        known = truth_HW != VOID
        p_CN, truth_N = p_CHW[:, known], truth_HW[known]
        own_N = p_CN[truth_N, np.arange(len(truth_N))].astype(float)
        squares_N = ((p_CN - np.eye(5)[truth_N].T) ** 2).sum(0)
        wanted, row = figures(p_CN, truth_N), found[name]
        root = np.sqrt(row["probed_pixels"])
        assert abs(row["brier"] - wanted["brier"]) <= 4 * squares_N.std() / root
        assert abs(row["nll"] - wanted["nll"]) <= 4 * np.log(own_N.clip(1e-7)).std() / root
        assert abs(row["ece"] - wanted["ece"]) <= 4 * 0.5 / root
        if max(size) <= 64:  # then they are all pixels
            assert row["brier"] == pytest.approx(wanted["brier"], abs=3e-6)


def test_thresholds_change_no_figure(scene: Path) -> None:
    segment(scene)
    segment(scene, "strict", segmentor={"none_below": 0.6})
    one, other = rows(scene), rows(scene, "strict")
    for name in SIZES:
        assert [one[name][each] for each in FIGURES] == [other[name][each] for each in FIGURES]
    assert one["a.png"]["fingerprint"] != other["a.png"]["fingerprint"]


def test_a_mask_that_is_only_scored_has_no_probabilities(scene: Path) -> None:
    segment(scene)
    before, truth = rows(scene), np.asarray(Image.open(scene / "truth/a.png")).copy()
    truth[:20] = 1
    save(scene / "truth/a.png", truth)
    again = segment(scene)
    assert (again.segmented, again.scored) == (0, 1)
    after = rows(scene)
    assert {after["a.png"][name] for name in FIGURES} == {None}
    assert after["a.png"]["accuracy"] is not None
    assert after["b.png"] == before["b.png"]
    told = set(pq.read_table(scene / "out/calibration")["id"].to_pylist())
    assert told == {"b.png", "sub/c.png"}
    assert again.calibration is not None
    assert again.calibration["images"] == 2
    scores = scene / "scores"
    batchseg.evaluate(
        str(scene / "out/masks"), truth=str(scene / "truth"), output=str(scores), labels=_labels(scene)
    )
    assert pq.read_table(scores / "images")["ece"].null_count == 3
    assert not (scores / "calibration").exists()
    assert json.loads((scores / "run.json").read_text())["calibration"] is None


def _labels(scene: Path) -> str:
    (scene / "labels.yaml").write_text("classes: [a, b, c, d, e]\n")
    return str(scene / "labels.yaml")


def test_without_truth_or_probabilities_there_are_none(scene: Path) -> None:
    segment(scene, "alone", source={"truth": None})
    assert not (scene / "alone/calibration").exists()
    segmentor = {"kind": "threshold", "model": "threshold", "levels": [50, 100, 150, 200]}
    config = {
        "source": {"path": str(scene / "images"), "truth": str(scene / "truth")},
        "segmentor": segmentor,
    }
    batchseg.run(batchseg.load_config(overrides={**config, "output": str(scene / "labels")}))
    for out in ("alone", "labels"):
        table = pq.read_table(scene / out / "images")
        assert all(table[name].null_count == 3 for name in FIGURES)
        assert not (scene / out / "calibration").exists()


@pytest.mark.parametrize("in_windows", [False, True])
def test_probes_are_taken_where_somebody_wants_them(
    scene: Path, monkeypatch: pytest.MonkeyPatch, in_windows: bool
) -> None:
    """For truths, and for how sure the model was of objects."""
    seen: list[bool] = []

    def counted(item: Item, *given: Any) -> None:
        assert item.prediction is not None
        seen.append(item.prediction.probes is not None)

    monkeypatch.setattr(score, "calibrate", counted)
    (scene / "truth/a.png").unlink()
    start = partial(run, tiling={}) if in_windows else segment
    start(scene, out="out")
    assert sorted(seen) == [False, True, True]
    seen.clear()
    start(scene, out="objects", metrics=["objects"], source={"truth": None})
    assert seen == [True] * 3
    sure = batchseg.open_results(str(scene / "objects")).objects["confidence_mean"]
    assert sure.null_count < len(sure)


@pytest.mark.parametrize("kept", ["full", "top2"])
def test_masks_that_are_decided_again(scene: Path, kept: str) -> None:
    """From probabilities in units of 1/255, of which nobody knows the logarithm; of two classes none are."""
    config = {"output": {"path": str(scene / "out"), "probabilities": kept}}
    segment(scene, **config)
    batchseg.decide(scene / "out", output=scene / "again", none_below=0.5)
    first, again = rows(scene), rows(scene, "again")
    for name in SIZES:
        row, before = again[name], first[name]
        assert row["nll"] is None
        if kept == "top2":
            assert {row[each] for each in FIGURES} == {None}
            continue
        assert row["probed_pixels"] == before["probed_pixels"]
        for figure in ("ece", "brier", "truth_probability_p05"):
            assert row[figure] == pytest.approx(before[figure], abs=3e-3), figure
    assert (scene / "again/calibration").exists() == (kept == "full")


def test_merged_classes_that_are_decided_again(scene: Path) -> None:
    merge = {"ab": ["a", "b"], "cd": ["c", "d"]}
    labels = {"labels": _labels(scene)}
    segment(scene, output={"path": str(scene / "out"), "probabilities": "full"}, **labels)
    batchseg.decide(scene / "out", output=scene / "again", merge=merge)
    found = rows(scene, "again")
    for name in SIZES:
        truth_N, p_CN = at_probes(*truth_and_probabilities(scene, name))
        known = truth_N != VOID
        merged = np.stack([p_CN[0] + p_CN[1], p_CN[2] + p_CN[3], p_CN[4]])[:, known]
        wanted = figures(merged / merged.sum(0), np.array([0, 0, 1, 1, 2])[truth_N[known]])
        for figure in ("probed_pixels", "ece", "brier"):
            assert found[name][figure] == pytest.approx(wanted[figure], abs=5e-3), figure


@pytest.mark.parametrize("more", [{}, {"kind": "uint16", "channels": 3, "nodata": 0}], ids=["all", "nodata"])
def test_parts_of_a_raster_have_the_figures_of_the_whole(tmp_path: Path, more: dict[str, Any]) -> None:
    scene = make_scene(tmp_path, size=(230, 190), **more)
    source = {"bands": [1, 2, 3]} if more else {}
    check_equal_cuts(scene, {"overlap": 0.25}, source=source)
    tables = [
        pq.read_table(scene / out / "calibration").sort_by("id") for out in ("whole", "cut100", "cut47")
    ]
    assert tables[0] == tables[1] == tables[2]
    (row,) = rows(scene, "cut47").values()
    assert None not in [row[name] for name in FIGURES]
    assert sum(tables[0]["pixels"].to_pylist()) == row["probed_pixels"] > 2000


def test_a_part_whose_truth_fails_leaves_none(tmp_path: Path) -> None:
    scene = make_scene(tmp_path)
    Image.fromarray(np.zeros((150, 200), np.uint8)).save(scene / "truth/a.tif")
    run(scene, "out", {"part": 60}, accept=["failing_truth"])
    (row,) = rows(scene).values()
    assert row["truth_status"] == "mismatch"
    assert {row[name] for name in FIGURES} == {None}


def test_the_closing_table_tells_it(scene: Path) -> None:
    words = ["run", scene / "images", "--truth", scene / "truth", "--model", MODEL, "--output", scene / "out"]
    done = CliRunner().invoke(cli, [str(word) for word in words])
    assert done.exit_code == 0, done.output
    assert "calibration" in done.output
    shown = CliRunner().invoke(cli, ["suspects", str(scene / "out"), "--listed", "1"])
    assert shown.exit_code == 0
    assert "and 2 more" in shown.output or "and 1 more" in shown.output
