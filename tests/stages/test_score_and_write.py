"""Score, write and restore on items made by hand: a fault of the truth takes nothing from the mask."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image

from batchseg.config.base import Limits
from batchseg.errors import OutputError, RowFault
from batchseg.labels.label_map import LabelMap
from batchseg.labels.reading import Reading
from batchseg.results.verdict import KEPT
from batchseg.schema import Status, TruthStatus
from batchseg.segmentors.base import Prediction
from batchseg.stages.item import Item, Stage
from batchseg.stages.restore import read_masks, restore
from batchseg.stages.score import score
from batchseg.stages.write import Stamp, row_schema, to_table, write_mask
from batchseg.storage.location import locate
from batchseg.storage.lock import Lock

LABELS = LabelMap.from_names(("sky", "road"))
STAMP = Stamp("m", "mask key", "score key", "run")
MASK = np.array([[0, 1, 1], [0, 0, 1]], np.uint8)


def item(**row: Any) -> Item:
    """An image that was segmented."""
    base = {"id": "a", "uri": "/a", "truth": None, "truth_version": None, "source_version": "v1"}
    base |= {"size": 1, "status": None, "error": None, "mask": "a.png", "_row": 0}
    made = Item.from_plan({**base, **row})
    made.size_hw, made.prediction = MASK.shape, Prediction(MASK)
    return made


def through(stage: Stage, made: Item) -> Item:
    (out,) = stage(iter([made]))
    assert out is made
    return out


def row_of(made: Item) -> dict[str, Any]:
    (row,) = to_table([made], row_schema(pa.schema([])), STAMP).to_pylist()
    return row


def save(path: Path, pixels: np.ndarray) -> str:
    Image.fromarray(pixels).save(path)
    return str(path)


# -- score and the row


def test_without_truth_pixels_are_counted_by_prediction_alone() -> None:
    row = row_of(through(score(Reading(LABELS), Limits()), item()))
    assert (row["status"], row["truth_status"], row["has_truth"], row["accuracy"]) == (
        "ok",
        "none",
        False,
        None,
    )
    assert (row["truth_version"], row["score_fingerprint"], row["truth_pixels"]) == (None, None, None)
    assert row["_pixels"] == [
        {"truth": None, "predicted": 0, "pixels": 3},
        {"truth": None, "predicted": 1, "pixels": 3},
    ]


def test_a_score_says_what_it_was_computed_from(tmp_path: Path) -> None:
    truth = save(tmp_path / "t.png", np.array([[0, 1, 0], [0, 255, 1]], np.uint8))
    row = row_of(through(score(Reading(LABELS), Limits()), item(truth=truth, truth_version="t1")))
    assert (row["truth_status"], row["truth_version"], row["score_fingerprint"]) == ("ok", "t1", "score key")
    assert (row["fingerprint"], row["model"], row["run_id"]) == ("mask key", "m", "run")
    assert (row["accuracy"], row["truth_pixels"], row["error"]) == (4 / 5, 5, None)


@pytest.mark.parametrize(
    ("truth", "status", "sentence"),
    [
        (None, "missing", "there is no such file"),
        (np.zeros((4, 3), np.uint8), "mismatch", "the image is 3 x 2 pixels, its truth 3 x 4"),
        (np.full((2, 3), 7, np.uint8), "out_of_range", "id 7 (6 pixels)"),
        (np.zeros((2, 3, 4), np.uint8), "unreadable", ""),
    ],
)
def test_a_fault_of_the_truth_leaves_the_mask_and_its_pixels(
    tmp_path: Path, truth: np.ndarray | None, status: str, sentence: str
) -> None:
    uri = str(tmp_path / "t.png")
    if truth is not None and truth.ndim == 2:
        save(tmp_path / "t.png", truth)
    elif truth is not None:
        (tmp_path / "t.png").write_bytes(b"no image")
    made = through(score(Reading(LABELS), Limits()), item(truth=uri, truth_version="t1"))
    assert made.alive
    row = row_of(through(write_mask(locate(str(tmp_path / "out")), LABELS), made))
    assert (row["status"], row["truth_status"], row["mask"]) == ("ok", status, "masks/a.png")
    assert sentence in row["error"]
    assert (row["truth_version"], row["score_fingerprint"]) == ("t1", "score key")
    assert (row["has_truth"], row["accuracy"]) == (False, None)
    assert sum(entry["pixels"] for entry in row["_pixels"]) == MASK.size
    assert np.array_equal(np.asarray(Image.open(tmp_path / "out" / "masks" / "a.png")), MASK)


def test_of_an_image_that_failed_nobody_looked_at_the_truth(tmp_path: Path) -> None:
    made = item(truth=str(tmp_path / "nowhere.png"), truth_version="t1", status="missing", error="gone")
    made.prediction = None
    row = row_of(
        through(write_mask(locate(str(tmp_path)), LABELS), through(score(Reading(LABELS), Limits()), made))
    )
    assert (row["status"], row["truth_status"], row["error"]) == ("missing", None, "gone")
    assert (row["mask"], row["truth_version"], row["score_fingerprint"], row["_pixels"]) == (None,) * 4


def test_a_mask_is_written_only_while_the_folder_is_ours(tmp_path: Path) -> None:
    (tmp_path / ".lock").write_text('{"host": "elsewhere", "pid": 1, "started_at": "now", "token": "other"}')
    stage = write_mask(locate(str(tmp_path)), LABELS, Lock(locate(str(tmp_path)), "ours"))
    with pytest.raises(OutputError, match="was taken over"):
        through(stage, item())
    assert not (tmp_path / "masks" / "a.png").exists()


# -- restore


def kept(**more: Any) -> dict[str, Any]:
    known = dict.fromkeys(KEPT)
    known |= {"source_version": "v0", "model": "earlier", "fingerprint": "its key", "mask": "masks/a.png"}
    return {**known, "height": 2, "width": 3, "confidence_mean": 0.5, "segment_s": 0.25, **more}


def of_kept(**more: Any) -> Item:
    made = item(_kept=kept(**more))
    made.size_hw = made.prediction = None
    return made


@pytest.fixture
def written(tmp_path: Path) -> Path:
    """A results folder with one mask."""
    through(write_mask(locate(str(tmp_path)), LABELS), item())
    return tmp_path


def test_a_mask_comes_back_as_it_was_and_keeps_all_that_is_known_of_it(written: Path) -> None:
    made = through(restore(locate(str(written)), LABELS, Limits(max_pixels=1)), of_kept())
    assert made.prediction is not None
    assert np.array_equal(made.prediction.labels_HW, MASK)
    row = row_of(through(score(Reading(LABELS), Limits()), made))
    assert {name: row[name] for name in KEPT} == kept()
    assert (row["status"], row["run_id"], row["id"]) == ("ok", "run", "a")


@pytest.mark.parametrize(
    ("damage", "more", "sentence"),
    [
        (lambda mask: mask.unlink(), {}, "there is no such file"),
        (lambda mask: mask.write_bytes(mask.read_bytes()[:40]), {}, "damaged or truncated"),
        (lambda mask: None, {"width": 4}, "it is 3 x 2, not 4 x 2"),
        (lambda mask: save(mask, np.full((2, 3), 9, np.uint8)), {}, "id 9"),
    ],
)
def test_a_mask_that_cannot_be_used_is_a_fault_of_its_image(
    written: Path, damage: Any, more: dict[str, Any], sentence: str
) -> None:
    damage(written / "masks" / "a.png")
    made = through(restore(locate(str(written)), LABELS, Limits()), of_kept(**more))
    row = row_of(through(score(Reading(LABELS), Limits()), made))
    assert (row["status"], row["truth_status"], row["mask"]) == ("unreadable", None, None)
    assert "so the next run segments the image again" in row["error"]
    assert sentence in row["error"]


def test_where_masks_are_the_source_their_faults_are_those_of_images(tmp_path: Path) -> None:
    save(tmp_path / "odd.png", np.full((2, 3), 9, np.uint8))
    stage = read_masks(Reading(LABELS), Limits())
    for uri, status in (("odd.png", Status.UNREADABLE), ("gone.png", Status.MISSING)):
        made = through(stage, item(uri=str(tmp_path / uri)))
        assert isinstance(made.fault, RowFault)
        assert made.fault.status is status


def test_every_status_of_a_truth_has_a_row() -> None:
    made = item()
    assert made.truth_status is TruthStatus.NONE
    made.has_truth = True
    assert made.truth_status is TruthStatus.OK
    made.truth_fault = RowFault(TruthStatus.MISMATCH, "")
    assert made.truth_status is TruthStatus.MISMATCH
    made.fault = RowFault(Status.MODEL_FAILED, "")
    assert made.truth_status is None
