"""Masks against ground truth without a model."""

from __future__ import annotations

from pathlib import Path

import duckdb
import numpy as np
import pytest
from PIL import Image
from sklearn.metrics import jaccard_score

import batchseg
from batchseg.config.load import validate

pytestmark = [pytest.mark.usefixtures("in_tasks")]


def save(path: Path, pixels: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)


@pytest.fixture
def city(tmp_path: Path) -> Path:
    """A Cityscapes-shaped folder: 34 label ids, cities as folders, suffixes, regions that are ignored."""
    rng = np.random.default_rng(3)
    for city, name in (
        ("aachen", "aachen_000000_000019"),
        ("ulm", "ulm_000001_000019"),
        ("ulm", "ulm_000002_000019"),
    ):
        truth = rng.integers(0, 34, (6, 9), dtype=np.uint8).repeat(8, axis=0).repeat(8, axis=1)
        noise = rng.random(truth.shape) < 0.3
        predicted = np.where(noise, rng.integers(0, 34, truth.shape, dtype=np.uint8), truth)
        save(tmp_path / "truth" / city / f"{name}_gtFine_labelIds.png", truth)
        save(tmp_path / "masks" / city / f"{name}_leftImg8bit.png", predicted)
    return tmp_path


def evaluate(folder: Path, **more: object) -> batchseg.RunResult:
    data = {
        "masks": str(folder / "masks"),
        "truth": str(folder / "truth"),
        "output": str(folder / "scores"),
        "labels": "cityscapes",
        "truth_suffix": "_leftImg8bit=_gtFine_labelIds",
        **more,
    }
    return batchseg.evaluate(validate(batchseg.EvaluateConfig, data, "the test"))


def test_iou_equals_the_cityscapes_benchmarks_own_script(city: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    result = evaluate(city, mask_ids="truth")
    assert result.statuses == {"ok": 3}
    rows = duckdb.sql(f"select class_name, iou from '{city}/scores/classes.parquet'").fetchall()

    monkeypatch.setenv("CITYSCAPES_DATASET", str(city))
    monkeypatch.setenv("CITYSCAPES_RESULTS", str(city))
    from cityscapesscripts.evaluation import evalPixelLevelSemanticLabeling as benchmark

    benchmark.args.evalInstLevelScore = False
    benchmark.args.JSONOutput = False
    benchmark.args.quiet = True
    truths = sorted(str(path) for path in (city / "truth").rglob("*.png"))
    masks = sorted(str(path) for path in (city / "masks").rglob("*.png"))
    expected = benchmark.evaluateImgLists(masks, truths, benchmark.args)["classScores"]
    assert len(rows) == 19
    for name, iou in rows:
        assert iou == pytest.approx(expected[name], abs=1e-9)


def test_masks_of_a_run_give_the_figures_of_the_run(tmp_path: Path) -> None:
    rng = np.random.default_rng(5)
    for index in range(3):
        image = rng.integers(0, 256, (20, 30), dtype=np.uint8)
        save(tmp_path / "images" / f"{index}.png", image)
        save(tmp_path / "truth" / f"{index}.png", (image > 90).astype(np.uint8))
    (tmp_path / "labels.yaml").write_text("classes: [dark, bright]")
    job = {
        "source": {"path": str(tmp_path / "images"), "truth": str(tmp_path / "truth")},
        "segmentor": "threshold",
    }
    run = batchseg.run(batchseg.load_config(overrides={**job, "output": str(tmp_path / "results")}))
    scored = evaluate(
        tmp_path,
        masks=str(tmp_path / "results" / "masks"),
        labels=str(tmp_path / "labels.yaml"),
        truth_suffix=None,
    )
    assert scored.metrics == run.metrics
    classes = "select * from '{}/classes.parquet' order by class_id"
    first, second = (duckdb.sql(classes.format(tmp_path / name)).fetchall() for name in ("results", "scores"))
    assert first == second
    again = evaluate(
        tmp_path,
        masks=str(tmp_path / "results" / "masks"),
        labels=str(tmp_path / "labels.yaml"),
        truth_suffix=None,
    )
    count = duckdb.sql(f"select count(*) from '{tmp_path}/scores/images/*.parquet'").fetchall()
    assert (again.metrics, count) == (run.metrics, [(3,)])


def test_masks_with_truth_ids_need_to_be_told(city: Path) -> None:
    with pytest.raises(batchseg.BatchsegError, match=r"(?s)3 of 3 sampled masks .*--mask-ids truth"):
        evaluate(city)


def test_suffixes_on_both_sides(tmp_path: Path) -> None:
    truth = np.random.default_rng(1).integers(0, 2, (10, 10), dtype=np.uint8)
    save(tmp_path / "masks" / "a_pred.png", 1 - truth)
    save(tmp_path / "truth" / "a_gt.png", truth)
    (tmp_path / "labels.yaml").write_text("classes: [not, thing]")
    result = evaluate(
        tmp_path, labels=str(tmp_path / "labels.yaml"), mask_suffix="_pred=", truth_suffix="=_gt"
    )
    assert result.metrics["mean_iou"] == jaccard_score(truth.ravel(), 1 - truth.ravel(), average="macro") == 0
