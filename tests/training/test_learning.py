"""The IoU of each class in each epoch, and the pictures of the best one, held against scikit-learn."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image
from sklearn.metrics import jaccard_score
from training.tiny_training import CLASSES, config, draw

import batchseg
from batchseg.results.learning import Learning
from batchseg.schema import CLASS_HISTORY
from batchseg.storage.location import locate
from batchseg.training.job import State


def pixels(png: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(png)))


@pytest.mark.usefixtures("ray_session")
def test_the_classes_of_each_epoch_and_the_pictures_of_the_best(tmp_path: Path) -> None:
    draw(tmp_path)
    told: list[dict[str, Any]] = []
    seen: list[list[str]] = []

    def look(news: dict[str, Any]) -> None:
        told.append(news)
        if "epoch" in news:  # what is told is there
            seen.append(sorted(path.name for path in (tmp_path / "out").glob("*.parquet")))

    result = batchseg.train(config(tmp_path), look)
    table = pq.read_table(tmp_path / "out/class_history.parquet")
    assert table.schema.equals(CLASS_HISTORY)
    rows = table.to_pylist()
    assert [(row["epoch"], row["class_name"]) for row in rows] == [
        (epoch, name) for epoch in (1, 2, 3) for name in CLASSES
    ]
    assert [row for news in told for row in news.get("classes", [])] == rows
    assert seen[0] == [
        *("class_history.parquet", "history.parquet", "split.parquet", "validation_pictures.parquet"),
    ]
    truths = {path.name: np.asarray(Image.open(path)) for path in sorted((tmp_path / "masks").iterdir())[:4]}
    pictures = pq.read_table(tmp_path / "out/validation_pictures.parquet").to_pylist()
    assert [(row["id"], row["epoch"]) for row in pictures] == [(name, result.best_epoch) for name in truths]
    assert all((pixels(row["truth"]) == truths[row["id"]]).all() for row in pictures)
    # the pictures are as large as the truths here, so all that was predicted is in them
    predicted = np.concatenate([pixels(row["predicted"]).ravel() for row in pictures])
    true = np.concatenate([truth.ravel() for truth in truths.values()])
    ious = jaccard_score(true[true < 4], predicted[true < 4], labels=range(4), average=None, zero_division=0)
    best = [row for row in rows if row["epoch"] == result.best_epoch]
    assert [row["iou"] for row in best] == [*ious[:2].tolist(), None, None]
    assert [row["truth_pixels"] for row in best] == np.bincount(true[true < 4], minlength=4).tolist()
    for row in pictures:
        mine, own = pixels(row["predicted"])[:-1], truths[row["id"]][:-1]
        assert row["accuracy"] == (mine == own).mean()
    sentence = "no validation image shows rare, so nothing says how well it was learnt"
    assert [news["note"] for news in told if "note" in news][-1] == sentence
    record = json.loads((tmp_path / "out/train.json").read_text())
    assert record["notes"][-1] == sentence and "rare" in record["notes"][-2]
    (tmp_path / "out/model").rename(tmp_path / "model")
    with pytest.raises(batchseg.BatchsegError, match="has finished, but its model is gone"):
        batchseg.train(config(tmp_path))


def test_a_state_of_an_earlier_version_goes_on() -> None:
    state = State(epoch=2, history=[{"epoch": 2}])
    assert state.unjudged(CLASSES) == [] and state.learning(CLASSES) == Learning([{"epoch": 2}])


def test_what_an_interrupted_training_keeps_is_read_again(tmp_path: Path) -> None:
    state = State(
        history=[{"epoch": 1, "loss": 0.5, "giou": None}],
        class_history=[{"epoch": 1, "iou": [0.25, float("nan")], "truth_pixels": [4, 0]}],
        learnt_pixels=[9, 9],
    )
    learning = state.learning(["a", "b"])
    learning.write(locate(str(tmp_path)))
    assert Learning.read(locate(str(tmp_path))) == learning
    assert [row["iou"] for row in learning.classes] == [0.25, None]
    assert state.unjudged(["a", "b"]) == ["b"]
    assert Learning.read(locate(str(tmp_path / "nowhere"))) == Learning()
