"""The paired bootstrap: how much a difference would change with other images of the same kind.

Each resampling draws as many images as there are, with replacement, and takes both sides of every image
drawn (Efron and Tibshirani 1993, chapter 13: the percentile interval).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from batchseg.comparison.sparse_counts import SparseCounts

Floats = NDArray[np.float64]

_WEIGHTS = 2**25  # held at once: 256 MiB, whatever the number of images
_BLOCK = 2**22  # counts of images made dense at once: 32 MiB


def resampled(sides: Sequence[SparseCounts], times: int, seed: int) -> list[Floats]:
    """The summed counts of each side in every resampling, [times, C+1, 4] each.

    Resampling number b draws `rng.integers(0, N, N)`, the (b+1)-th call on `numpy.random.default_rng(seed)`.
    Sums are of whole numbers below 2**53, so they are exact in any order.
    """
    images = sides[0].images
    rng = np.random.default_rng(seed)
    sums = [np.zeros((times, side.num_classes + 1, 4)) for side in sides]
    group = max(1, _WEIGHTS // max(1, images))
    for first in range(0, times, group):
        weights = _multiplicities(rng, min(group, times - first), images)
        for side, total in zip(sides, sums, strict=True):
            for rows in blocks(side):
                total[first : first + group] += np.tensordot(
                    weights[:, rows], side.dense(rows.start, rows.stop), 1
                )
    return sums


def resampled_rows(tables: Sequence[Floats], times: int, seed: int) -> list[Floats]:
    """The sums of rows, one an image, in every resampling: [times, K] for each table [N, K].

    It draws what `resampled` draws.
    """
    images = len(tables[0])
    rng = np.random.default_rng(seed)
    sums: list[list[Floats]] = [[] for _ in tables]
    group = max(1, _WEIGHTS // max(1, images))
    for first in range(0, times, group):
        weights = _multiplicities(rng, min(group, times - first), images)
        for table, found in zip(tables, sums, strict=True):
            found.append(weights @ table)
    none = [np.zeros((0, table.shape[1])) for table in tables]
    return [np.concatenate([empty, *found]) for empty, found in zip(none, sums, strict=True)]


def blocks(side: SparseCounts) -> list[slice]:
    """The images in pieces that are small when dense."""
    rows = max(1, _BLOCK // (4 * (side.num_classes + 1)))
    return [slice(start, min(start + rows, side.images)) for start in range(0, side.images, rows)]


def interval(differences: Floats, confidence: float) -> tuple[Floats, Floats]:
    """The bounds of each figure, [...], over the first axis; where it is NaN, that resampling is left out."""
    bounds = np.full((2, *differences.shape[1:]), np.nan)
    known = ~np.isnan(differences).all(axis=0)
    tail = (1 - confidence) / 2
    if known.any():
        bounds[:, known] = np.nanquantile(differences[:, known], [tail, 1 - tail], axis=0)
    return bounds[0], bounds[1]


def _multiplicities(rng: np.random.Generator, times: int, images: int) -> Floats:
    """How often each image was drawn, [times, N]."""
    drawn = np.empty((times, images))
    for row in drawn:
        row[:] = np.bincount(rng.integers(0, images, images), minlength=images)
    return drawn
