"""Windows over a picture, and the parts that a large picture is computed in.

Windows lie on one grid over the whole picture, whatever its parts: where MONAI's `sliding_window_inference`
puts them.
"""

from __future__ import annotations

import math
from itertools import pairwise, product
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from batchseg.config.looks import Tiling, tile_sides
from batchseg.images.raster import Area

if TYPE_CHECKING:
    from torch import Tensor

_SIGMA = 0.125  # of the Gaussian, in sides of a window; MONAI's and nnU-Net's
_LEAST_WEIGHT = 1e-3


def window_weights(size_hw: tuple[int, int], blend: str) -> Tensor:
    """The weights of a window's pixels, float32 [h, w].

    Args:
        size_hw: height and width of the window.
        blend: "constant": all 1. "gaussian": as MONAI's `compute_importance_map` with a sigma of an eighth of
            each side, at least 0.001, so that the corners of windows count where nothing else covers them.
    """
    import torch

    if blend == "constant":
        return torch.ones(size_hw)
    sides = []
    for length in size_hw:
        offset_N = torch.arange(length, dtype=torch.float32) - (length - 1) / 2
        sides.append(torch.exp(offset_N**2 / (-2 * (length * _SIGMA) ** 2)))
    return torch.outer(*sides).clamp_(min=_LEAST_WEIGHT)


def windows_along(length: int, tiling: Tiling, start: int, end: int) -> list[int]:
    """Where the windows begin that see some of the pixels `start` to `end` - 1 of a side.

    Where the side is shorter than a window, it lies in the middle of the only one.
    """
    side = tiling.window
    if length < side:
        return [-((side - length) // 2)]
    return [begin for begin in tile_sides(length, side, tiling.step) if begin < end and start < begin + side]


def parts_of(picture_hw: tuple[int, int], tiling: Tiling) -> list[Area]:
    """The parts of a picture, row by row: rectangles of at most `tiling.part` pixels a side.

    Windows start at their borders, so that few windows lie in two parts. They are about equally large. A part
    is larger than asked for where the step between two windows is.
    """
    rows, columns = (_pieces(length, tiling) for length in picture_hw)
    return [
        Area(top, left, bottom - top, right - left) for (top, bottom), (left, right) in product(rows, columns)
    ]


def seen_by(picture_hw: tuple[int, int], part: Area, tiling: Tiling) -> Area:
    """What of a picture the windows of a part see."""
    (top, bottom), (left, right) = (
        (max(0, starts[0]), min(length, starts[-1] + tiling.window))
        for length, starts in (
            (picture_hw[0], windows_along(picture_hw[0], tiling, part.top, part.top + part.height)),
            (picture_hw[1], windows_along(picture_hw[1], tiling, part.left, part.left + part.width)),
        )
    )
    return Area(top, left, bottom - top, right - left)


def largest_seen(picture_hw: tuple[int, int], tiling: Tiling) -> tuple[int, int]:
    """Height and width of the largest rectangle that the windows of one of its parts see."""
    seen = (seen_by(picture_hw, part, tiling) for part in parts_of(picture_hw, tiling))
    return max(((area.height, area.width) for area in seen), key=lambda hw: hw[0] * hw[1])


def cut(
    pixels_HWC: NDArray[Any], window: Area, held: Area | None = None, whole_hw: tuple[int, int] | None = None
) -> NDArray[Any]:
    """The pixels of a window [h, w, C], contiguous. What lies beyond the picture's edges is reflected.

    Args:
        pixels_HWC: the picture, or a rectangle of it that has all of the window that lies on the picture.
        window: on the whole picture. It is reflected as by `numpy.pad(mode="reflect")`, also where it is many
            times as large as the picture.
        held: which rectangle of the picture `pixels_HWC` is; None: the whole.
        whole_hw: height and width of the picture; None: those of `pixels_HWC`.
    """
    held = held or Area(0, 0, *pixels_HWC.shape[:2])
    height, width = whole_hw or pixels_HWC.shape[:2]
    top, left = window.top - held.top, window.left - held.left
    inside = window.top >= 0 and window.left >= 0
    if inside and window.top + window.height <= height and window.left + window.width <= width:
        return np.ascontiguousarray(pixels_HWC[top : top + window.height, left : left + window.width])
    row_H = _reflected(window.top, window.height, height) - held.top
    column_W = _reflected(window.left, window.width, width) - held.left
    return pixels_HWC[row_H[:, None], column_W]


def _pieces(length: int, tiling: Tiling) -> list[tuple[int, int]]:
    """Start and end of the parts along a side, about equally many steps each."""
    steps = math.ceil(length / tiling.step)
    most = max(1, tiling.part // tiling.step)
    each = math.ceil(steps / math.ceil(steps / most))
    return [*pairwise([*range(0, length, each * tiling.step), length])]


def _reflected(start: int, count: int, length: int) -> NDArray[np.int64]:
    """Which pixel of a side stands at each place, before its start and beyond its end too."""
    period = max(1, 2 * (length - 1))  # the outermost pixel stands once
    place_N = np.arange(start, start + count) % period
    return np.minimum(place_N, period - place_N) if length > 1 else np.zeros(count, np.int64)
