"""Bilinear upsampling of a rectangle of the result, which no other rectangle has a say in."""

from __future__ import annotations

import torch
from torch import Tensor

from batchseg.segmentors.network.bilinear import neighbours

Size = tuple[int, int]


def rectangle(maps_CHW: Tensor, size: Size, rows: range, columns: range) -> Tensor:
    """Some rows and columns of `interpolate(maps_CHW[None], size, mode="bilinear", align_corners=False)[0]`.

    Up to float32's rounding. A pixel is computed by itself, in the same steps whatever is computed with it:
    the bits do not depend on the rectangle.
    """
    above_H, below_H, lower_H = between(maps_CHW.shape[1], size[0], rows, maps_CHW.device)
    left_W, right_W, far_W = between(maps_CHW.shape[2], size[1], columns, maps_CHW.device)
    lower_H1 = lower_H[:, None]
    first, last = int(left_W[0]), int(right_W[-1])
    maps_CHW, left_W, right_W = maps_CHW[:, :, first : last + 1], left_W - first, right_W - first
    # whole rows first: those are few, and each sum of two products is rounded in the same places
    rows_CHw = maps_CHW[:, above_H] * (1 - lower_H1) + maps_CHW[:, below_H] * lower_H1
    return rows_CHw[:, :, left_W] * (1 - far_W) + rows_CHw[:, :, right_W] * far_W


def between(cells: int, pixels: int, some: range, device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
    """The two cells around each pixel [N], and the weight of the second: 0 where that is the first, too."""
    pixel_N = torch.arange(some.start, some.stop, some.step, device=device)
    lower_N, upper_N, weight_N = neighbours(cells, pixels, pixel_N)
    return lower_N, upper_N, torch.where(upper_N > lower_N, weight_N, 0.0)
