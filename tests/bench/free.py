"""A segmentor that costs nothing: the same label map for every image of the size the benches use."""

from __future__ import annotations

from typing import Any

from numpy.typing import NDArray

from tests.bench.workload import CLASSES, scene


class Free:
    """For `batchseg run --model tests.bench.free:Free`."""

    labels = tuple(f"shape {number}" for number in range(CLASSES))

    def __init__(self, device: str) -> None:
        _, self.labels_HW = scene(0)

    def segment(self, images: list[NDArray[Any]]) -> list[NDArray[Any]]:
        return [self.labels_HW] * len(images)
