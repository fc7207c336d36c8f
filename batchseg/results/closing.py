"""What a run says of the whole results folder at its end: every class, and the worst images."""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from typing import Any

import pyarrow.compute as pc

from batchseg.labels.label_map import LabelMap
from batchseg.metrics.confusion import ConfusionMatrix
from batchseg.results.folder import Results
from batchseg.results.tables import classes_table, read_images
from batchseg.results.tally import kinds
from batchseg.storage.location import Location

WORST = 10


def class_rows(total: ConfusionMatrix, label_map: LabelMap) -> list[dict[str, Any]]:
    """The table `classes` as rows."""
    rows: list[dict[str, Any]] = classes_table(total, label_map).to_pylist()
    return rows


def worst_images(results: Results) -> list[dict[str, Any]]:
    """Id, mean IoU and status of the scored images with the lowest mean IoU, ascending.

    Reads the tables one part at a time. Raises OutputError.
    """
    scored = (row for part in results.images.files(".parquet") for row in _worst_of(part))
    return heapq.nsmallest(WORST, scored, key=lambda row: (row["mean_iou"], row["id"]))


def _worst_of(part: Location) -> Iterator[dict[str, Any]]:
    images = read_images(part, ("id", "mean_iou", "status", "truth_status"))
    images = images.filter(images["mean_iou"].is_valid())
    found = pc.select_k_unstable(
        images, k=min(WORST, len(images)), sort_keys=[("mean_iou", "ascending"), ("id", "ascending")]
    )
    images = images.take(found)
    for row, kind in zip(images.to_pylist(), kinds(images), strict=True):
        yield {"id": row["id"], "mean_iou": row["mean_iou"], "status": kind}
