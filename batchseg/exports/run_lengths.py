"""Masks as run lengths, of all numbers of a map at once: so many pixels outside, so many inside, and on."""

from __future__ import annotations

import numpy as np

from batchseg.images.runs import Places


def run_lengths(number: Places, start: Places, stop: Places, size: Places) -> list[list[int]]:
    """The run lengths of each number that has runs, beginning with those of pixels that are none.

    Args:
        number: of each run, 0 or more, sorted.
        start, stop: its pixels' places in the flattened mask of its number.
        size: of these masks, one for each number that has runs, in pixels.
    """
    if not len(number):
        return []
    touching = (number[1:] == number[:-1]) & (start[1:] == stop[:-1])
    begin, end = np.append(True, ~touching), np.append(~touching, True)
    number, start, stop = number[begin], start[begin], stop[end]
    is_first = np.diff(number, prepend=-1) > 0
    before = np.where(is_first, 0, np.append(0, stop[:-1]))
    counts = np.stack([start - before, stop - start], 1).ravel()
    last = np.flatnonzero(np.append(is_first[1:], True))
    rest = size - stop[last]
    ends = 2 * (last + 1)
    flat = np.insert(counts, ends[rest > 0], rest[rest > 0]).tolist()
    ends += np.cumsum(rest > 0)
    starts = np.append(0, ends[:-1])
    return [flat[first:behind] for first, behind in zip(starts.tolist(), ends.tolist(), strict=True)]
