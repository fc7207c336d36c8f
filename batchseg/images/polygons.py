"""Polygons to pixels by COCO's rule, so that areas are the same as pycocotools' to the pixel.

A pixel belongs to a polygon where its centre does, after the corners were rounded to a fifth of a pixel. So
polygons along the edges of pixels are exact, and neighbours that share an edge share no pixel. A polygon that
crosses itself is inside where a line from there crosses it an odd number of times. What lies outside of the
image is cut off. The rule is `rleFrPoly` of COCO's `maskApi.c`, here for all corners at once.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

_SCALE = 5
_FAR = 10_000  # pixels outside of an image, beyond which no corner is meant


def polygon_runs(corners_N2: NDArray[np.float64], hw: tuple[int, int]) -> NDArray[np.int64]:
    """Lengths of runs of outside and inside, by turns, in columns of an image [H, W].

    Args:
        corners_N2: x and y of each corner, in pixels from the upper left corner of the image.

    Raises ValueError where it is no polygon of this image.
    """
    height, width = hw
    _refuse(corners_N2, max(hw))
    scaled = np.trunc(_SCALE * corners_N2 + 0.5).astype(np.int64)
    along_x, along_y = _boundary(scaled)
    crossing = np.flatnonzero(along_x[1:] != along_x[:-1])
    column = (np.minimum(along_x[crossing], along_x[crossing + 1]) + 0.5) / _SCALE - 0.5
    row = np.minimum(along_y[crossing], along_y[crossing + 1])
    here = (np.floor(column) == column) & (column >= 0) & (column <= width - 1)
    rows = np.ceil(np.clip((row[here] + 0.5) / _SCALE - 0.5, 0, height))
    turns = np.sort(column[here].astype(np.int64) * height + rows.astype(np.int64))
    return np.diff(turns, prepend=0, append=height * width)


def _boundary(corners_N2: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """All points of the closed line through the corners, x and y, one step after the other."""
    start, stop = corners_N2, np.roll(corners_N2, -1, axis=0)
    size_N2 = np.abs(stop - start)
    is_flat = size_N2[:, 0] >= size_N2[:, 1]
    main = np.where(is_flat, 0, 1)
    every = np.arange(len(corners_N2))
    turned = start[every, main] > stop[every, main]
    first = np.where(turned[:, None], stop, start)
    other = np.where(turned[:, None], start, stop)
    steps = size_N2[every, main]
    rise = (other - first)[every, 1 - main]
    slope = rise / np.maximum(steps, 1)

    edge = np.repeat(every, steps + 1)
    step = np.arange(len(edge)) - np.repeat(np.cumsum(steps + 1) - (steps + 1), steps + 1)
    step = np.where(turned[edge], steps[edge] - step, step)
    straight = step + first[every, main][edge]
    sloped = np.trunc(first[every, 1 - main][edge] + slope[edge] * step + 0.5).astype(np.int64)
    flat = is_flat[edge]
    return np.where(flat, straight, sloped), np.where(flat, sloped, straight)


def _refuse(corners_N2: NDArray[np.float64], side: int) -> None:
    if len(corners_N2) < 3:
        raise ValueError(f"its polygon has {len(corners_N2)} corners, and needs 3")
    if not np.isfinite(corners_N2).all():
        raise ValueError("its polygon has a corner that is no number")
    if np.abs(corners_N2).max() > side + _FAR:
        raise ValueError(f"its polygon has a corner at {np.abs(corners_N2).max():.3g}, far outside")
