"""From pixels of any type to the 0 to 255 that a checkpoint's own rescaling and normalising expects."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from batchseg.config.bands import BlackWhite
from batchseg.segmentors.base import ModelInput


def to_levels(pixels_BHWC: Tensor, inputs: Sequence[ModelInput]) -> Tensor:
    """The pixels of a batch with black at 0 and white at 255: float32 and clipped to that, or as they are
    where no input has a scale.

    Args:
        pixels_BHWC: [B * T, H, W, C] as `to_device` makes it of the inputs.
    """
    scales = [each.scale for each in inputs for _ in each.pixels_THWC]
    given = [scale for scale in scales if scale is not None]
    if not given:
        return pixels_BHWC
    if len(given) == len(scales):
        return scaled_pixels(pixels_BHWC, given)
    # one by one, for those without a scale are not clipped, whatever is beside them
    return torch.stack(
        [
            pixels_HWC.float() if scale is None else scaled_pixels(pixels_HWC[None], [scale])[0]
            for pixels_HWC, scale in zip(pixels_BHWC, scales, strict=True)
        ]
    )


def scaled_pixels(pixels_BHWC: Tensor, scales: Sequence[Sequence[BlackWhite]]) -> Tensor:
    """Float32 [B, H, W, C], 0 to 255 and clipped, by the black and white of each channel of each picture."""
    scale_BC2 = torch.tensor(scales, dtype=torch.float64)
    black_BC, range_BC = scale_BC2[..., 0], scale_BC2[..., 1] - scale_BC2[..., 0]
    # a row at a time: loops over as few as C values would take five times as long
    rows_BHN = pixels_BHWC.to(torch.float32, copy=True).flatten(2)
    factors = (part.float().repeat(1, pixels_BHWC.shape[2])[:, None] for part in (black_BC, 255 / range_BC))
    black_B1N, factor_B1N = (part.to(pixels_BHWC.device) for part in factors)
    return rows_BHN.sub_(black_B1N).mul_(factor_B1N).clamp_(0, 255).view(pixels_BHWC.shape)


def scale_of_type(
    image_HWC: NDArray[Any], scale: Sequence[BlackWhite] | None
) -> tuple[BlackWhite, ...] | None:
    """The scale that is given, or that of 16 bits; None for pixels that are 0 to 255 already."""
    if scale is not None:
        return tuple(scale)
    return ((0.0, 65535.0),) * image_HWC.shape[2] if image_HWC.dtype == np.uint16 else None
