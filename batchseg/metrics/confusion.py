"""The confusion matrix, a value that adds, and every figure that follows from it.

Definitions, proved equal by property tests: accuracy, recall, precision and F1 are scikit-learn's
(`accuracy_score`, `recall_score`, `precision_score`, `f1_score` with `zero_division=0`) and mean IoU its
`jaccard_score`, over the classes present in truth or prediction; IoU and Dice a class are torchmetrics'.
Only pixels with truth count. A pixel where the mask abstains is wrong: it lowers recall and accuracy, and
is no false positive of any class.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from batchseg.config.base import METRICS
from batchseg.metrics.class_sums import ClassSums, Scores

Counts = NDArray[np.int64]
LabelIds = NDArray[np.integer[Any]]

_PIECE = 2**20  # pixels counted at once: bincount makes eight bytes of each


@dataclass(frozen=True, eq=False)
class ClassScores:
    """Figures of each class, [C] each; NaN where a figure is undefined (0 / 0).

    `support` and the five scores count pixels with truth; `predicted_pixels` counts all pixels.
    """

    precision: Scores
    recall: Scores
    f1: Scores
    iou: Scores
    dice: Scores
    support: Counts
    predicted_pixels: Counts


@dataclass(frozen=True, eq=False)
class ConfusionMatrix:
    """Pixels by true class (rows) and predicted class (columns).

    Attributes:
        counts: int64 [C+1, C+1]; row C: no truth or ignored; column C: the mask abstains.
    """

    counts: Counts

    @classmethod
    def zeros(cls, num_classes: int) -> ConfusionMatrix:
        """The matrix of no pixels: `sum(parts, start=ConfusionMatrix.zeros(C))`."""
        return cls(np.zeros((num_classes + 1, num_classes + 1), np.int64))

    @classmethod
    def from_maps(
        cls, predicted_HW: LabelIds, truth_HW: LabelIds | None, num_classes: int
    ) -> ConfusionMatrix:
        """Count one image: ids 0 .. C-1, and C for "none"; without a truth every pixel falls in row C.

        Raises:
            ValueError: the two shapes differ, or an id lies outside 0 .. C.
        """
        side = num_classes + 1
        _check_ids("predicted", predicted_HW, 0, num_classes)
        matrix = cls.zeros(num_classes)
        if truth_HW is None:
            for predicted_N in _pieces(predicted_HW):
                matrix.counts[num_classes] += np.bincount(predicted_N, minlength=side)
            return matrix
        if truth_HW.shape != predicted_HW.shape:
            raise ValueError(f"the truth is {truth_HW.shape}, the prediction {predicted_HW.shape}")
        _check_ids("truth", truth_HW, 0, num_classes)
        # uint16 holds every pair of up to 255 classes and quarters the memory traffic of intp
        pair_type = np.uint16 if side * side <= 2**16 else np.intp
        for truth_N, predicted_N in zip(_pieces(truth_HW), _pieces(predicted_HW), strict=True):
            pairs_N = truth_N.astype(pair_type)
            pairs_N *= pair_type(side)
            pairs_N += predicted_N.astype(pair_type, copy=False)
            matrix.counts[...] += np.bincount(pairs_N, minlength=side * side).reshape(side, side)
        return matrix

    @classmethod
    def from_sparse(
        cls, truth: LabelIds, predicted: LabelIds, pixels: LabelIds, num_classes: int
    ) -> ConfusionMatrix:
        """Add up entries as `sparse` gives them: class ids, -1 for none, and pixels; pairs may repeat.

        Raises:
            ValueError: an id lies outside -1 .. C-1.
        """
        _check_ids("truth", truth, -1, num_classes - 1)
        _check_ids("predicted", predicted, -1, num_classes - 1)
        matrix = cls.zeros(num_classes)
        # index -1 is the last row or column, which is where "none" is kept
        np.add.at(matrix.counts, (truth, predicted), pixels)
        return matrix

    def sparse(self) -> tuple[Counts, Counts, Counts]:
        """The entries that are not zero, row by row: true ids, predicted ids (-1 for none) and pixels."""
        truth, predicted = np.nonzero(self.counts)
        pixels = self.counts[truth, predicted]
        none = self.num_classes
        return np.where(truth == none, -1, truth), np.where(predicted == none, -1, predicted), pixels

    def __add__(self, other: ConfusionMatrix) -> ConfusionMatrix:
        if self.num_classes != other.num_classes:
            raise ValueError(f"cannot add matrices of {self.num_classes} and {other.num_classes} classes")
        return ConfusionMatrix(self.counts + other.counts)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ConfusionMatrix) and np.array_equal(self.counts, other.counts)

    __hash__ = None  # type: ignore[assignment]  # a value with an array in it

    def without_truth(self) -> ConfusionMatrix:
        """The same pixels by prediction alone."""
        counts = np.zeros_like(self.counts)
        counts[-1] = self.counts.sum(0)
        return ConfusionMatrix(counts)

    @property
    def num_classes(self) -> int:
        return len(self.counts) - 1

    @property
    def truth_pixels(self) -> int:
        """Pixels with truth: all but the ignored."""
        return int(self.counts[:-1].sum())

    @property
    def accuracy(self) -> float | None:
        """Correct pixels / pixels with truth; this and the other figures are None without such pixels."""
        return self.summary()["accuracy"]

    @property
    def recall_weighted(self) -> float | None:
        return self.summary()["recall_weighted"]

    @property
    def f1_weighted(self) -> float | None:
        return self.summary()["f1_weighted"]

    @property
    def recall_macro(self) -> float | None:
        return self.summary()["recall_macro"]

    @property
    def f1_macro(self) -> float | None:
        return self.summary()["f1_macro"]

    @property
    def precision_macro(self) -> float | None:
        return self.summary()["precision_macro"]

    @property
    def mean_iou(self) -> float | None:
        return self.summary()["mean_iou"]

    def summary(self) -> dict[str, float | None]:
        """The figures of `config.METRICS`, by name; macro means run over classes in truth or prediction."""
        if not self.truth_pixels:
            return dict.fromkeys(METRICS)
        return {name: float(value) for name, value in self.class_sums.averages().items()}

    @property
    def class_sums(self) -> ClassSums:
        """What the figures are computed from, [C] each."""
        with_truth = self.counts[:-1]
        return ClassSums(
            correct=with_truth.diagonal(),
            support=with_truth.sum(axis=1),
            predicted=with_truth[:, :-1].sum(axis=0),
        )

    def per_class(self) -> ClassScores:
        """Precision, recall, F1, IoU and Dice of each class, NaN where `schema.CLASSES` has null."""
        sums = self.class_sums
        scores = sums.scores()
        return ClassScores(
            **scores,
            dice=scores["f1"],
            support=sums.support,
            predicted_pixels=self.counts[:, :-1].sum(axis=0),
        )


def _pieces(ids_HW: LabelIds) -> Iterator[LabelIds]:
    ids_N = ids_HW.reshape(-1)
    return (ids_N[start : start + _PIECE] for start in range(0, len(ids_N), _PIECE))


def _check_ids(name: str, ids: LabelIds, lowest: int, highest: int) -> None:
    # an id above C would be counted, silently, in the next row
    if ids.size and not lowest <= ids.min() <= ids.max() <= highest:
        raise ValueError(f"{name} ids reach from {ids.min()} to {ids.max()}, not {lowest} to {highest}")
