"""The tables beside `images` but for `pixels` on trial: are they readable, and do they go with the rows?

What is wrong with boundaries and objects is mended without the model, by scoring the masks anew.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from batchseg.errors import OutputError
from batchseg.inspect.findings import Findings
from batchseg.metrics.objects import ObjectSums, Outcome
from batchseg.results.part_names import NOT_OURS
from batchseg.results.tables import is_foreign, read_part, selected
from batchseg.schema import BESIDE
from batchseg.storage.location import Location

Rows = NDArray[np.bool_]
Figures = NDArray[np.float64]

SIDE_TABLES = tuple(kind for kind in BESIDE if kind != "pixels")
FROM_MASKS = ("objects", "boundary")  # what scoring a mask anew brings back
OF_BOUNDARY = ("boundary_iou", "nsd", "hd95")
OF_OBJECTS = ("panoptic_quality", "object_recall", "false_positives")
_TOLERANCE = 1e-9


@dataclass(frozen=True)
class SideTable:
    """One file beside a part of `images`.

    Attributes:
        table: what it holds; None where it cannot be read, or is not there.
        problem: one sentence on what is wrong with the file.
        strays: rows of images that have no row.
    """

    table: pa.Table | None
    problem: str | None = None
    strays: int = 0


def foreign_beside(
    root: Location, parts: Collection[str], cut_off: bool, findings: Findings
) -> list[Location]:
    """Find files beside no part of `images`; those that are not ours. Raises OutputError.

    Where a run was `cut_off`, those of a commit that did not come to its end are no fault.
    """
    foreign = []
    for kind in SIDE_TABLES:
        for file in (root / kind).files(".parquet"):
            if file.name in parts:
                continue
            if is_foreign(file, BESIDE[kind]):
                findings.add("foreign", f"{kind}/{file.name}", NOT_OURS)
                foreign.append(file)
            elif not cut_off:
                findings.add("part", f"{kind}/{file.name}", "lies beside no part of images/")
    return foreign


def look_beside(root: Location, kind: str, part: str, ids: pa.ChunkedArray) -> SideTable:
    """One of the side tables of a part. Raises OutputError where the disk refuses."""
    place, schema = root / kind / part, BESIDE[kind]
    if not place.exists():
        return SideTable(None)
    try:
        table = selected(place, read_part(place), schema, schema.names)
    except OutputError as exc:
        if isinstance(exc.__cause__, OSError) and exc.__cause__.errno is not None:
            raise
        return SideTable(None, str(exc).removeprefix(f"{place}: "))
    mine = pc.is_in(table["id"], ids.combine_chunks())
    strays = len(table) - (pc.sum(mine).as_py() or 0)
    return SideTable(table.filter(mine) if strays else table, strays=strays)


def wrong_measures(kind: str, images: pa.Table, table: pa.Table | None) -> Iterator[tuple[str, Rows]]:
    """For each figure of boundaries or objects the rows of a part that state another than the table gives."""
    if kind not in FROM_MASKS:
        return
    table = BESIDE[kind].empty_table() if table is None else table
    found = _boundary(images["id"], table) if kind == "boundary" else _objects(images, table)
    for name, given in found.items():
        stated = pc.fill_null(images[name].cast(pa.float64()), np.nan).to_numpy()
        yield name, ~np.isclose(stated, given, rtol=_TOLERANCE, atol=_TOLERANCE, equal_nan=True)


def _boundary(ids: pa.ChunkedArray, table: pa.Table) -> dict[str, Figures]:
    """Means over the classes of each image that have one."""
    means = table.group_by("id").aggregate([(name, "mean") for name in OF_BOUNDARY])
    places = pc.index_in(ids, means["id"].combine_chunks())
    return {name: pc.fill_null(means[f"{name}_mean"].take(places), np.nan).to_numpy() for name in OF_BOUNDARY}


def _objects(images: pa.Table, table: pa.Table) -> dict[str, Figures]:
    """What the outcomes give, [N] each; NaN where an image is not measured against a truth."""
    places = pc.index_in(table["id"], images["id"].combine_chunks()).to_numpy()
    classes = table["class_id"].to_numpy().astype(np.int64)
    width = int(classes.max(initial=0)) + 1
    groups, of_row = np.unique(places * width + classes, return_inverse=True)
    ious = pc.fill_null(table["iou"], 0.0).to_numpy()

    def summed(outcome: Outcome, side: str, weights: Figures | None = None) -> Figures:
        chosen = pc.and_(pc.equal(table["outcome"], outcome.value), pc.equal(table["side"], side))
        rows = pc.fill_null(chosen, False).to_numpy()
        values = None if weights is None else weights[rows]
        return np.bincount(of_row[rows], weights=values, minlength=len(groups)).astype(np.float64)

    sums = ObjectSums(
        iou=summed(Outcome.MATCHED, "truth", ious),
        matched=summed(Outcome.MATCHED, "truth"),
        missed=summed(Outcome.MISSED, "truth"),
        false=summed(Outcome.FALSE_POSITIVE, "predicted"),
    )
    image, count = groups // width, len(images)

    def by_image(values: Figures) -> Figures:
        return np.bincount(image, weights=values, minlength=count).astype(np.float64)

    with np.errstate(invalid="ignore"):
        quality = sums.scores()["panoptic_quality"]
        known = ~np.isnan(quality)
        mean = by_image(np.where(known, quality, 0)) / by_image(known.astype(np.float64))
        matched, missed = by_image(sums.matched), by_image(sums.missed)
        recall = matched / (matched + missed)
    judged = by_image(_judged(table, of_row, len(groups))) > 0
    # an image without any object states that it has no false one
    stated = images["false_positives"].is_valid().to_numpy()
    false = np.where(judged | stated, by_image(sums.false), np.nan)
    return {"panoptic_quality": mean, "object_recall": recall, "false_positives": false}


def _judged(table: pa.Table, of_row: NDArray[np.intp], count: int) -> Figures:
    """Objects that were held against a truth, by group."""
    rows = table["outcome"].is_valid().to_numpy()
    return np.bincount(of_row[rows], minlength=count).astype(np.float64)
