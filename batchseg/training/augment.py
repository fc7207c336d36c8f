"""Random changes of the images that are learnt from, and of their ground truth with them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torchvision import tv_tensors
from torchvision.transforms import v2

from batchseg.config.augmentation import Augmentation
from batchseg.labels.label_map import Ids
from batchseg.segmentors.base import ModelInput

FILL = (124, 116, 104)  # beyond the edge of an image: the mean of ImageNet


class Augment:
    """Scale, crop, mirror and colour with torchvision's transforms.

    Args:
        means: of the bands of pictures that are read by band, 0 to 255; None for RGB.
    """

    def __init__(
        self, settings: Augmentation, crop: int, void: int, means: Sequence[float] | None = None
    ) -> None:
        self.scale, self.crop, self.void, self.means = settings.scale, crop, void, means
        fill = {tv_tensors.Image: FILL if means is None else [*means], tv_tensors.Mask: void}
        mirrors = {"horizontal": v2.RandomHorizontalFlip(), "vertical": v2.RandomVerticalFlip()}
        self.fill = fill
        self.changes = [
            *(mirrors[axis] for axis in settings.flip),
            *_colours(settings.colour, means is None),
        ]

    def __call__(
        self, seed: int, model_input: ModelInput, truths_KHW: Ids, shown: int | None = None
    ) -> tuple[Tensor, Tensor]:
        """Pixels [crop, crop, C] in their type, and labels int64 [K, crop, crop]. The same seed does the
        same.

        A crop in which nothing counts is laid anew, over a pixel that does, if there is one.

        Args:
            shown: a class that the crop has to show, if it is there at this scale.
        """
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return self._augmented(model_input.pixels_THWC[0], truths_KHW, shown)

    def _augmented(
        self, pixels_HWC: NDArray[Any], truths_KHW: Ids, shown: int | None
    ) -> tuple[Tensor, Tensor]:
        low, high = self.scale
        factor = low + (high - low) * torch.rand(()).item()
        size = [max(1, round(side * factor)) for side in pixels_HWC.shape[:2]]
        image = v2.functional.resize(torch.from_numpy(pixels_HWC).permute(2, 0, 1), size, antialias=True)
        # nearest as Pillow does it: the pixel under each centre
        labels = torch.from_numpy(truths_KHW.astype(np.int32))[None].float()
        labels = torch.nn.functional.interpolate(labels, size, mode="nearest-exact")[0]
        image, labels = self._cropped(tv_tensors.Image(image), tv_tensors.Mask(labels.long()), shown)
        image, labels = tv_tensors.Image(image), tv_tensors.Mask(labels)
        for change in self.changes:
            image, labels = change(image, labels)
        return image.permute(1, 2, 0).as_subclass(Tensor).contiguous(), labels.as_subclass(Tensor)

    def _cropped(self, image: Tensor, labels: Tensor, shown: int | None) -> tuple[Tensor, Tensor]:
        """Small images are padded on all sides, so that they lie anywhere in their crops."""
        down, across = (max(0, self.crop - side) for side in labels.shape[-2:])
        image, labels = v2.Pad([across, down], fill=self.fill)(image, labels)
        top, left = (int(torch.randint(side - self.crop + 1, ())) for side in labels.shape[-2:])
        if shown is not None and (place := self._over(labels == shown)) is not None:
            top, left = place
        elif not self._part(labels, top, left).ne(self.void).any():
            top, left = self._over(labels != self.void) or (top, left)
        return self._part(image, top, left), self._part(labels, top, left)

    def _over(self, wanted_KHW: Tensor) -> tuple[int, int] | None:
        """The corner of a crop at random over a pixel at random among those that are wanted, if any is."""
        row_N, column_N = wanted_KHW.as_subclass(Tensor).any(0).nonzero(as_tuple=True)
        if not len(row_N):
            return None
        chosen = int(torch.randint(len(row_N), ()))
        corner = []
        for place, side in zip((row_N[chosen], column_N[chosen]), wanted_KHW.shape[-2:], strict=True):
            low, high = max(0, int(place) - self.crop + 1), min(int(place), side - self.crop)
            corner.append(low + int(torch.randint(high - low + 1, ())))
        return corner[0], corner[1]

    def _part(self, image: Tensor, top: int, left: int) -> Tensor:
        return image[..., top : top + self.crop, left : left + self.crop]

    def nothing(self) -> tuple[Tensor, Tensor]:
        """A crop without ground truth."""
        side, channels = (self.crop, self.crop), 3 if self.means is None else len(self.means)
        return torch.zeros(*side, channels, dtype=torch.uint8), torch.full(side, self.void)


@dataclass(frozen=True)
class _BandLevels:
    """Brightness and contrast of bands, whose range is 0 to 255 in any type; they have no saturation."""

    strength: float

    def __call__(self, image: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        brightness, contrast = 1 + self.strength * (2 * torch.rand(2) - 1)
        levels_CHW = image.as_subclass(Tensor).float() * brightness
        mean_C11 = levels_CHW.mean((1, 2), keepdim=True)
        levels_CHW = (mean_C11 + contrast * (levels_CHW - mean_C11)).clamp(0, 255)
        return tv_tensors.Image(levels_CHW.to(image.dtype)), labels


def _colours(strength: float, is_rgb: bool) -> list[Any]:
    if not strength:
        return []
    return [v2.ColorJitter(strength, strength, strength) if is_rgb else _BandLevels(strength)]
