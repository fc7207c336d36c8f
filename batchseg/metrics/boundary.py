"""The boundaries of classes: Boundary IoU, normalised surface distance and the 95 % Hausdorff distance.

Boundary IoU is that of Cheng et al. 2021, as the authors' code computes it: of each mask the pixels within
d = max(1, round(width x diagonal)) of its boundary are left, by d erosions of 3 x 3, and the IoU is that of
what is left. NSD and HD95 are MONAI's: the boundary of a mask are its pixels with a neighbour above, below,
left or right that is not in it. At the edge of the picture all masks end, and likewise where the truth is
void: such pixels are taken out of the prediction, too.

All classes are looked at at once, for each pixel is in one mask of a side at most.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from batchseg.metrics.class_sums import Scores, ratio
from batchseg.metrics.confusion import ConfusionMatrix
from batchseg.metrics.edge_distances import EdgeDistances

Ids = NDArray[np.unsignedinteger[Any]]
Flags = NDArray[np.bool_]
Counts = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class BoundarySums:
    """Pixels of each class, [..., C] each, which add over images.

    Attributes:
        intersection, union: of the boundary bands of truth and prediction.
        near: boundary pixels within the tolerance of the other side's.
        boundary_pixels: of both sides.
    """

    intersection: Counts
    union: Counts
    near: Counts
    boundary_pixels: Counts

    def scores(self) -> dict[str, Scores]:
        """Boundary IoU and NSD of each class; NaN where the class is in neither truth nor prediction."""
        return {
            "boundary_iou": ratio(self.intersection, self.union),
            "nsd": ratio(self.near, self.boundary_pixels),
        }


@dataclass(frozen=True, eq=False)
class Boundaries:
    """What the boundaries of one image's classes show, [C] each.

    Attributes:
        hd95: NaN where truth or prediction lacks the class, and where distances are not known.
    """

    sums: BoundarySums
    hd95: Scores

    @property
    def present(self) -> Flags:
        """The classes in truth or prediction."""
        return self.sums.union > 0


def boundaries_of(
    predicted_HW: Ids,
    truth_HW: Ids,
    tolerances_C: Scores,
    *,
    width: float,
    spacing: tuple[float, float] | None = (1.0, 1.0),
) -> Boundaries:
    """Hold the boundaries of two label maps, of ids 0 .. C-1 and C for void, against each other.

    Args:
        tolerances_C: of NSD, in the units of the spacing.
        width: of the band, as a share of the diagonal.
        spacing: height and width of a pixel; None: not known, and neither are distances.
    """
    void = len(tolerances_C)
    outside = truth_HW == void
    if outside.any():
        predicted_HW = np.where(outside, predicted_HW.dtype.type(void), predicted_HW)
    reach = band_width(truth_HW.shape, width)
    both, either = _shared(predicted_HW, truth_HW, void, reach)
    if spacing is None:
        nothing = np.zeros(void, np.int64)
        return Boundaries(BoundarySums(both, either, nothing, nothing), np.full(void, np.nan))
    edges = [_edges(each) & (each != void) for each in (predicted_HW, truth_HW)]
    distances = EdgeDistances((predicted_HW, truth_HW), (edges[0], edges[1]), void, spacing)
    near = distances.within(tolerances_C)
    sums = BoundarySums(both, either, near, distances.counts.sum(0))
    return Boundaries(sums, distances.hausdorff(0.95))


def band_width(hw: tuple[int, ...], width: float) -> int:
    """In pixels: a share of the diagonal, and at least 1."""
    return max(1, round(width * math.hypot(*hw)))


def _shared(predicted_HW: Ids, truth_HW: Ids, void: int, reach: int) -> tuple[Counts, Counts]:
    """Pixels of each class in both boundary bands, and in either."""
    within = [
        np.where(_band(ids_HW, reach), ids_HW, ids_HW.dtype.type(void)) for ids_HW in (predicted_HW, truth_HW)
    ]
    sums = ConfusionMatrix.from_maps(within[0], within[1], void).counts
    both: Counts = sums.diagonal()[:-1].copy()
    either: Counts = sums[:-1].sum(1) + sums[:, :-1].sum(0) - both
    return both, either


def _edges(ids_HW: Ids) -> Flags:
    """Pixels with another label above, below, left or right, or at the edge of the picture."""
    edges = np.zeros(ids_HW.shape, np.bool_)
    down, right = ids_HW[1:] != ids_HW[:-1], ids_HW[:, 1:] != ids_HW[:, :-1]
    edges[1:] |= down
    edges[:-1] |= down
    edges[:, 1:] |= right
    edges[:, :-1] |= right
    edges[[0, -1]] = edges[:, [0, -1]] = True
    return edges


def _band(ids_HW: Ids, reach: int) -> Flags:
    """Pixels from which, within `reach` rows and columns, there is another label or the picture ends.

    There is another label in a square where two neighbours of a row differ in it, or of its middle column.
    """
    height, width = ids_HW.shape
    if min(height, width) <= 2 * reach:
        return np.ones(ids_HW.shape, np.bool_)
    change = ids_HW[:, 1:] != ids_HW[:, :-1]
    # of a square around column x the changes are those before columns x - reach + 1 to x + reach
    rows = _any_of(change, 2 * reach, 1)
    columns = _any_of(ids_HW[1:] != ids_HW[:-1], 2 * reach, 0)[:, reach : width - reach]
    band = np.ones(ids_HW.shape, np.bool_)
    inner = band[reach : height - reach, reach : width - reach]
    np.logical_or(_any_of(rows, 2 * reach + 1, 0), columns, out=inner)
    return band


def _any_of(flags: Flags, length: int, axis: int) -> Flags:
    """Whether any of `length` neighbours along an axis is set, for each place they fit in."""
    done = 1
    while done < length:
        step = min(done, length - done)
        before, after = [slice(None)] * 2, [slice(None)] * 2
        before[axis], after[axis] = slice(None, -step), slice(step, None)
        flags = flags[tuple(before)] | flags[tuple(after)]
        done += step
    return flags
