"""A user's own segmentor that notes on which node of the cluster it runs."""

from __future__ import annotations

from pathlib import Path

import numpy as np


class Placed:
    labels = ("background", "thing")

    def __init__(self, device: str, notes: str) -> None:
        import ray

        (Path(notes) / ray.get_runtime_context().get_node_id()).touch()

    def segment(self, images: list[np.ndarray]) -> list[np.ndarray]:
        return [np.zeros(image.shape[:2], np.int64) for image in images]
