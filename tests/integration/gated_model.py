"""A user's own segmentor that, after some images, waits for somebody to write into a pipe."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import numpy as np


class Gated:
    labels = ("background", "thing")

    def __init__(self, device: str, gate: str, images: int) -> None:
        self.gate, self.left = Path(gate), images

    def segment(self, images: list[np.ndarray]) -> list[np.ndarray]:
        self.left -= len(images)
        if self.left < 0:
            with suppress(FileNotFoundError):  # a pipe without a writer blocks; no gate at all does not
                self.gate.read_bytes()
        return [np.zeros(image.shape[:2], np.int64) for image in images]
