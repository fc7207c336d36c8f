"""From pixels of any type to the 0 to 255 that a checkpoint's own rescaling and normalising expects."""

from __future__ import annotations

from collections.abc import Sequence

import torch
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
    scale_BC2 = torch.tensor(scales, dtype=torch.float32, device=pixels_BHWC.device)
    black_B11C, white_B11C = scale_BC2[:, None, None].unbind(-1)
    share = (pixels_BHWC.float() - black_B11C) / (white_B11C - black_B11C)
    return share.clamp_(0, 1).mul_(255)
