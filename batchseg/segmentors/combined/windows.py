"""Windows over a picture, and the parts that a large picture is computed in.

Windows lie on one grid over the whole picture, whatever its parts: where MONAI's `sliding_window_inference`
puts them.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
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


@dataclass(frozen=True, slots=True)
class Windows:
    """The windows over a picture.

    Attributes:
        picture_hw: height and width of the picture.
        scaled_hw: height and width of the picture in pixels of the model's input, which windows lie on.
        side: of a window, in pixels of the model's input.
        tops, lefts: where the rows and the columns of windows start on the scaled picture. Where that is
            shorter than a window, the only start lies before it: the picture is reflected on both sides.
    """

    picture_hw: tuple[int, int]
    scaled_hw: tuple[int, int]
    side: int
    tops: tuple[int, ...]
    lefts: tuple[int, ...]

    @classmethod
    def over(cls, picture_hw: tuple[int, int], tiling: Tiling) -> Windows:
        """The windows over a picture of so many pixels, at least one."""
        height, width = (max(1, round(length * tiling.scale)) for length in picture_hw)
        tops, lefts = (_starts(length, tiling) for length in (height, width))
        return cls(picture_hw, (height, width), tiling.size, tops, lefts)

    @property
    def areas(self) -> list[Area]:
        """All windows on the scaled picture, row by row; they reach over its edges where it is smaller."""
        return [Area(top, left, self.side, self.side) for top, left in product(self.tops, self.lefts)]

    def scaled(self, area: Area) -> Area:
        """The rectangle of the scaled picture that is read to interpolate `area` of the picture."""
        top, height = _read(area.top, area.height, self.picture_hw[0], self.scaled_hw[0])
        left, width = _read(area.left, area.width, self.picture_hw[1], self.scaled_hw[1])
        return Area(top, left, height, width)

    def of(self, area: Area) -> list[Area]:
        """The windows that a rectangle of the picture needs, row by row: all that have a pixel of it."""
        needed = self.scaled(area)
        tops = _overlapping(self.tops, self.side, needed.top, needed.height)
        lefts = _overlapping(self.lefts, self.side, needed.left, needed.width)
        return [Area(top, left, self.side, self.side) for top, left in product(tops, lefts)]

    def reach(self, area: Area) -> Area:
        """The rectangle of the scaled picture that the windows of `area` read: a part with its margin."""
        windows = self.of(area)
        first, last = windows[0], windows[-1]
        top, left = max(0, first.top), max(0, first.left)
        bottom, right = (
            min(start + self.side, length) for start, length in zip(last[:2], self.scaled_hw, strict=True)
        )
        return Area(top, left, bottom - top, right - left)


def parts_of(picture_hw: tuple[int, int], tiling: Tiling) -> list[Area]:
    """The parts of a picture, row by row: rectangles of at most `tiling.part` pixels a side.

    Windows start at their borders, so that few windows lie in two parts. They are about equally large. A part
    is larger than asked for where the step between two windows is.
    """
    rows, columns = (
        list(_pieces(length, max(1, round(length * tiling.scale)), tiling)) for length in picture_hw
    )
    return [
        Area(top, left, bottom - top, right - left) for (top, bottom), (left, right) in product(rows, columns)
    ]


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


def _starts(length: int, tiling: Tiling) -> tuple[int, ...]:
    if length < tiling.size:
        return (-((tiling.size - length) // 2),)
    return tuple(tile_sides(length, tiling.size, tiling.step))


def _read(start: int, count: int, pixels: int, cells: int) -> tuple[int, int]:
    """First cell and number of cells that some pixels lie between, among as many cells as a side has."""
    if pixels == cells:
        return start, count
    # the centre of pixel p lies at ((2 p + 1) cells - pixels) / (2 pixels); one cell more for float32
    first = ((2 * start + 1) * cells - pixels) // (2 * pixels) - 1
    last = -((pixels - (2 * (start + count) - 1) * cells) // (2 * pixels)) + 1
    first, last = max(0, first), min(cells - 1, last)
    return first, last - first + 1


def _overlapping(starts: Sequence[int], side: int, first: int, count: int) -> list[int]:
    return [start for start in starts if first - side < start < first + count]


def _pieces(pixels: int, cells: int, tiling: Tiling) -> Iterator[tuple[int, int]]:
    """Start and end of the pieces of a side, which has as many `cells` in pixels of the model's input."""
    steps = math.ceil(cells / tiling.step)
    most = max(1, tiling.part * cells // (pixels * tiling.step))
    each = math.ceil(steps / math.ceil(steps / most))
    inner = {round(step * tiling.step * pixels / cells) for step in range(each, steps, each)}
    return pairwise(sorted({0, *inner, pixels}))


def _reflected(start: int, count: int, length: int) -> NDArray[np.int64]:
    """Which pixel of a side stands at each place, before its start and beyond its end too."""
    period = max(1, 2 * (length - 1))  # the outermost pixel stands once
    place_N = np.arange(start, start + count) % period
    return np.minimum(place_N, period - place_N) if length > 1 else np.zeros(count, np.int64)
