"""Verify: runs that were cut off, figures that are not those of the pixels, overlays, and files of others."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner
from PIL import Image
from result_rows import table
from sklearn.metrics import jaccard_score

import batchseg
from batchseg.cli.group import cli
from batchseg.errors import OutputError, SourceError
from batchseg.results.folder import Held, Results

pytestmark = [pytest.mark.usefixtures("in_tasks")]
IMAGES = 6


def job(folder: Path, **output: Any) -> batchseg.RunConfig:
    return batchseg.load_config(
        overrides={
            "source": {"path": str(folder / "images"), "truth": str(folder / "truth")},
            "segmentor": "threshold",
            "output": {"path": str(folder / "results"), **output},
        }
    )


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("whole")
    rng = np.random.default_rng(5)
    for index in range(IMAGES):
        pixels = rng.integers(0, 256, (8, 12), dtype=np.uint8)
        truth = (pixels > 90).astype(np.uint8)
        truth[0] = 255
        for name, picture in (("images", pixels), ("truth", truth)):
            (folder / name).mkdir(exist_ok=True)
            Image.fromarray(picture).save(folder / name / f"{index}.png")
    batchseg.run(job(folder, overlays=True))
    return folder


@pytest.fixture
def scene(original: Path, tmp_path: Path) -> Path:
    shutil.copytree(original, tmp_path, dirs_exist_ok=True)  # with their times of change
    return tmp_path


def change(path: Path, column: str, row: int, value: Any) -> None:
    found = pq.read_table(path, partitioning=None)
    values = found[column].to_pylist()
    values[row] = value
    field = found.schema.field(column)
    at = found.schema.get_field_index(column)
    pq.write_table(found.set_column(at, field, pa.array(values, field.type)), path)


def part(scene: Path, kind: str = "images") -> Path:
    (found,) = (scene / "results" / kind).glob("*.parquet")
    return found


# --- cut off ---


class Cut(BaseException):
    """As a kill: nothing is tidied up after it."""


def cut_off(scene: Path, monkeypatch: pytest.MonkeyPatch, error: type[BaseException], commits: int) -> None:
    """End a run when it has committed so often; each row by itself."""
    real, count = Held.commit, 0

    def commit(self: Held, name: str, rows: pa.Table) -> None:
        nonlocal count
        for index in range(len(rows)):
            if count == commits:
                raise error
            real(self, name.replace(".parquet", f"{index}.parquet"), rows.slice(index, 1))
            count += 1

    with monkeypatch.context() as patch:
        patch.setattr(Held, "commit", commit)
        if error is Cut:
            patch.setattr("batchseg.pipeline.execute.Execution._leave", lambda self, exc: None)
        with pytest.raises(error):
            batchseg.run(job(scene))
    (scene / "results" / ".lock").unlink(missing_ok=True)


def corrected(scene: Path) -> None:
    """Truths that are other files now, so that everything is scored again."""
    for path in (scene / "truth").iterdir():
        os.utime(path, ns=(1, 1))


@pytest.mark.parametrize("error", [KeyboardInterrupt, Cut])
@pytest.mark.parametrize("rescored", [False, True], ids=["first run", "re-score"])
def test_a_run_that_was_cut_off_is_one_line_and_no_problem(
    scene: Path, monkeypatch: pytest.MonkeyPatch, error: type[BaseException], rescored: bool
) -> None:
    if rescored:
        corrected(scene)
    else:
        shutil.rmtree(scene / "results")
    cut_off(scene, monkeypatch, error, 2)
    report = batchseg.verify(str(scene / "results"))
    assert report.interrupted == f"interrupted: 2 of {IMAGES} images are done; the same command goes on"
    assert (report.ok, report.counts) == (True, {})
    shown = CliRunner().invoke(cli, ["verify", str(scene / "results")])
    assert shown.exit_code == 0
    assert shown.stdout.splitlines().count(report.interrupted) == 1
    batchseg.run(job(scene))
    after = batchseg.verify(str(scene / "results"))
    assert (after.interrupted, after.counts, after.rows) == (None, {}, IMAGES)


def test_damage_is_told_beside_it(scene: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    corrected(scene)
    cut_off(scene, monkeypatch, Cut, 2)
    (scene / "results" / "masks" / "3.png").unlink()
    report = batchseg.verify(str(scene / "results"))
    assert (report.ok, report.counts) == (False, {"mask_missing": 1})


@pytest.mark.parametrize("source", [{"path": "nowhere"}, {"include": ["*.tif"]}], ids=["no folder", "none"])
def test_a_run_that_listed_nothing_hides_no_damage(scene: Path, source: dict[str, Any]) -> None:
    config = {"path": str(scene / "images"), **source}
    changed = job(scene).model_dump(mode="json") | {"source": config}
    with pytest.raises(SourceError):
        batchseg.run(batchseg.load_config(overrides=changed))
    assert batchseg.verify(str(scene / "results")).counts == {}
    (scene / "results" / "classes.parquet").unlink()
    assert batchseg.verify(str(scene / "results")).counts == {"classes": 1}


def test_a_run_at_work_is_not_called_interrupted(scene: Path) -> None:
    results = Results(str(scene / "results"))
    with results.held():
        facts = json.loads((scene / "results" / ".lock").read_text())
        (scene / "results" / ".lock").write_text(json.dumps({**facts, "pid": os.getppid()}))
        report = batchseg.verify(str(scene / "results"))
        (scene / "results" / ".lock").write_text(json.dumps(facts))
    assert report.interrupted is not None
    assert report.interrupted.startswith("a run is at work")


# --- figures ---


@pytest.mark.parametrize(
    "metric",
    ["accuracy", "recall_weighted", "f1_weighted", "recall_macro", "f1_macro", "precision_macro", "mean_iou"],
)
def test_metrics_of_an_image_are_those_of_its_pixels(scene: Path, metric: str) -> None:
    value = pq.read_table(part(scene), partitioning=None)[metric][2].as_py()
    change(part(scene), metric, 2, value + 1e-12)
    assert batchseg.verify(str(scene / "results")).counts == {}
    for wrong in (value + 1e-6, None):
        change(part(scene), metric, 2, wrong)
        report = batchseg.verify(str(scene / "results"), quick=True)
        assert report.counts == {"metrics": 1}
        assert (report.problems[0].where, metric in report.problems[0].sentence) == ("2.png", True)
    batchseg.verify(str(scene / "results"), repair=True)
    batchseg.run(job(scene))
    after = pq.read_table(part(scene), partitioning=None).sort_by("id")
    assert after[metric][2].as_py() == pytest.approx(value, abs=1e-12)


def test_a_metric_without_truth_is_wrong(scene: Path) -> None:
    (scene / "truth" / "0.png").unlink()
    batchseg.run(job(scene))
    assert batchseg.verify(str(scene / "results")).counts == {}
    rows = pq.read_table(part(scene), partitioning=None)["has_truth"].to_pylist()
    change(part(scene), "mean_iou", rows.index(False), 0.5)
    assert batchseg.verify(str(scene / "results")).counts == {"metrics": 1}


@pytest.mark.parametrize(
    ("key", "value"),
    [("truth_pixels", 1), ("metrics", {"mean_iou": 0.5}), ("metrics", {"accuracy": None})],
)
def test_totals_of_the_record_are_those_of_the_pixels(scene: Path, key: str, value: Any) -> None:
    path = scene / "results" / "run.json"
    record = json.loads(path.read_text())
    changed = {**record[key], **value} if isinstance(value, dict) else value
    path.write_text(json.dumps({**record, key: changed}))
    report = batchseg.verify(str(scene / "results"))
    assert report.counts == {"record": 1}
    assert "the pixels give" in report.problems[0].sentence


def test_classes_of_the_record_are_those_of_the_pixels(scene: Path) -> None:
    path = scene / "results" / "run.json"
    record = json.loads(path.read_text())
    record["classes"][1]["iou"] += 0.01
    path.write_text(json.dumps(record))
    assert batchseg.verify(str(scene / "results")).counts == {"record": 1}


def test_the_figures_are_scikit_learns(scene: Path) -> None:
    """What verify holds them against is no second definition."""
    rows = pq.read_table(part(scene), partitioning=None).to_pylist()
    for row in rows:
        truth = np.array(Image.open(scene / "truth" / row["id"]))
        mask = np.array(Image.open(scene / "results" / row["mask"]))
        known = truth != 255
        score = jaccard_score(truth[known], mask[known], average="macro", zero_division=0)
        assert row["mean_iou"] == pytest.approx(score, abs=1e-12)
    assert batchseg.verify(str(scene / "results")).counts == {}


# --- overlays ---


def test_overlays_that_are_broken_or_missing_are_named(scene: Path) -> None:
    assert batchseg.verify(str(scene / "results")).overlays == IMAGES
    overlays = scene / "results" / "overlays"
    data = (overlays / "1.jpg").read_bytes()
    (overlays / "1.jpg").write_bytes(data[:-30])
    (overlays / "2.jpg").unlink()
    quick = batchseg.verify(str(scene / "results"), quick=True)
    assert [(each.where, each.sentence) for each in quick.problems] == [
        ("2.png", "its overlay of masks/2.png is not there")
    ]
    report = batchseg.verify(str(scene / "results"))
    assert report.counts == {"overlay": 2}
    assert "overlays/1.jpg cannot be read" in report.problems[0].sentence
    batchseg.verify(str(scene / "results"), repair=True)
    batchseg.run(job(scene, overlays=True))
    assert batchseg.verify(str(scene / "results")).counts == {}


def test_an_overlay_may_be_a_png(scene: Path) -> None:
    path = scene / "results" / "overlays" / "1.jpg"
    Image.open(path).save(path.with_suffix(".png"))
    path.unlink()
    assert batchseg.verify(str(scene / "results")).counts == {}
    data = path.with_suffix(".png").read_bytes()
    path.with_suffix(".png").write_bytes(data[: len(data) // 2])
    assert batchseg.verify(str(scene / "results")).counts == {"overlay": 1}


def test_images_of_runs_without_overlays_need_none(scene: Path) -> None:
    shutil.rmtree(scene / "results")
    batchseg.run(job(scene))
    Image.fromarray(np.zeros((8, 12), np.uint8)).save(scene / "images" / "new.png")
    Image.fromarray(np.zeros((8, 12), np.uint8)).save(scene / "truth" / "new.png")
    batchseg.run(job(scene, overlays=True))
    assert batchseg.verify(str(scene / "results")).counts == {}
    (scene / "results" / "overlays" / "new.jpg").unlink()
    assert batchseg.verify(str(scene / "results")).counts == {"overlay": 1}


# --- files of others ---


@pytest.mark.parametrize("folder", ["images", "pixels"])
@pytest.mark.parametrize("content", ["a table", "no table"])
def test_a_file_that_is_not_ours_is_named_and_never_deleted(scene: Path, folder: str, content: str) -> None:
    stranger = scene / "results" / folder / "export.parquet"
    pq.write_table(pa.table({"customer": [1, 2]}), stranger)
    if content == "no table":
        stranger.write_bytes(b"something else")
    data = stranger.read_bytes()
    report = batchseg.verify(str(scene / "results"))
    assert report.counts == {"foreign": 1}
    assert f"{folder}/export.parquet" == report.problems[0].where
    assert "move it to another folder" in report.problems[0].sentence
    with pytest.raises(OutputError, match=r"export.parquet: is no part of these results; move it"):
        batchseg.verify(str(scene / "results"), repair=True)
    with pytest.raises(OutputError, match=r"export.parquet: .*move it to another folder"):
        batchseg.run(job(scene))
    assert stranger.read_bytes() == data
    stranger.unlink()
    assert batchseg.verify(str(scene / "results")).counts == {}


def test_what_is_no_mask_is_named_and_never_deleted(scene: Path) -> None:
    notes = scene / "results" / "masks" / "notes.txt"
    notes.write_text("mine")
    assert batchseg.verify(str(scene / "results")).counts == {"foreign": 1}
    batchseg.verify(str(scene / "results"), repair=True)
    assert notes.read_text() == "mine"


def test_a_part_of_an_earlier_version_with_an_unknown_column_is_ours(tmp_path: Path) -> None:
    """Columns of a manifest's own say nothing against a part."""
    results = Results(str(tmp_path))
    held = results.open()
    held.commit("20260101T000000-aaaaaa-00000.parquet", table(carried=pa.schema([("site", pa.string())])))
    assert "foreign" not in batchseg.verify(str(tmp_path)).counts
