"""A user's own segmentor that fails on one kind of image."""

from __future__ import annotations

import numpy as np


class Fussy:
    labels = ("background", "thing")

    def __init__(self, device: str) -> None:
        self.device = device

    def segment(self, images: list[np.ndarray]) -> list[np.ndarray]:
        if any((image == 13).all() for image in images):
            raise ValueError("thirteen")
        return [np.zeros(image.shape[:2], np.int64) for image in images]
