"""The size that images are brought to before a network sees them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torchvision.transforms.v2 import functional

from batchseg.config.bands import BlackWhite
from batchseg.errors import RowFault
from batchseg.schema import Status
from batchseg.segmentors.base import ModelInput
from batchseg.segmentors.network.levels import scale_of_type, scaled_pixels

LARGEST_INPUT_PIXELS = 2**26


@dataclass(frozen=True)
class Sizing:
    """A rule, of which one holds; none of them leaves images as they are.

    Attributes:
        size: height and width of every input.
        shorter, longer: what that side is scaled to; the other keeps the proportions.
    """

    size: tuple[int, int] | None = None
    shorter: int | None = None
    longer: int | None = None

    def input_hw(self, image_hw: tuple[int, int]) -> tuple[int, int]:
        """Height and width of the input for an image of so many pixels."""
        if self.size is not None:
            return self.size
        side = self.shorter or self.longer
        if side is None:
            return image_hw
        known = min(image_hw) if self.shorter else max(image_hw)
        # down, as torchvision has it
        height, width = (max(1, side * each // known) for each in image_hw)
        return height, width


class SizedPreparer:
    """Resizes by antialiased bilinear interpolation, as torchvision's transforms do."""

    def __init__(self, sizing: Sizing) -> None:
        self.sizing = sizing

    def __call__(self, image_HWC: NDArray[Any], scale: Sequence[BlackWhite] | None = None) -> ModelInput:
        """Raises RowFault for an image so narrow that the input would be blown up beyond measure.

        What has a scale is resized as float32, scaled before: in torchvision's own order."""
        height, width = image_HWC.shape[:2]
        input_h, input_w = self.input_hw((height, width))
        scale = scale_of_type(image_HWC, scale)
        if (input_h, input_w) == (height, width):
            return ModelInput(np.ascontiguousarray(image_HWC)[None], (height, width), {}, scale)
        if input_h * input_w > LARGEST_INPUT_PIXELS:
            raise RowFault(
                Status.TOO_LARGE,
                f"the image is {width} x {height} pixels, so narrow that the model's input would be "
                f"{input_w} x {input_h}",
            )
        pixels_HWC = torch.from_numpy(np.require(image_HWC, requirements="W"))
        if scale is not None:
            pixels_HWC = scaled_pixels(pixels_HWC[None], [scale])[0]
        resized_CHW = functional.resize(pixels_HWC.permute(2, 0, 1), [input_h, input_w], antialias=True)
        return ModelInput(resized_CHW.permute(1, 2, 0).contiguous().numpy()[None], (height, width), {})

    def input_hw(self, image_hw: tuple[int, int]) -> tuple[int, int]:
        return self.sizing.input_hw(image_hw)
