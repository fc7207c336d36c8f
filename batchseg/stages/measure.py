"""Measure: boundaries and objects of a label map, where they are asked for."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from batchseg.config.base import Limits
from batchseg.config.source import ImageReading
from batchseg.errors import RowFault
from batchseg.images.geotiff import Georeference, pixel_size
from batchseg.images.raster import Area
from batchseg.labels.label_map import Ids
from batchseg.labels.reading import Reading, as_written
from batchseg.metrics.boundary import boundaries_of
from batchseg.metrics.class_sums import mean_of_known, ratio
from batchseg.metrics.components import NONE, Components
from batchseg.metrics.measures import BoundaryMeasure, Measures, ObjectMeasure
from batchseg.metrics.objects import OUTCOMES, Fates, match_objects
from batchseg.metrics.outlines import outlines_as_wkb
from batchseg.schema import TruthStatus
from batchseg.segmentors.base import Probes
from batchseg.stages.beside import rows_beside
from batchseg.stages.by_window import is_large, open_truth, unusable
from batchseg.stages.item import Item, Stage, for_each
from batchseg.stages.nodata import nodata_of
from batchseg.stages.places import is_tiff_mask, place_on_map
from batchseg.stages.restore import read_mask
from batchseg.stages.score import voided
from batchseg.storage.reader import Reader, image_reader, truth_reader

Spacing = tuple[float, float] | None
Maps = tuple[Ids, Ids | None]


def measure(
    measures: Measures,
    reading: Reading,
    limits: Limits,
    images_as: ImageReading | None = None,
    *,
    keep_truth: bool = False,
) -> Stage:
    """Measure every label map against the truth that `score` kept; without one, its objects alone.

    A raster that was joined from parts is read again. Of one that is too large to be held nothing is
    measured, whichever way its mask came about.

    Args:
        reading: how the truths are read.
        images_as: how the images are read; None where there are no images.
        keep_truth: for a stage after this one.
    """
    images, truths = image_reader(), truth_reader()

    def work(item: Item) -> None:
        if _is_held(item, limits):
            measure_one(item)
        if not keep_truth:
            item.truth_HW = None

    def measure_one(item: Item) -> None:
        if item.prediction is not None:
            labels_HW, truth_HW = item.prediction.labels_HW, item.truth_HW
        else:
            labels_HW, truth_HW = _read_again(item, reading, limits, images_as, readers=(images, truths))
        place = _place(item, images) if _needs_place(measures) else None
        spacing = measures.spacing or pixel_size(place)
        if measures.boundary is not None and truth_HW is not None:
            _boundary(item, measures.boundary, labels_HW, truth_HW, spacing)
        if measures.objects is not None:
            _objects(item, measures, (labels_HW, truth_HW), spacing, place)

    return for_each("measure", work)


def _is_held(item: Item, limits: Limits) -> bool:
    """Whether all of its label map is held, now and whenever its mask is read again."""
    assert item.size_hw is not None
    return not (is_large(item.size_hw, limits) and (item.large is not None or is_tiff_mask(item)))


def _read_again(
    item: Item,
    reading: Reading,
    limits: Limits,
    images_as: ImageReading | None,
    *,
    readers: tuple[Reader, Reader],
) -> Maps:
    """The label map and the truth of a raster that was joined from parts. Raises RowFault."""
    images, truths = readers
    assert item.large is not None and item.size_hw is not None and item.matrix is not None
    try:
        labels_HW = read_mask(images, as_written(reading.label_map), limits, item.large)
    except RowFault as fault:
        raise unusable(item, fault) from fault
    truth_HW = None
    if item.has_truth:
        try:
            with open_truth(truths, reading, limits, item.row["truth"]) as truth:
                truth_HW = truth.read(Area(0, 0, *item.size_hw)).ids_HW
        except RowFault as fault:
            if not isinstance(fault.status, TruthStatus):
                raise
            item.truth_fault, item.has_truth, item.matrix = fault, False, item.matrix.without_truth()
    nodata_HW = nodata_of(item, images, images_as)
    if nodata_HW is not None:
        void = reading.label_map.void
        labels_HW = voided(labels_HW, nodata_HW, void)
        truth_HW = None if truth_HW is None else voided(truth_HW, nodata_HW, void)
    return labels_HW, truth_HW


def _place(item: Item, reader: Reader) -> Georeference:
    """Raises RowFault where the image cannot be read; then the next run begins with it."""
    try:
        return place_on_map(item, reader)
    except RowFault:
        item.kept = item.prediction = item.large = None
        raise


def _needs_place(measures: Measures) -> bool:
    if measures.objects is not None:
        return measures.objects.geometry or measures.spacing is None
    return measures.spacing is None and measures.boundary is not None and measures.boundary.in_spacing


def _boundary(item: Item, how: BoundaryMeasure, labels_HW: Ids, truth_HW: Ids, spacing: Spacing) -> None:
    tolerances_C = np.array(how.tolerances)
    unit = spacing if how.in_spacing else (1.0, 1.0)
    found = boundaries_of(labels_HW, truth_HW, tolerances_C, width=how.width, spacing=unit)
    scores = {**found.sums.scores(), "hd95": found.hd95}
    classes = np.flatnonzero(found.present)
    columns = {
        "class_id": classes,
        **{name: getattr(found.sums, name)[classes] for name in _SUMS},
        "tolerance": tolerances_C[classes],
    }
    columns |= {name: values[classes] for name, values in scores.items()}
    item.beside["boundary"] = rows_beside("boundary", columns)
    item.figures |= {name: mean_of_known(values[classes]) for name, values in scores.items()}


_SUMS = ("intersection", "union", "near", "boundary_pixels")


def _objects(
    item: Item,
    measures: Measures,
    maps: Maps,
    spacing: Spacing,
    place: Georeference | None,
) -> None:
    how, (labels_HW, truth_HW) = measures.objects, maps
    assert how is not None
    wanted = np.zeros(measures.num_classes + 1, np.bool_)
    wanted[list(how.classes)] = True
    predicted = Components.of(labels_HW, wanted)
    sides: list[tuple[str, Components, Fates | None]] = [("predicted", predicted, None)]
    if truth_HW is not None:
        truth = Components.of(truth_HW, wanted)
        matching = match_objects(predicted, truth, measures.num_classes)
        sums = matching.sums
        sides = [("truth", truth, matching.truth), ("predicted", predicted, matching.predicted)]
        matched, missed = int(sums.matched.sum()), int(sums.missed.sum())
        item.figures |= {
            "panoptic_quality": mean_of_known(sums.scores()["panoptic_quality"]),
            "object_recall": matched / (matched + missed) if matched + missed else None,
            "false_positives": int(sums.false.sum()),
        }
    probes = item.prediction.probes if item.prediction is not None else None
    item.beside["objects"] = pa.concat_tables(
        _object_rows(
            name,
            components,
            side,
            area=spacing and spacing[0] * spacing[1],
            probes=probes,
            shapes=_outlined(how, components, place),
        )
        for name, components, side in sides
    )


def _outlined(how: ObjectMeasure, components: Components, place: Georeference | None) -> list[bytes] | None:
    if not how.geometry:
        return None
    transform = None if place is None else place.transform
    return outlines_as_wkb(components, None if transform is None else tuple(transform)[:6])


def _object_rows(
    name: str,
    components: Components,
    side: Fates | None,
    *,
    area: float | None,
    probes: Probes | None,
    shapes: list[bytes] | None,
) -> pa.Table:
    """Args: area: of a pixel, in squared units of the spacing."""
    count, (height, width) = components.count, components.hw
    top, left, bottom, right = components.boxes.T
    columns: dict[str, Any] = {
        "side": [name] * count,
        "object": np.arange(1, count + 1),
        "class_id": components.classes,
        "area": components.areas,
        "left": left,
        "top": top,
        "width": right - left,
        "height": bottom - top,
        "centre_x": components.centres[:, 1],
        "centre_y": components.centres[:, 0],
        "touches_border": (top == 0) | (left == 0) | (bottom == height) | (right == width),
    }
    if area:
        columns["area_world"] = components.areas * area
    if side is not None:
        columns["outcome"] = np.array(OUTCOMES, np.object_)[side.outcomes]
        columns["match"] = np.ma.masked_equal(side.match + 1, NONE + 1)
        columns["iou"] = side.iou
    if probes is not None:
        columns["confidence_mean"] = _confidence(components, probes)
    if shapes is not None:
        columns["geometry"] = shapes
    return rows_beside("objects", columns)


def _confidence(components: Components, probes: Probes) -> NDArray[np.float64]:
    """Mean top probability over the probes in each component; NaN without any."""
    inside = components.at(probes.rows_N, probes.columns_N)
    hit = inside != NONE
    tops = probes.probabilities_CN.max(0).astype(np.float64)
    sums = np.bincount(inside[hit], weights=tops[hit], minlength=components.count)
    return ratio(sums, np.bincount(inside[hit], minlength=components.count))
