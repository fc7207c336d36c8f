"""The epochs of a training, read again by the readers of TensorBoard and MLflow."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image
from training.tiny_training import CLASSES, SIDE, config, draw

import batchseg
from batchseg.results.learning import Learning
from batchseg.storage.location import locate
from batchseg.training.logged import logged


def expected(folder: Path) -> dict[str, list[tuple[int, float]]]:
    """By TensorBoard's names: epoch and value of every figure."""
    found: dict[str, list[tuple[int, float]]] = {}
    for row in pq.read_table(folder / "history.parquet").to_pylist():
        for name, value in row.items():
            if name != "epoch" and value is not None:
                found.setdefault(name, []).append((row["epoch"], value))
    for row in pq.read_table(folder / "class_history.parquet").to_pylist():
        if row["iou"] is not None:
            found.setdefault(f"iou/{row['class_name']}", []).append((row["epoch"], row["iou"]))
    return found


def scalars(folder: Path) -> dict[str, list[tuple[int, float]]]:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(folder), size_guidance={"scalars": 0})
    events.Reload()
    return {
        name: [(each.step, each.value) for each in events.Scalars(name)] for name in events.Tags()["scalars"]
    }


def same(found: dict[str, list[tuple[int, float]]], wanted: dict[str, list[tuple[int, float]]]) -> None:
    assert found.keys() == wanted.keys()
    for name, points in wanted.items():
        assert [step for step, _ in found[name]] == [step for step, _ in points]
        assert [value for _, value in found[name]] == pytest.approx([value for _, value in points], rel=1e-5)


@pytest.mark.usefixtures("ray_session")
def test_tensorboard_has_each_epoch_once(tmp_path: Path) -> None:
    """What is logged of a training; then what a call logs that goes on where an earlier one was stopped."""
    draw(tmp_path)
    batchseg.train(config(tmp_path, log_to="tensorboard"))
    out = tmp_path / "out"
    wanted = expected(out)
    assert [epoch for epoch, _ in wanted["iou/tree"]] == [1, 2, 3] and "iou/rare" not in wanted
    same(scalars(out / "tensorboard"), wanted)
    learning = Learning.read(locate(str(out)))
    with logged(config(tmp_path, log_to="tensorboard"), out, out, lambda news: None) as tell:
        tell({"step": 1, "loss": 0.5})
        tell({"epoch": learning.history[-1], "classes": learning.classes[-len(CLASSES) :]})
    assert len([*(out / "tensorboard").iterdir()]) == 2
    same(scalars(out / "tensorboard"), wanted)


@pytest.fixture
def kept(tmp_path: Path) -> tuple[Path, Learning]:
    """What a training of two epochs and two classes leaves."""
    history = [{"epoch": epoch, "loss": 1 / epoch, "mean_iou": epoch / 4, "giou": None} for epoch in (2, 4)]
    classes = [
        {"epoch": epoch, "class_id": at, "class_name": name, "iou": iou, "truth_pixels": 9 if iou else 0}
        for epoch in (2, 4)
        for at, (name, iou) in enumerate((("dark; low", epoch / 5), ("dark, low", epoch / 8), ("none", None)))
    ]
    learning = Learning(history, classes)
    (tmp_path / "out" / "state").mkdir(parents=True)
    learning.write(locate(str(tmp_path / "out")))
    return tmp_path / "out", learning


def test_mlflow_goes_on_in_the_same_run(
    kept: tuple[Path, Learning], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mlflow import MlflowClient

    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    uri = (tmp_path / "store").as_uri()
    out, learning = kept
    asked = config(
        tmp_path,
        log_to={"kind": "mlflow", "tracking_uri": uri, "experiment": "scenes"},
        ray={"job": {"env": {"TOKEN": "s3cret"}}},
    )
    with (
        pytest.raises(KeyboardInterrupt),
        logged(asked, out, out / "state", lambda news: None) as tell,
    ):
        tell({"epoch": learning.history[0], "classes": learning.classes[:3]})
        raise KeyboardInterrupt
    client = MlflowClient(tracking_uri=uri)
    experiment = client.get_experiment_by_name("scenes")
    assert experiment is not None
    (run,) = client.search_runs([experiment.experiment_id])
    assert run.info.status == "KILLED"
    with logged(asked, out, out / "state", lambda news: None) as tell:
        tell({"epoch": learning.history[1], "classes": learning.classes[3:]})
    (run,) = client.search_runs([experiment.experiment_id])
    assert (run.info.status, run.data.tags["batchseg.training"]) == ("FINISHED", str(out))
    for name, values in {
        "loss": [0.5, 0.25],
        "mean_iou": [0.5, 1.0],
        "iou.dark_ low": [0.4, 0.8],
        "iou.dark_ low_2": [0.25, 0.5],
    }.items():
        points = client.get_metric_history(run.info.run_id, name)
        assert [(each.step, each.value) for each in points] == [*zip((2, 4), values, strict=True)]
    assert run.data.params["config.epochs"] == "3" and "s3cret" not in str(run.data.params)
    assert not any("none" in name for name in run.data.metrics)


@pytest.mark.usefixtures("ray_session")
def test_a_training_that_had_to_stop_has_failed_in_mlflow(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mlflow import MlflowClient

    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    uri = (tmp_path / "store").as_uri()
    draw(tmp_path)

    def spoil(news: dict[str, Any]) -> None:
        """From the first epoch on the truths show a class whose weight is beyond all numbers."""
        if news.get("epoch", {}).get("epoch") == 1:
            for path in (tmp_path / "masks").iterdir():
                Image.fromarray(np.full((SIDE, SIDE), CLASSES.index("unseen"), np.uint8)).save(path)

    asked = config(
        tmp_path,
        log_to={"kind": "mlflow", "tracking_uri": uri, "experiment": "scenes"},
        class_weights={"unseen": 3e38},
        epochs=1000,
        patience=1000,
    )
    with pytest.raises(batchseg.BatchsegError, match=r"training stopped: .* is not a finite number"):
        batchseg.train(asked, spoil)
    client = MlflowClient(tracking_uri=uri)
    experiment = client.get_experiment_by_name("scenes")
    assert experiment is not None
    (run,) = client.search_runs([experiment.experiment_id])
    assert run.info.status == "FAILED"


def test_a_log_that_fails_is_told_once(kept: tuple[Path, Learning], tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("a file")
    out, learning = kept
    asked = config(tmp_path, log_to={"kind": "tensorboard", "folder": str(tmp_path / "taken")})
    told: list[dict[str, Any]] = []
    with logged(asked, out, out / "state", told.append) as tell:
        for row in learning.history:
            tell({"epoch": row, "classes": learning.classes[:3]})
    notes = [news["note"] for news in told if "note" in news]
    assert len(notes) == 1 and "the training is not logged to tensorboard any more (" in notes[0]
    assert [news["epoch"] for news in told if "epoch" in news] == learning.history
    shutil.rmtree(out)
    assert json.loads(json.dumps(notes)) == notes


def test_what_cannot_be_logged_is_refused_before_anything_is_learnt(tmp_path: Path) -> None:
    asked = config(tmp_path, log_to={"kind": "tensorboard", "folder": "s3://bucket/board"})
    with pytest.raises(batchseg.BatchsegError, match="files are local, and s3://bucket/board is not"):
        batchseg.train(asked)
    assert not (tmp_path / "out" / "train.json").exists()
