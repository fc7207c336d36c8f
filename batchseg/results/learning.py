"""What a training leaves to be looked at: its record, its history, that of each class, and some pictures."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from batchseg.errors import OutputError
from batchseg.schema import CLASS_HISTORY, column
from batchseg.storage.location import Location

RECORD, HISTORY, CLASSES_FILE = "train.json", "history.parquet", "class_history.parquet"
PICTURES_FILE = "validation_pictures.parquet"

VALIDATION_PICTURES = pa.schema(
    [
        column("id", pa.string(), "the image", nullable=False),
        column("uri", pa.string(), "where the training read it", nullable=False),
        column("window", pa.list_(pa.int64(), 4), "top, left, height and width; null of whole images"),
        column("photo", pa.binary(), "what a window shows, a small JPEG; whole images are read anew"),
        column("prompt", pa.string(), "what was meant in it; null without prompts"),
        column("epoch", pa.int32(), "the best one, which predicted it", nullable=False),
        column("width", pa.int32(), "pixels of the truth", nullable=False),
        column("height", pa.int32(), "pixels of the truth", nullable=False),
        column("mean_iou", pa.float64(), "of the image at this size; null where no truth counts"),
        column("accuracy", pa.float64(), "likewise"),
        column("truth", pa.binary(), "a small PNG of class ids in their colours", nullable=False),
        column("predicted", pa.binary(), "likewise", nullable=False),
    ]
)

Row = dict[str, Any]


@dataclass(frozen=True)
class Learning:
    """How a training went, up to its last epoch that is kept.

    Attributes:
        history: a row a validated epoch.
        classes: a row an epoch and class, as `schema.CLASS_HISTORY`.
        pictures: a row a validation image or window, as `VALIDATION_PICTURES`.
    """

    history: list[Row] = field(default_factory=list)
    classes: list[Row] = field(default_factory=list)
    pictures: list[Row] = field(default_factory=list)

    def write(self, root: Location) -> None:
        """Three tables, each whole or not at all. Raises OSError."""
        if not self.history:
            return
        for name, table in (
            (HISTORY, pa.Table.from_pylist(self.history)),
            (CLASSES_FILE, pa.Table.from_pylist(self.classes, CLASS_HISTORY)),
            (PICTURES_FILE, pa.Table.from_pylist(self.pictures, VALIDATION_PICTURES)),
        ):
            file = io.BytesIO()
            pq.write_table(table, file)
            (root / name).write(file.getvalue())

    @classmethod
    def read(cls, root: Location) -> Learning:
        """What is there: nothing before the first validated epoch. Raises OutputError."""
        return cls(*(_rows(root / name) for name in (HISTORY, CLASSES_FILE, PICTURES_FILE)))


def window_name(image: str, window: Sequence[int]) -> str:
    """How a window of an image is called; of its top, left, height and width."""
    return f"{image} (window at row {window[0]}, column {window[1]})"


def training_record(root: Location) -> Row | None:
    """What train.json says; None where the folder is none of a training. Raises OutputError."""
    place = root / RECORD
    try:
        record = json.loads(place.read())
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError) as exc:
        raise OutputError(f"{place}: cannot be read: {exc}") from exc
    if not isinstance(record, dict) or not isinstance(record.get("config"), dict):
        raise OutputError(f"{place}: is no record of a training")
    return record


def history_of_classes(
    epoch: int, names: Sequence[str], iou_C: Sequence[float], pixels_C: Sequence[int]
) -> list[Row]:
    """Rows of `schema.CLASS_HISTORY`.

    Args:
        iou_C: of each class; it counts where there is truth.
        pixels_C: of each class in the truths.
    """
    return [
        {
            "epoch": epoch,
            "class_id": index,
            "class_name": name,
            "iou": float(iou) if pixels else None,
            "truth_pixels": int(pixels),
        }
        for index, (name, iou, pixels) in enumerate(zip(names, iou_C, pixels_C, strict=True))
    ]


def _rows(place: Location) -> list[Row]:
    try:
        rows: list[Row] = pq.read_table(io.BytesIO(place.read())).to_pylist()
    except FileNotFoundError:
        return []
    except (OSError, pa.ArrowException) as exc:
        raise OutputError(f"{place}: cannot be read: {exc}") from exc
    return rows
