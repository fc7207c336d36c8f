"""Connected parts of the classes of a label map, found along its runs: pixels of a row with one label.

There are far fewer runs than pixels, all classes are done at once, and areas, boxes, centres and overlaps
are sums over runs.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from batchseg.images.runs import Places, Runs, run_starts

Ids = NDArray[np.unsignedinteger[Any]]
Flags = NDArray[np.bool_]
Numbers = NDArray[np.float64]

NONE = -1


@dataclass(frozen=True, eq=False)
class Components:
    """The 8-connected components of a label map [H, W], numbered 0 .. N-1 by their first pixel.

    Attributes:
        starts: of each run, where it begins in the flat map, ascending.
        labels: of each run.
        numbers: of each run, its component; NONE where its class has none.
    """

    hw: tuple[int, int]
    starts: Places
    labels: Ids
    numbers: Places

    @classmethod
    def of(cls, ids_HW: Ids, wanted: Flags) -> Components:
        """Args: wanted: by label, whether its components are looked for."""
        height, width = ids_HW.shape
        starts = np.flatnonzero(run_starts(ids_HW))
        labels = ids_HW.reshape(-1)[starts]
        chosen = np.flatnonzero(wanted[labels])
        numbers = np.full(len(starts), NONE, np.intp)
        if len(chosen):
            numbers[chosen] = _connected(starts, labels, chosen, (height, width))
        return cls((height, width), starts, labels, numbers)

    @cached_property
    def count(self) -> int:
        return int(self.numbers.max(initial=NONE)) + 1

    @cached_property
    def lengths(self) -> Places:
        """Pixels of each run."""
        height, width = self.hw
        return np.diff(self.starts, append=height * width)

    @cached_property
    def numbers_HW(self) -> NDArray[np.int32]:
        """The number of each pixel's component, here from 1 on; 0 where there is none."""
        numbers: NDArray[np.int32] = np.repeat((self.numbers + 1).astype(np.int32), self.lengths)
        return numbers.reshape(self.hw)

    def at(self, rows: Places, columns: Places) -> Places:
        """The component at some pixels; NONE where there is none."""
        runs = np.searchsorted(self.starts, rows * self.hw[1] + columns, side="right") - 1
        found: Places = self.numbers[runs]
        return found

    @cached_property
    def runs(self) -> Runs:
        """The runs of components, those of each together and from the top down."""
        mine = np.flatnonzero(self.numbers != NONE)
        numbers = self.numbers[mine].astype(np.min_scalar_type(self.count))  # 16 bits are sorted by digits
        order = mine[np.argsort(numbers, kind="stable")]
        rows, columns = np.divmod(self.starts[order], self.hw[1])
        return Runs(rows, columns, columns + self.lengths[order], self.numbers[order])

    @cached_property
    def classes(self) -> Places:
        """Of each component, [N]."""
        found = np.zeros(self.count, np.intp)
        mine = self.numbers != NONE
        found[self.numbers[mine]] = self.labels[mine]
        return found

    @cached_property
    def areas(self) -> Places:
        """Pixels of each component, [N]."""
        return self.summed(self.lengths)

    @cached_property
    def boxes(self) -> Places:
        """First row, first column, last row + 1 and last column + 1 of each component, [N, 4]."""
        runs = self.runs
        if not self.count:
            return np.empty((0, 4), np.intp)
        first = runs.firsts
        last = np.append(first[1:], len(runs.rows)) - 1
        left = np.minimum.reduceat(runs.begins, first)
        right = np.maximum.reduceat(runs.ends, first)
        return np.stack([runs.rows[first], left, runs.rows[last] + 1, right], axis=1)

    @cached_property
    def centres(self) -> Numbers:
        """Mean row and column of each component's pixels, of which the first is at 0.5, [N, 2]."""
        runs, areas = self.runs, self.areas
        lengths = runs.ends - runs.begins
        rows = _sums(runs.numbers, lengths * (runs.rows + 0.5), self.count)
        columns = _sums(runs.numbers, lengths * (runs.begins + runs.ends) / 2, self.count)
        return np.stack([rows / areas, columns / areas], axis=1)

    def summed(self, values: Places) -> Places:
        """Of each component the sum of its runs' values, [N]."""
        mine = self.numbers != NONE
        return _sums(self.numbers[mine], values[mine], self.count).astype(np.intp)


@dataclass(frozen=True, eq=False)
class Overlaps:
    """Pixels that components of two label maps share.

    Attributes:
        ours, theirs: the components of each pair.
        pixels: that they share, at least 1.
        outside: of each of ours, pixels where the other map has a certain label.
    """

    ours: Places
    theirs: Places
    pixels: Places
    outside: Places


def overlaps(ours: Components, theirs: Components, label: int) -> Overlaps:
    """Of two label maps of one size. Components overlap where their classes are the same.

    Args:
        label: of the other map, whose share of each of our components is counted as well.
    """
    starts = np.sort(np.concatenate([ours.starts, theirs.starts]), kind="stable")  # merges what is sorted
    starts = starts[np.diff(starts, prepend=NONE) > 0]
    pixels = np.diff(starts, append=ours.hw[0] * ours.hw[1])
    mine, other = (np.searchsorted(each.starts, starts, side="right") - 1 for each in (ours, theirs))
    us, them = ours.numbers[mine], theirs.numbers[other]
    void = (us != NONE) & (theirs.labels[other] == label)
    outside = _sums(us[void], pixels[void], ours.count).astype(np.intp)
    both = (us != NONE) & (them != NONE) & (ours.labels[mine] == theirs.labels[other])
    pairs, places = np.unique(us[both] * max(1, theirs.count) + them[both], return_inverse=True)
    shared = _sums(places, pixels[both], len(pairs)).astype(np.intp)
    first, second = np.divmod(pairs, max(1, theirs.count))
    return Overlaps(first, second, shared, outside)


def _connected(starts: Places, labels: Ids, chosen: Places, hw: tuple[int, int]) -> Places:
    """The component of each of the chosen runs, numbered in the order of their first ones."""
    from scipy.sparse import csr_matrix
    from scipy.sparse.csgraph import connected_components

    height, width = hw
    ends = np.append(starts[1:], height * width)[chosen] - 1
    begins = starts[chosen]
    column, last = begins % width, ends % width
    # from the pixel below to the left of a run to the one below to its right
    low, high = begins + width - (column > 0), ends + width + (last < width - 1)
    above = np.flatnonzero(begins < (height - 1) * width)
    first = np.searchsorted(starts, low[above], side="right") - 1
    many = np.searchsorted(starts, high[above], side="right") - first
    steps = np.arange(many.sum()) - np.repeat(np.cumsum(many) - many, many)
    below, run = np.repeat(first, many) + steps, np.repeat(chosen[above], many)
    linked = labels[below] == labels[run]
    place = np.empty(len(starts), np.int32)
    place[chosen] = np.arange(len(chosen), dtype=np.int32)
    many = np.bincount(place[run[linked]], minlength=len(chosen))
    rows = np.append(0, np.cumsum(many)).astype(np.int32)
    links = (np.ones(rows[-1], np.int8), place[below[linked]], rows)
    # numbered as they are met, from the first run on
    _, found = connected_components(csr_matrix(links, shape=(len(chosen), len(chosen))), directed=False)
    numbers: Places = found.astype(np.intp)
    return numbers


def _sums(places: Places, values: NDArray[Any], count: int) -> Numbers:
    # floats hold whole numbers below 2**53 exactly
    sums: Numbers = np.bincount(places, weights=values, minlength=count).astype(np.float64)
    return sums
