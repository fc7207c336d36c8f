"""Objects of the truth by their size: the small ones are missed first."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from batchseg.reporting.parts import PartOfRows

BASE = 4  # each bucket holds areas up to four times those of the one before: twice the width and height
BUCKETS = 16


@dataclass(frozen=True)
class SizeBucket:
    """Objects of the truth with an area of at least `smallest` and below `largest` pixels.

    Attributes:
        mean_iou: mean of the best IoU of each.
        recall: how many of them are matched.
    """

    number: int
    smallest: int
    largest: int
    objects: int
    mean_iou: float
    recall: float


class ObjectSizes:
    """The table `objects`, summed."""

    def __init__(self) -> None:
        self.sums: NDArray[np.float64] = np.zeros((BUCKETS, 3))  # objects, sum of their IoU, matched

    def add(self, part: PartOfRows, ids: pa.ChunkedArray) -> None:
        """Raises OutputError."""
        table, _ = part.beside("objects", ("side", "area", "match", "iou"), ids)
        table = table.filter(pc.and_(pc.equal(table["side"], "truth"), pc.is_valid(table["iou"])))
        if not len(table):
            return
        bucket = buckets_of(table["area"].to_numpy())
        matched = pc.is_valid(table["match"]).to_numpy().astype(np.float64)
        for place, values in enumerate((np.ones(len(table)), table["iou"].to_numpy(), matched)):
            self.sums[:, place] += np.bincount(bucket, weights=values, minlength=BUCKETS)

    @property
    def buckets(self) -> list[SizeBucket]:
        """Those that have objects."""
        return [
            SizeBucket(number, BASE**number, BASE ** (number + 1), int(count), iou / count, matched / count)
            for number, (count, iou, matched) in enumerate(self.sums.tolist())
            if count
        ]


def buckets_of(areas: NDArray[np.int64]) -> NDArray[np.int64]:
    """floor(log(area) / log(4)), exactly: of whole numbers a logarithm may be a little too small."""
    edges = np.array([BASE**number for number in range(1, BUCKETS)], np.int64)
    return np.searchsorted(edges, areas, side="right").astype(np.int64)
