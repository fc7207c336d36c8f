"""How pixels become what a network reads: scaled, in its order of channels, less a mean, over a deviation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from batchseg.config.foreign import Normalising
from batchseg.segmentors.base import PixelRange

_LEVELS = 255.0  # of white, as `network.levels` has it


@dataclass(frozen=True)
class Normalisation:
    """(pixel - mean) / std, where pixels run from 0 to `white`.

    Attributes:
        mean, std: of each channel of the network's input, in its order.
        is_reversed: the first channel of an image is the last of the input: BGR of RGB.
    """

    mean: tuple[float, ...]
    std: tuple[float, ...]
    white: float = 1.0
    is_reversed: bool = False

    @classmethod
    def stated(cls, settings: Normalising, channels: int) -> Normalisation | None:
        """By settings; None where they do not say. Raises ValueError for other than a number a channel."""
        if settings.mean is None or settings.std is None:
            return None
        for name, values in (("mean", settings.mean), ("std", settings.std)):
            if len(values) not in (1, channels):
                raise ValueError(
                    f"has {len(values)} values as {name}, and the network reads {channels} channels"
                )
        mean, std = (values * (channels // len(values)) for values in (settings.mean, settings.std))
        white = 1.0 if settings.range != "0..255" else _LEVELS
        return cls(mean, std, white, settings.channel_order == "BGR")

    @property
    def pixel_range(self) -> PixelRange:
        """The same of images whose white is 1, in the order of their channels."""
        step = -1 if self.is_reversed else 1
        mean, std = (
            tuple(value / self.white for value in values[::step]) for values in (self.mean, self.std)
        )
        return PixelRange(mean, std)

    @property
    def facts(self) -> list[Any]:
        """All that changes a mask."""
        return [self.mean, self.std, self.white, self.is_reversed]

    def on(self, device: torch.device) -> Normalise:
        """What does it on a device."""
        std_C11 = torch.tensor(self.std, device=device)[:, None, None]
        shift_C11 = -torch.tensor(self.mean, device=device)[:, None, None] / std_C11
        return Normalise(self.white / (_LEVELS * std_C11), shift_C11, self.is_reversed)


@dataclass(frozen=True)
class Normalise:
    """One affine map a channel."""

    scale_C11: Tensor
    shift_C11: Tensor
    is_reversed: bool

    def __call__(self, levels_BHWC: Tensor) -> Tensor:
        """The input [B, C, H, W], float32, of pixels of which black is 0 and white 255."""
        levels_BCHW = levels_BHWC.permute(0, 3, 1, 2)
        if self.is_reversed:
            levels_BCHW = levels_BCHW.flip(1)
        return levels_BCHW * self.scale_C11 + self.shift_C11
