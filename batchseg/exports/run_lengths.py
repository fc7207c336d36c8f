"""Masks as run lengths, of all numbers of a map at once: so many pixels outside, so many inside, and on."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from batchseg.images.regions import run_starts

Integers = NDArray[np.int64]


class LineRuns(NamedTuple):
    """Pixels of one number that lie side by side in a line, sorted by number and then as they are read.

    `stop` is the place behind the last pixel.
    """

    number: Integers
    line: Integers
    start: Integers
    stop: Integers


def runs_of(numbers_HW: NDArray[Any]) -> LineRuns:
    """The runs in the rows of a map of numbers; 0 is none."""
    width = numbers_HW.shape[1]
    starts_HW = run_starts(numbers_HW)
    at, number = np.flatnonzero(starts_HW), numbers_HW[starts_HW]
    stop = np.append(at[1:], numbers_HW.size)
    order = np.argsort(number, kind="stable")
    order = order[np.searchsorted(number[order], 1) :]
    line, start = np.divmod(at[order], width)
    return LineRuns(number[order].astype(np.int64), line, start, start + (stop - at)[order])


def run_lengths(number: Integers, start: Integers, stop: Integers, size: Integers) -> list[list[int]]:
    """The run lengths of each number from 1 on that has runs, beginning with those of pixels that are none.

    Args:
        number: of each run, sorted.
        start, stop: its pixels' places in the flattened mask of its number.
        size: of these masks, one for each number that has runs, in pixels.
    """
    if not len(number):
        return []
    touching = (number[1:] == number[:-1]) & (start[1:] == stop[:-1])
    begin, end = np.append(True, ~touching), np.append(~touching, True)
    number, start, stop = number[begin], start[begin], stop[end]
    is_first = np.diff(number, prepend=0) > 0
    before = np.where(is_first, 0, np.append(0, stop[:-1]))
    counts = np.stack([start - before, stop - start], 1).ravel()
    last = np.flatnonzero(np.append(is_first[1:], True))
    rest = size - stop[last]
    ends = 2 * (last + 1)
    flat = np.insert(counts, ends[rest > 0], rest[rest > 0]).tolist()
    ends += np.cumsum(rest > 0)
    starts = np.append(0, ends[:-1])
    return [flat[first:behind] for first, behind in zip(starts.tolist(), ends.tolist(), strict=True)]
