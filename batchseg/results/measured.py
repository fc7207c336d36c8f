"""Boundaries and objects over the whole data set: what the rows of their tables add up to."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from batchseg.config.base import Limits
from batchseg.config.metrics import Measured
from batchseg.labels.label_map import LabelMap
from batchseg.metrics.boundary import BoundarySums
from batchseg.metrics.class_sums import mean_of_known, ratio
from batchseg.metrics.measures import Measures
from batchseg.metrics.objects import ObjectSums, Outcome
from batchseg.results.tables import read_columns, read_images
from batchseg.schema import BESIDE, Status
from batchseg.stages.by_window import is_large
from batchseg.stages.places import TIFF_SUFFIXES
from batchseg.storage.location import Location

_OF_IMAGES = ("status", "uri", "mask", "width", "height", "boundary_iou", "nsd", "false_positives")
_OF_BOUNDARY = ("intersection", "union", "near", "boundary_pixels")
_OF_OBJECTS = ("side", "class_id", "area", "outcome", "iou")


class Measuring(Measured, Protocol):
    """A configuration that asks for further metrics, with its limits."""

    @property
    def limits(self) -> Limits: ...


@dataclass
class MeasuredTotals:
    """Further metrics over the data set.

    Attributes:
        facts: for the record, by metric.
        too_large: images that have none, for their masks are read by window.
        without_spacing: images whose distances are not known, for nothing tells the size of their pixels.
    """

    facts: dict[str, dict[str, Any]] = field(default_factory=dict)
    too_large: int = 0
    without_spacing: int = 0


def measured_totals(root: Location, config: Measuring, label_map: LabelMap) -> MeasuredTotals:
    """One pass over the tables of what is asked for, a part at a time. Raises OutputError."""
    found, measures = MeasuredTotals(), Measures.of(config, label_map)
    if measures is None:
        return found
    scored = 0
    for part in (root / "images").files(".parquet"):
        images = read_images(part, _OF_IMAGES)
        images = images.filter(pc.equal(images["status"], Status.OK.value))
        found.too_large += _too_large(images, config.limits)
        bare = pc.and_(images["boundary_iou"].is_valid(), images["nsd"].is_null())
        found.without_spacing += pc.sum(bare).as_py() or 0
        scored += len(images) - images["false_positives"].null_count
    said = measures.definitions
    if measures.boundary is not None:
        found.facts["boundary"] = {"definition": said["boundary"], **_boundary(root, label_map.names)}
    if measures.objects is not None:
        facts = _objects(root, label_map.names, config.objects.sizes, scored)
        found.facts["objects"] = {"definition": said["objects"], **facts}
    return found


def _too_large(images: pa.Table, limits: Limits) -> int:
    """Images whose mask is a TIFF that is read by window."""
    masks = pc.coalesce(images["mask"], images["uri"])
    tiffs = images.filter(pc.or_(*(pc.ends_with(pc.utf8_lower(masks), suffix) for suffix in TIFF_SUFFIXES)))
    sizes = zip(tiffs["height"].to_pylist(), tiffs["width"].to_pylist(), strict=True)
    return sum(None not in size and is_large(size, limits) for size in sizes)


def _boundary(root: Location, names: Sequence[str]) -> dict[str, Any]:
    count = len(names)
    sums = {name: np.zeros(count, np.int64) for name in _OF_BOUNDARY}
    hd95, with_hd95, rows = (np.zeros(count) for _ in range(3))
    for table in _tables(root, "boundary", ("class_id", *_OF_BOUNDARY, "hd95")):
        classes = table["class_id"].to_numpy()
        for name, values in sums.items():
            np.add.at(values, classes, table[name].to_numpy())
        distances = table["hd95"].to_numpy()  # null as NaN
        known = ~np.isnan(distances)
        np.add.at(hd95, classes[known], distances[known])
        np.add.at(with_hd95, classes[known], 1)
        np.add.at(rows, classes, 1)
    scores = {**BoundarySums(**sums).scores(), "hd95": ratio(hd95, with_hd95)}
    return {
        **{name: mean_of_known(values) for name, values in scores.items()},
        "classes": [
            {
                **_named(label, names),
                **{name: _number(values[label]) for name, values in scores.items()},
                "images": int(rows[label]),
                "images_with_hd95": int(with_hd95[label]),
            }
            for label in np.flatnonzero(rows).tolist()
        ],
    }


def _objects(root: Location, names: Sequence[str], sizes: Sequence[int], images: int) -> dict[str, Any]:
    count = len(names)
    iou, by_outcome = np.zeros(count), {outcome: np.zeros(count, np.int64) for outcome in Outcome}
    total = {side: np.zeros(count, np.int64) for side in ("truth", "predicted")}
    by_size = {outcome: np.zeros(len(sizes) + 1, np.int64) for outcome in (Outcome.MATCHED, Outcome.MISSED)}
    for table in _tables(root, "objects", _OF_OBJECTS):
        for side, numbers in total.items():
            of_side = table.filter(pc.equal(table["side"], side))
            numbers += np.bincount(of_side["class_id"].to_numpy(), minlength=count)
            if side == "truth":
                places = np.searchsorted(sizes, of_side["area"].to_numpy(), side="right")
                for outcome, values in by_size.items():
                    hit = _is(of_side, outcome)
                    values += np.bincount(places[hit], minlength=len(values))
                    by_outcome[outcome] += np.bincount(of_side["class_id"].to_numpy()[hit], minlength=count)
                matched = of_side.filter(pa.array(_is(of_side, Outcome.MATCHED)))
                classes, values = matched["class_id"].to_numpy(), matched["iou"].to_numpy()
                iou += np.bincount(classes, weights=values, minlength=count)
            else:
                hit = _is(of_side, Outcome.FALSE_POSITIVE)
                by_outcome[Outcome.FALSE_POSITIVE] += np.bincount(
                    of_side["class_id"].to_numpy()[hit], minlength=count
                )
    sums = ObjectSums(
        iou, *(by_outcome[name] for name in (Outcome.MATCHED, Outcome.MISSED, Outcome.FALSE_POSITIVE))
    )
    scores = sums.scores()
    false = int(sums.false.sum())
    return {
        "panoptic_quality": mean_of_known(scores["panoptic_quality"]),
        "object_recall": _share(int(sums.matched.sum()), int(sums.missed.sum())),
        "false_positives_per_image": false / images if images else None,
        "images": images,
        "recall_by_size": [
            {
                "pixels_from": low,
                "pixels_below": high,
                "objects": int(matched + missed),
                "recall": _share(int(matched), int(missed)),
            }
            for low, high, matched, missed in zip(
                [1, *sizes],
                [*sizes, None],
                by_size[Outcome.MATCHED],
                by_size[Outcome.MISSED],
                strict=True,
            )
        ],
        "classes": [
            {
                **_named(label, names),
                **{name: _number(values[label]) for name, values in scores.items()},
                "objects": int(total["truth"][label]),
                "predicted_objects": int(total["predicted"][label]),
                "matched": int(sums.matched[label]),
                "false_positives": int(sums.false[label]),
            }
            for label in np.flatnonzero(total["truth"] + total["predicted"]).tolist()
        ],
    }


def _tables(root: Location, kind: str, columns: Sequence[str]) -> Iterator[pa.Table]:
    for part in (root / kind).files(".parquet"):
        yield read_columns(part, BESIDE[kind], columns)


def _is(table: pa.Table, outcome: Outcome) -> NDArray[np.bool_]:
    hit: NDArray[np.bool_] = pc.fill_null(pc.equal(table["outcome"], outcome.value), False).to_numpy()
    return hit


def _named(label: int, names: Sequence[str]) -> dict[str, Any]:
    return {"class_id": label, "class_name": names[label]}


def _share(part: int, rest: int) -> float | None:
    return float(part / (part + rest)) if part + rest else None


def _number(value: float) -> float | None:
    return None if np.isnan(value) else float(value)
