"""Inputs padded to what a network can read, and its scores cut to what was there before."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional


def pad_to_multiple(input_BCHW: Tensor, multiple: int) -> Tensor:
    """Zeros below and on the right, until both sides are multiples: of a normalised input its mean."""
    height, width = input_BCHW.shape[-2:]
    below, right = -height % multiple, -width % multiple
    return functional.pad(input_BCHW, (0, right, 0, below)) if below or right else input_BCHW


def cut_padding(maps_BCHW: Tensor, padded_hw: tuple[int, int], hw: tuple[int, int]) -> Tensor:
    """The part of some scores that lies on the input without its padding.

    Where that ends within a cell, the scores are interpolated to the size of the input before.
    """
    if padded_hw == hw:
        return maps_BCHW
    ends = [
        divmod(side * cells, padded)
        for side, cells, padded in zip(hw, maps_BCHW.shape[-2:], padded_hw, strict=True)
    ]
    if any(rest for _, rest in ends):
        whole = functional.interpolate(
            maps_BCHW.float(), size=padded_hw, mode="bilinear", align_corners=False
        )
        return whole[:, :, : hw[0], : hw[1]]
    return maps_BCHW[:, :, : ends[0][0], : ends[1][0]]
