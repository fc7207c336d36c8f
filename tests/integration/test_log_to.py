"""Figures of a run, read again by the readers of MLflow and TensorBoard."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import batchseg
from batchseg.errors import ConfigError, OutputError
from batchseg.results.result import RunResult

CLASSES = ["dark; lower", "dark, lower"]  # in MLflow's alphabet the same


@pytest.fixture
def job(tmp_path: Path, in_tasks: None) -> dict[str, Any]:
    generator = np.random.default_rng(0)
    for name in ("a.png", "b.png"):
        pixels = generator.integers(0, 256, (16, 20), np.uint8)
        for folder, values in (("photos", pixels), ("truth", (pixels > 100).astype(np.uint8))):
            (tmp_path / folder).mkdir(exist_ok=True)
            Image.fromarray(values).save(tmp_path / folder / name)
    (tmp_path / "labels.yaml").write_text(json.dumps({"classes": CLASSES}))
    return {
        "source": {"path": str(tmp_path / "photos"), "truth": str(tmp_path / "truth")},
        "segmentor": "threshold",
        "labels": str(tmp_path / "labels.yaml"),
        "output": str(tmp_path / "results"),
    }


def run(job: dict[str, Any], **more: Any) -> RunResult:
    return batchseg.run(batchseg.RunConfig.model_validate({**job, **more}))


def expected(result: RunResult) -> dict[str, float]:
    """By TensorBoard's names."""
    figures = ("iou", "precision", "recall", "f1", "dice")
    of_classes = {
        f"{figure}/{row['class_name']}": row[figure] for row in result.classes for figure in figures
    }
    return {**result.metrics, **of_classes}  # type: ignore[dict-item]


def test_mlflow_has_metrics_and_classes(
    job: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mlflow import MlflowClient

    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    uri = (tmp_path / "store").as_uri()
    output = {"path": job["output"], "report": True}
    log_to = {"kind": "mlflow", "tracking_uri": uri, "experiment": "nights"}
    result = run(job, output=output, log_to=log_to, ray={"job": {"env": {"TOKEN": "s3cret"}}})
    client = MlflowClient(tracking_uri=uri)
    experiment = client.get_experiment_by_name("nights")
    assert experiment is not None
    (logged,) = client.search_runs([experiment.experiment_id])
    assert (logged.info.run_name, logged.info.status) == (result.run_id, "FINISHED")
    assert logged.data.tags["batchseg.results"] == result.output
    metrics = logged.data.metrics
    for name, value in result.metrics.items():
        assert metrics[name] == value
    ious = [metrics["iou.dark_ lower"], metrics["iou.dark_ lower_2"]]
    assert ious == [row["iou"] for row in result.classes]
    assert metrics["images.ok"] == 2
    assert logged.data.params["config.segmentor.kind"] == "threshold"
    assert "s3cret" not in str(logged.data.params)
    page = Path(client.download_artifacts(logged.info.run_id, "report.html"))
    assert page.read_bytes() == (tmp_path / "results" / "report.html").read_bytes()
    table = json.loads(Path(client.download_artifacts(logged.info.run_id, "classes.json")).read_text())
    assert [dict(zip(table["columns"], row, strict=True)) for row in table["data"]] == result.classes


def test_tensorboard_has_a_step_a_run(job: dict[str, Any], tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    first = run(job, log_to="tensorboard")
    pixels = np.zeros((16, 20), np.uint8)
    Image.fromarray(pixels).save(tmp_path / "truth" / "a.png")
    second = run(job, log_to="tensorboard")
    events = EventAccumulator(str(tmp_path / "results" / "tensorboard"))
    events.Reload()
    for name, value in expected(first).items():
        scalars = events.Scalars(name)
        assert [each.step for each in scalars] == [0, 1]
        assert [each.value for each in scalars] == pytest.approx([value, expected(second)[name]])
    assert "dark; lower" in str(events.Tensors("classes/text_summary")[0].tensor_proto)


def test_what_is_not_installed_is_said_before_anything_is_computed(
    job: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "mlflow", None)
    with pytest.raises(
        ConfigError, match=r"log_to \(--log-to\) mlflow needs .*pip install 'batchseg\[mlflow\]'"
    ):
        run(job, log_to="mlflow")
    assert not (tmp_path / "results").exists()


def test_a_store_that_refuses_loses_nothing(job: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("a file")
    log_to = {"kind": "tensorboard", "folder": str(tmp_path / "taken")}
    with pytest.raises(OutputError, match="the run has finished, but could not be logged to tensorboard"):
        run(job, log_to=log_to)
    assert batchseg.open_results(str(tmp_path / "results")).images.num_rows == 2
    (tmp_path / "taken").unlink()
    assert run(job, log_to=log_to).done_before == 2
    assert list((tmp_path / "taken").iterdir())


def test_tensorboard_needs_a_local_folder(job: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="files are local, and s3://bucket/board is not"):
        run(job, log_to={"kind": "tensorboard", "folder": "s3://bucket/board"})


def test_secrets_are_refused(job: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="must hold no credentials"):
        run(job, log_to={"kind": "mlflow", "tracking_uri": "https://me:secret@host"})


def test_a_night_is_logged_once_and_lives_without_it(job: dict[str, Any], tmp_path: Path) -> None:
    board = tmp_path / "board"
    asked = {**job, "log_to": {"kind": "tensorboard", "folder": str(board)}, "night": {"report": False}}
    night = batchseg.night(batchseg.NightConfig.model_validate(asked))
    assert (night.exit_code, night.lacking, len(list(board.iterdir()))) == (0, {}, 1)
    shutil.rmtree(board)
    board.write_text("a file")
    (tmp_path / "results" / "report.html").mkdir()
    both = {**asked, "night": {"report": True}}
    night = batchseg.night(batchseg.NightConfig.model_validate(both))
    assert (night.exit_code, night.page, [*night.lacking]) == (0, None, ["page", "log"])
    assert "is a folder; name the file of the page" in night.lacking["page"]
    assert "could not be logged to tensorboard" in night.lacking["log"]
