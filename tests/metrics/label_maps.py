"""Random label maps for the tests of boundaries and objects: blobs, noise, empty classes and void."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

CASES = 200


@dataclass(frozen=True)
class Maps:
    """Ids 0 .. C-1, and C for void, of a prediction and its truth; spacing of the pixels."""

    predicted: np.ndarray
    truth: np.ndarray
    classes: int
    spacing: tuple[float, float]

    @property
    def judged(self) -> np.ndarray:
        """The prediction without the pixels that the truth ignores."""
        return np.where(self.truth == self.classes, self.classes, self.predicted)


def blobs(rng: np.random.Generator, shape: tuple[int, int], classes: int, width: float) -> np.ndarray:
    fields = [ndimage.gaussian_filter(rng.normal(size=shape), width) for _ in range(classes)]
    return np.argmax(fields, axis=0).astype(np.uint8)


def random_maps(seed: int) -> Maps:
    """Every case is another mixture: moved or unrelated masks, noise, void, one class, abstaining pixels."""
    rng = np.random.default_rng(seed)
    shape = (int(rng.integers(1, 50)), int(rng.integers(1, 60)))
    classes = int(rng.integers(1, 7))
    truth = blobs(rng, shape, classes, rng.uniform(0.2, 5))
    moved = np.roll(truth, tuple(rng.integers(-12, 13, 2)), (0, 1))
    predicted = [moved, truth.copy(), blobs(rng, shape, classes, 2), rng.integers(0, classes, shape)][
        seed % 4
    ]
    predicted = predicted.astype(np.uint8)
    if seed % 3 == 0:
        noisy = rng.random(shape) < 0.05
        predicted[noisy] = rng.integers(0, classes, int(noisy.sum()))
    if seed % 5 == 0:
        truth[truth == classes - 1] = classes if seed % 2 else 0  # ignored, or missing from the truth
    if seed % 7 == 0:
        truth[: shape[0] // 2] = classes
    if seed % 11 == 0:
        predicted[rng.random(shape) < 0.2] = classes
    if seed % 13 == 0:
        predicted[predicted == 0] = classes - 1
    spacing = [(1.0, 1.0), (0.5, 0.5), (2.0, 0.7)][seed % 3]
    return Maps(predicted, truth, classes, spacing)
