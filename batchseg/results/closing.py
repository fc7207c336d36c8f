"""What a run says of the whole results folder at its end: every class, and the worst images."""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from batchseg.labels.label_map import LabelMap
from batchseg.metrics.confusion import ConfusionMatrix
from batchseg.results.calibrated import OF_PROBED, ProbedTotals
from batchseg.results.folder import Results
from batchseg.results.prompted import PromptTotals
from batchseg.results.tables import classes_table, read_images
from batchseg.results.tally import kinds
from batchseg.schema import Status

WORST = 10
_COLUMNS = (
    *("id", "mean_iou", "status", "truth_status", "has_truth", "width", "height", "prompt"),
    *OF_PROBED,
)


def class_rows(total: ConfusionMatrix, label_map: LabelMap) -> list[dict[str, Any]]:
    """The table `classes` as rows."""
    rows: list[dict[str, Any]] = classes_table(total, label_map).to_pylist()
    return rows


@dataclass(frozen=True)
class Closing:
    """What the rows of all images tell.

    Attributes:
        worst: id, mean IoU and status of the scored images with the lowest mean IoU, ascending.
        segmented: images that have a mask.
        pixels: of these images, with those that have no data and so are not counted.
        calibration: of the data set's probed pixels, see `RecordedCalibration`; None without any.
        annotated_pixels: of the images whose ground truth was read, ignored ones included, and likewise.
        prompted: the figures of images with prompts of their own, by name; empty without such.
    """

    worst: list[dict[str, Any]]
    segmented: int
    pixels: int
    annotated_pixels: int
    calibration: dict[str, float | int | None] | None
    prompted: dict[str, float | None] = field(default_factory=dict)


def closing_of(results: Results) -> Closing:
    """One part of the tables at a time. Raises OutputError."""
    worst: list[dict[str, Any]] = []
    segmented = pixels = annotated = 0
    probed, prompted = ProbedTotals(), PromptTotals()
    parts = results.images.files(".parquet")
    for part in parts:
        images = read_images(part, _COLUMNS)
        is_segmented = pc.equal(images["status"], Status.OK.value)
        segmented += pc.sum(is_segmented).as_py() or 0
        areas = pc.multiply(images["width"].cast(pa.int64()), images["height"].cast(pa.int64()))
        pixels += pc.sum(pc.if_else(is_segmented, areas, 0)).as_py() or 0
        annotated += pc.sum(pc.if_else(images["has_truth"], areas, 0)).as_py() or 0
        probed.add(images)
        prompted.add(results.root, part.name, images)
        worst = heapq.nsmallest(
            WORST, [*worst, *_worst_of(images)], key=lambda row: (row["mean_iou"], row["id"])
        )
    calibration = probed.facts(results.root, [part.name for part in parts])
    return Closing(worst, segmented, pixels, annotated, calibration, prompted.figures)


def _worst_of(images: pa.Table) -> Iterator[dict[str, Any]]:
    images = images.filter(images["mean_iou"].is_valid())
    found = pc.select_k_unstable(
        images, k=min(WORST, len(images)), sort_keys=[("mean_iou", "ascending"), ("id", "ascending")]
    )
    images = images.take(found)
    for row, kind in zip(images.to_pylist(), kinds(images), strict=True):
        yield {"id": row["id"], "mean_iou": row["mean_iou"], "status": kind}
