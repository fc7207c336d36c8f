"""A user's own segmentor with scores at a quarter of the resolution; it notes what it sees, and may die."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import numpy as np


class Waves:
    labels = ("a", "b", "c", "d", "e")
    scores = "logits"
    fingerprint = "1"  # whatever lies in the folder of the notes

    def __init__(self, device: str, white: float = 255.0, notes: str = "", dies_after: int = 0) -> None:
        self.white, self.notes, self.dies_after, self.seen = white, notes, dies_after, 0

    def segment(self, images: list[np.ndarray]) -> list[np.ndarray]:
        if self.notes:
            with open(Path(self.notes) / f"{os.getpid()}", "a") as file:
                file.write("." * len(images))
        self.seen += len(images)
        if (
            self.dies_after
            and self.seen > self.dies_after
            and not (died := Path(self.notes) / "died").exists()
        ):
            died.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return [self.one(image) for image in images]

    def one(self, image: np.ndarray) -> np.ndarray:
        height, width, channels = image.shape
        rows, columns = np.arange(0, height, 4), np.arange(0, width, 4)
        cells = np.add.reduceat(np.add.reduceat(image.astype(np.float64), rows, 0), columns, 1)
        levels = cells / (16 * self.white) * 6
        waves = [np.sin((index + 1) * levels[..., index % channels] + index) for index in range(5)]
        return np.stack(waves).astype(np.float32) * 3
