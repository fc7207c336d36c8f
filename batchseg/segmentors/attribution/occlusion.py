"""Occlusion: a grey square slides over a picture, and the target falls where it covers what matters.

Zeiler and Fergus 2014, "Visualizing and Understanding Convolutional Networks". It asks nothing of a model but
its answers.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np
from numpy.typing import NDArray

from batchseg.segmentors.attribution.asked import Asked
from batchseg.segmentors.attribution.target import ClassTarget
from batchseg.segmentors.combined.looks import Picture

_AT_ONCE = 16  # pictures
_PIXELS = 1 << 24  # of all of them: each is a copy
_SIDE = 2  # of a square, in steps of the grid: what lies between two squares is covered by a third


@dataclass(frozen=True)
class Heat:
    """How much each pixel of a picture adds to a target.

    Attributes:
        values_HW: float32; negative where a pixel takes something away from it.
        target: of the picture as it is.
        remainder: what the pixels together should add, and do not; None where nothing says what they should.
    """

    values_HW: NDArray[np.float32]
    target: float
    remainder: float | None = None


def occlusion(asked: Asked, picture: Picture, target: ClassTarget, grid: int) -> Heat:
    """A pixel's value is the fall of the target, averaged over the squares that cover the pixel.

    Args:
        grid: squares along each side, whose centres lie evenly; each is two steps wide.
    """
    (answers,) = asked.answers([picture])
    whole = float(target.of(answers))
    height, width = picture.pixels_HWC.shape[:2]
    falls_HW, times_HW = np.zeros((height, width)), np.zeros((height, width))
    squares = iter([*_squares((height, width), grid)])
    most = max(1, min(_AT_ONCE, _PIXELS // (height * width)))
    grey_C = mid_grey(picture)
    while some := list(islice(squares, most)):
        covered = [_covered(picture, square, grey_C) for square in some]
        for square, answers in zip(some, asked.answers(covered), strict=True):
            falls_HW[square] += whole - float(target.of(answers))
            times_HW[square] += 1
    return Heat((falls_HW / times_HW).astype(np.float32), whole)


def mid_grey(picture: Picture) -> NDArray[Any]:
    """Half-way between black and white, of each band [C] and in the picture's own type."""
    dtype, bands = picture.pixels_HWC.dtype, picture.pixels_HWC.shape[2]
    if picture.scale is not None:
        return np.array([(black + white) / 2 for black, white in picture.scale]).astype(dtype)
    white = np.iinfo(dtype).max if dtype.kind == "u" else 255
    return np.full(bands, (white + 1) // 2, dtype)


def _squares(size_hw: tuple[int, int], grid: int) -> Iterator[tuple[slice, slice]]:
    """Row by row, cut off at the edges; fewer along a side that has fewer pixels."""
    rows, columns = (_along(length, min(grid, length)) for length in size_hw)
    yield from ((row, column) for row in rows for column in columns)


def _along(length: int, count: int) -> list[slice]:
    step = length / count
    starts = ((index + 0.5 - _SIDE / 2) * step for index in range(count))
    return [slice(max(0, round(start)), min(length, round(start + _SIDE * step))) for start in starts]


def _covered(picture: Picture, square: tuple[slice, slice], grey_C: NDArray[Any]) -> Picture:
    pixels_HWC = picture.pixels_HWC.copy()
    pixels_HWC[square] = grey_C
    return Picture(pixels_HWC, picture.scale)
