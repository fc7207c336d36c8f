"""A segmentor that notes by how much its process has grown since its first images."""

from __future__ import annotations

import os
import resource
from pathlib import Path

import numpy as np
import torchvision  # the decoder of JPEGs, which the first images may not be


class Measured:
    labels = ("background", "thing")

    def __init__(self, device: str, notes: str) -> None:
        self.note = Path(notes) / str(os.getpid())
        self.first: int | None = None
        assert torchvision.__version__

    def segment(self, images: list[np.ndarray]) -> list[np.ndarray]:
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # KiB
        # by now every library is loaded; what they weigh differs from machine to machine
        self.first = peak if self.first is None else self.first
        self.note.write_text(str(peak - self.first))
        return [np.zeros(image.shape[:2], np.int64) for image in images]
