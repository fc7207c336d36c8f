"""The metrics of a results folder on trial: are they what the counted pixels give?"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from batchseg.config.base import METRICS
from batchseg.metrics.class_sums import ClassSums
from batchseg.metrics.confusion import ConfusionMatrix
from batchseg.metrics.prompted import MEANT, prompt_ious

TOLERANCE = 1e-9
PROMPTED = "prompt_iou"
_COUNTS_AT_ONCE = 2**20  # images times classes

Rows = NDArray[np.bool_]
Figures = NDArray[np.float64]


def wrong_metrics(images: pa.Table, pixels: pa.Table, num_classes: int) -> Iterator[tuple[str, Rows]]:
    """For each metric the rows of a part that state another value than their pixels give."""
    found = _metrics_of(images["id"], pixels, num_classes)
    found[PROMPTED] = np.where(images["prompt"].is_valid().to_numpy(), found[PROMPTED], np.nan)
    for name, given in found.items():
        stated = pc.fill_null(images[name], np.nan).to_numpy()
        yield name, ~np.isclose(stated, given, rtol=0, atol=TOLERANCE, equal_nan=True)


def wrong_totals(
    record: Mapping[str, Any], total: ConfusionMatrix, prompted: Mapping[str, float | None]
) -> Iterator[str]:
    """What a record says of the whole data set, and the pixels do not.

    Args:
        prompted: the figures of images that have prompts of their own.
    """
    given = {**total.summary(), **prompted}
    for name, stated in record.get("metrics", {}).items():
        if name in given and not _same(stated, given[name]):
            yield f"{name} is {stated}, the pixels give {given[name]}"
    truth_pixels = record.get("truth_pixels")
    if truth_pixels is not None and truth_pixels != total.truth_pixels:
        yield f"truth_pixels is {truth_pixels}, the pixels give {total.truth_pixels}"
    ious = total.per_class().iou
    for row in record.get("classes", ()):
        place = row["class_id"]
        value = float(ious[place]) if 0 <= place < len(ious) and not np.isnan(ious[place]) else None
        if not _same(row["iou"], value):
            yield f"the IoU of {row['class_name']} is {row['iou']}, the pixels give {value}"


def _same(stated: float | None, given: float | None) -> bool:
    if stated is None or given is None:
        return stated is given
    return abs(stated - given) <= TOLERANCE


def _metrics_of(ids: pa.ChunkedArray, pixels: pa.Table, num_classes: int) -> dict[str, Figures]:
    """The metrics of some images, [N] each and NaN without truth, computed from their pixels."""
    pixels = pixels.filter(pixels["truth"].is_valid())
    truth, predicted = (pc.fill_null(pixels[name], -1).to_numpy() for name in ("truth", "predicted"))
    image = pc.fill_null(pc.index_in(pixels["id"], ids.combine_chunks()), -1).to_numpy()
    known = (image >= 0) & (truth >= 0) & (truth < num_classes) & (predicted < num_classes)
    order = np.flatnonzero(known)[np.argsort(image[known], kind="stable")]
    entries = np.column_stack([image, truth, predicted, pixels["pixels"].to_numpy()])[order]
    step = max(1, _COUNTS_AT_ONCE // num_classes)
    blocks = []
    for start in range(0, len(ids), step):
        first, last = np.searchsorted(entries[:, 0], [start, start + step])
        blocks.append(_block(entries[first:last], start, min(step, len(ids) - start), num_classes))
    names = (*METRICS, PROMPTED)
    return {name: np.concatenate([np.empty(0), *(block[name] for block in blocks)]) for name in names}


def _block(entries: NDArray[np.int64], start: int, images: int, num_classes: int) -> dict[str, Figures]:
    image, truth, predicted, count = entries.T

    def summed(rows: Rows, label: NDArray[np.int64]) -> Figures:
        codes = (image[rows] - start) * num_classes + label[rows]
        # floats hold numbers below 2**53 exactly
        sums = np.bincount(codes, weights=count[rows], minlength=images * num_classes)
        return sums.astype(np.float64).reshape(images, num_classes)

    sums = ClassSums(
        correct=summed(truth == predicted, truth),
        support=summed(truth >= 0, truth),
        predicted=summed(predicted >= 0, predicted),
    )
    # a label map of one class has nothing that could be meant
    ious = prompt_ious(sums) if num_classes > MEANT else np.full(images, np.nan)
    return {**sums.averages(), PROMPTED: ious}
