"""A segmentor that notes how large its process has grown."""

from __future__ import annotations

import os
import resource
from pathlib import Path

import numpy as np


class Measured:
    labels = ("background", "thing")

    def __init__(self, device: str, notes: str) -> None:
        self.note = Path(notes) / str(os.getpid())

    def segment(self, images: list[np.ndarray]) -> list[np.ndarray]:
        self.note.write_text(str(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss))  # KiB
        return [np.zeros(image.shape[:2], np.int64) for image in images]
