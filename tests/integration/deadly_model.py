"""A user's own segmentor that brings its process down on one image, or never returns from it."""

from __future__ import annotations

import os
import signal
import threading

import numpy as np


class Deadly:
    labels = ("background", "thing")

    def __init__(self, device: str, kind: str) -> None:
        self.kind = kind

    def segment(self, images: list[np.ndarray]) -> list[np.ndarray]:
        if any((image == 13).all() for image in images):
            if self.kind == "segfault":
                os.kill(os.getpid(), signal.SIGSEGV)
            threading.Event().wait()
        return [np.zeros(image.shape[:2], np.int64) for image in images]
