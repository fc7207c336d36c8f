"""A user's own segmentor that looks at the top left corner alone, and sees the right half as lit."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


class Corner:
    labels = ("background", "lit")

    def __init__(self, device: str) -> None:
        self.device = device

    def segment(self, images: Sequence[np.ndarray]) -> list[np.ndarray]:
        return [self._labels(image) for image in images]

    def _labels(self, image: np.ndarray) -> np.ndarray:
        height, width = image.shape[:2]
        labels = np.zeros((height, width), np.uint8)
        if image[: height // 8, : width // 8].mean() > 128:
            labels[:, width // 2 :] = 1
        return labels


class Failing(Corner):
    """Fails on what it has not seen before: on any picture with a grey square."""

    def _labels(self, image: np.ndarray) -> np.ndarray:
        if (image == 128).all(axis=2).sum() > 16:
            raise RuntimeError("a grey square")
        return super()._labels(image)


class Sure(Corner):
    """The same with probabilities."""

    scores = "probabilities"

    def segment(self, images: Sequence[np.ndarray]) -> list[np.ndarray]:
        lit = [self._labels(image) * np.float32(0.75) for image in images]
        return [np.stack([1 - each, each]) for each in lit]
