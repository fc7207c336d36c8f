"""The model of the raster bench: 11 classes at a quarter of the resolution, from one pixel a cell."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

CLASSES = 11
CELL = 4


class Cells:
    labels = tuple(f"class {index}" for index in range(CLASSES))
    scores = "logits"
    fingerprint = "1"  # whatever lies in the folder of the notes

    def __init__(self, device: str, notes: str = "") -> None:
        self.notes = notes

    def segment(self, images: list[np.ndarray]) -> list[np.ndarray]:
        if self.notes:
            with open(Path(self.notes) / f"{os.getpid()}", "a") as file:
                file.write("." * len(images))
        return [self.one(image) for image in images]

    def one(self, image: np.ndarray) -> np.ndarray:
        levels = image[::CELL, ::CELL].astype(np.float32)
        centres = np.linspace(0, 255, CLASSES, dtype=np.float32)[:, None, None]
        answer: np.ndarray = -np.abs(levels.mean(axis=2)[None] - centres) / 8
        return answer
