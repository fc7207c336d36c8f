"""Runs of a map of numbers: pixels of one number that lie side by side in a row."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Places = NDArray[np.intp]


@dataclass(frozen=True, eq=False)
class Runs:
    """Rows, first columns, last columns + 1 and numbers of some runs, sorted by number, which is 0 or more,
    and then from the top down."""

    rows: Places
    begins: Places
    ends: Places
    numbers: Places

    @property
    def firsts(self) -> Places:
        """Where the runs of each number begin."""
        return np.flatnonzero(np.diff(self.numbers, prepend=-1))


def run_starts(ids_HW: NDArray[Any]) -> NDArray[np.bool_]:
    """Where a run of one value begins in a row, bool [H, W]."""
    starts_HW = np.ones(ids_HW.shape, np.bool_)
    np.not_equal(ids_HW[:, 1:], ids_HW[:, :-1], out=starts_HW[:, 1:])
    return starts_HW


def runs_of(numbers_HW: NDArray[Any]) -> Runs:
    """Those of a map of integers that are not negative, of which 0 is no number; that of 1 is 0, and on."""
    starts_HW = run_starts(numbers_HW)
    starts, numbers = np.flatnonzero(starts_HW), numbers_HW[starts_HW]
    lengths = np.diff(starts, append=numbers_HW.size)
    order = np.argsort(numbers, kind="stable")
    order = order[np.searchsorted(numbers[order], 1) :]
    rows, begins = np.divmod(starts[order], numbers_HW.shape[1])
    return Runs(rows, begins, begins + lengths[order], numbers[order].astype(np.intp) - 1)
