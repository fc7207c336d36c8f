"""The `threshold` segmentor: brightness against fixed levels. Deterministic and torch-free."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from batchseg.config.bands import BlackWhite
from batchseg.config.segmentor import ThresholdSegmentor
from batchseg.errors import RowFault
from batchseg.labels.label_map import LabelMap
from batchseg.schema import Status
from batchseg.segmentors.base import ModelInput, Scores

_ROWS = 256  # at once: the arithmetic takes five times the memory of the image


@dataclass(frozen=True)
class ThresholdCheckpoint:
    """Class of a pixel = how many levels its brightness reaches (ITU-R BT.601 luma, as Pillow's "L")."""

    levels: tuple[int, ...]
    notes: tuple[str, ...] = ()
    stride: int = 1

    @classmethod
    def open(cls, config: ThresholdSegmentor) -> ThresholdCheckpoint:
        return cls(config.levels)

    @property
    def label_map(self) -> LabelMap:
        if len(self.levels) == 1:
            return LabelMap.from_names(("dark", "bright"))
        return LabelMap.from_names(tuple(f"level_{index}" for index in range(len(self.levels) + 1)))

    @property
    def fingerprint(self) -> str:
        return hashlib.sha256(f"threshold {self.levels}".encode()).hexdigest()

    @property
    def channels(self) -> int:
        """Brightness is that of RGB."""
        return 3

    def preparer(self, as_is: bool = False) -> Identity:
        return EightBits()

    def load(self, device: str, precision: str, threads: int | None = None) -> ThresholdModel:
        return ThresholdModel(self.levels)


class Identity:
    """A preparer that leaves the image as it is."""

    def __call__(self, image_HWC: NDArray[Any], scale: tuple[BlackWhite, ...] | None = None) -> ModelInput:
        height, width, _ = image_HWC.shape
        return ModelInput(image_HWC[None], (height, width), {}, scale)


class EightBits(Identity):
    """The same, for a model that reads 8 bits alone."""

    def __call__(self, image_HWC: NDArray[Any], scale: tuple[BlackWhite, ...] | None = None) -> ModelInput:
        """Raises RowFault for bands of another type or range."""
        if image_HWC.dtype != np.uint8 or scale is not None:
            raise RowFault(
                Status.UNSUPPORTED,
                f"the threshold segmentor reads three bands of 8 bits as they are, and these are "
                f"{image_HWC.dtype} to be scaled; leave source.bands out, or convert the file",
            )
        return super().__call__(image_HWC)


class ThresholdModel:
    """See ThresholdCheckpoint."""

    def __init__(self, levels: tuple[int, ...]) -> None:
        grey = np.arange(256)
        self._class_of = sum(
            ((grey >= level).astype(np.uint8) for level in levels), start=np.zeros(256, np.uint8)
        )

    def scores(self, inputs: Sequence[ModelInput]) -> list[Scores]:
        return [Scores("labels", self._labels(each.pixels_THWC[0])) for each in inputs]

    def _labels(self, image_HWC: NDArray[np.uint8]) -> NDArray[np.uint8]:
        labels_HW = np.empty(image_HWC.shape[:2], np.uint8)
        for start in range(0, len(labels_HW), _ROWS):
            rows = slice(start, start + _ROWS)
            labels_HW[rows] = self._class_of[_luma(image_HWC[rows])]
        return labels_HW


def _luma(image_HWC: NDArray[np.uint8]) -> NDArray[Any]:
    # integer weights in 1/65536, rounded to nearest: the ones Pillow uses
    red, green, blue = (image_HWC[..., channel].astype(np.uint32) for channel in range(3))
    return (red * 19595 + green * 38470 + blue * 7471 + 0x8000) >> 16
