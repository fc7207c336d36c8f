"""The images that changed most."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from batchseg.comparison.bootstrap import blocks
from batchseg.comparison.pairs import Pairs
from batchseg.comparison.sparse_counts import AREA, SUPPORT, class_sums

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class ImageChange:
    """One image's metric before and after."""

    id: str
    old: float
    new: float
    difference: float


@dataclass(frozen=True)
class ImageMove:
    """One image's predicted areas: at least this share of them changed class."""

    id: str
    share: float


def changed_most(pairs: Pairs, by: str, listed: int) -> list[ImageChange]:
    """The images with ground truth whose metric `by` rose or fell most."""
    scores = [
        np.column_stack([class_sums(counts).averages()[by] for counts in block]) for block in _dense(pairs)
    ]
    before, after = np.concatenate([np.empty((0, 2)), *scores]).T
    difference = np.nan_to_num(after - before)
    places = _largest(np.abs(difference), listed)
    rows = zip(
        pairs.before.names(pairs.old[places]), before[places], after[places], difference[places], strict=True
    )
    return [ImageChange(name, float(was), float(now), float(change)) for name, was, now, change in rows]


def moved_most(pairs: Pairs, listed: int) -> list[ImageMove]:
    """The images whose predicted areas moved most between classes; pixels that swap places are not seen."""
    moves = [np.abs(_shares(after) - _shares(before)).sum(axis=1) / 2 for before, after in _dense(pairs)]
    shares = np.nan_to_num(np.concatenate([np.empty(0), *moves]))
    places = _largest(shares, listed)
    return [
        ImageMove(name, float(share))
        for name, share in zip(pairs.before.names(pairs.old[places]), shares[places], strict=True)
    ]


def other_truths(pairs: Pairs) -> int:
    """In how many images the ground truth gives some class another size than before."""
    return sum(
        int(np.any(before[..., SUPPORT] != after[..., SUPPORT], axis=1).sum())
        for before, after in _dense(pairs)
    )


def _dense(pairs: Pairs) -> Iterator[tuple[Floats, Floats]]:
    old, new = pairs.counts
    for rows in blocks(old):
        yield old.dense(rows.start, rows.stop), new.dense(rows.start, rows.stop)


def _shares(counts: Floats) -> Floats:
    areas = counts[..., AREA]
    shares: Floats = areas / np.maximum(areas.sum(axis=1, keepdims=True), 1)
    return shares


def _largest(values: Floats, listed: int) -> NDArray[np.intp]:
    """Where the largest stand that are not 0, falling; equal ones in the order of their ids."""
    order = np.argsort(-values, kind="stable")[:listed]
    return order[values[order] > 0]
