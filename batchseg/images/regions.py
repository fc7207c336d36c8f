"""Connected regions of a label map: pixels of one value that hang together."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Numbers = NDArray[np.int32]


def regions(ids_HW: NDArray[Any], *, corners: bool = False) -> Numbers:
    """The number, int32 [H, W] from 0 on, of the region that each pixel belongs to.

    Numbers follow the first pixels of the regions, row by row. All values are told apart in one pass, however
    many there are.

    Args:
        ids_HW: values of any type.
        corners: whether pixels that meet at a corner alone are neighbours, too (8-connectivity).
    """
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    starts_HW = run_starts(ids_HW)
    # a run of one value in a row is a node of a graph, whose edges lead to runs of the next row
    runs_HW = np.cumsum(starts_HW, dtype=np.int32).reshape(ids_HW.shape)
    runs_HW -= 1
    upper, lower = ids_HW[:-1], ids_HW[1:]
    meet_HW = (upper == lower) & (starts_HW[:-1] | starts_HW[1:])  # where two runs begin to lie side by side
    ends = [(runs_HW[:-1][meet_HW], runs_HW[1:][meet_HW])]
    if corners:
        # where no side leads around the corner
        alone_HW = starts_HW[:-1, 1:] & starts_HW[1:, 1:]
        falling_HW = alone_HW & (upper[:, :-1] == lower[:, 1:])
        rising_HW = alone_HW & (upper[:, 1:] == lower[:, :-1])
        ends.append((runs_HW[:-1, :-1][falling_HW], runs_HW[1:, 1:][falling_HW]))
        ends.append((runs_HW[:-1, 1:][rising_HW], runs_HW[1:, :-1][rising_HW]))
    above, below = (np.concatenate(side) for side in zip(*ends, strict=True))
    count = int(runs_HW[-1, -1]) + 1 if runs_HW.size else 0
    graph = coo_array((np.ones(len(above), np.bool_), (above, below)), shape=(count, count))
    _, numbers = connected_components(graph, directed=False)
    del runs_HW
    return spread(numbers.astype(np.int32, copy=False), starts_HW)


def run_starts(ids_HW: NDArray[Any]) -> NDArray[np.bool_]:
    """Where a run of one value begins in a row, bool [H, W]."""
    starts_HW = np.ones(ids_HW.shape, np.bool_)
    np.not_equal(ids_HW[:, 1:], ids_HW[:, :-1], out=starts_HW[:, 1:])
    return starts_HW


def spread(numbers: Numbers, starts_HW: NDArray[np.bool_]) -> Numbers:
    """A map of a number a run: without a place of eight bytes for each pixel, as indexing takes."""
    at = np.flatnonzero(starts_HW)
    found: Numbers = np.repeat(numbers, np.diff(at, append=starts_HW.size)).reshape(starts_HW.shape)
    return found
