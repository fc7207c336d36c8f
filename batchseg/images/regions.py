"""Connected regions of a label map: pixels of one value that hang together."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from batchseg.images.runs import run_starts

Numbers = NDArray[np.int32]


def regions(ids_HW: NDArray[Any]) -> Numbers:
    """The number, int32 [H, W] from 0 on, of the region that each pixel belongs to.

    Numbers follow the first pixels of the regions, row by row. All values are told apart in one pass, however
    many there are.

    Args:
        ids_HW: values of any type; pixels that meet at a corner alone are no neighbours.
    """
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

    starts_HW = run_starts(ids_HW)
    # a run of one value in a row is a node of a graph, whose edges lead to runs of the next row
    runs_HW = np.cumsum(starts_HW, dtype=np.int32).reshape(ids_HW.shape)
    runs_HW -= 1
    upper, lower = ids_HW[:-1], ids_HW[1:]
    meet_HW = (upper == lower) & (starts_HW[:-1] | starts_HW[1:])  # where two runs begin to lie side by side
    above, below = runs_HW[:-1][meet_HW], runs_HW[1:][meet_HW]
    count = int(runs_HW[-1, -1]) + 1 if runs_HW.size else 0
    graph = coo_matrix((np.ones(len(above), np.bool_), (above, below)), shape=(count, count))
    _, numbers = connected_components(graph, directed=False)
    del runs_HW
    # a number a run, so that no place of eight bytes is needed for each pixel
    lengths = np.diff(np.flatnonzero(starts_HW), append=starts_HW.size)
    found: Numbers = np.repeat(numbers.astype(np.int32, copy=False), lengths).reshape(starts_HW.shape)
    return found
