"""The confusion matrix as a person reads it: shares of the true class, and the largest confusions named."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from batchseg.metrics.confusion import ConfusionMatrix

MOST_CLASSES = 24  # side by side on a page
MOST_NAMED = 10


@dataclass(frozen=True)
class Confusion:
    """Pixels of one class that were taken for another; `share` is of the true class."""

    truth: int
    predicted: int
    pixels: int
    share: float


@dataclass(frozen=True)
class ConfusionRow:
    """A true class, and its pixels by what was predicted.

    Attributes:
        cells: pixels and their share for each class shown, and last where the mask abstains, if it does.
    """

    class_id: int
    support: int
    cells: tuple[tuple[int, float | None], ...]


@dataclass(frozen=True)
class ConfusionPicture:
    """What is shown of a matrix: `shown` classes of `occurring` ones."""

    shown: tuple[int, ...]
    occurring: int
    abstains: bool
    rows: tuple[ConfusionRow, ...]
    largest: tuple[Confusion, ...]


def confusion_picture(matrix: ConfusionMatrix) -> ConfusionPicture | None:
    """None without truth. Of many classes those with the most true pixels, and of the largest confusions."""
    if not matrix.truth_pixels:
        return None
    known = matrix.counts[:-1]
    support = known.sum(axis=1)
    occurring = np.flatnonzero(support + known[:, :-1].sum(axis=0))
    largest = _largest(known, support)
    shown = _shown(occurring, support, largest)
    abstains = bool(known[:, -1].any())
    columns = [*shown, *([known.shape[1] - 1] if abstains else [])]
    rows = tuple(_row(class_id, known[class_id], columns) for class_id in shown)
    return ConfusionPicture(tuple(shown), len(occurring), abstains, rows, largest)


def _row(class_id: int, pixels: NDArray[np.int64], columns: list[int]) -> ConfusionRow:
    support = int(pixels.sum())
    counts = [int(pixels[at]) for at in columns]
    return ConfusionRow(
        class_id, support, tuple((each, each / support if support else None) for each in counts)
    )


def _largest(known: NDArray[np.int64], support: NDArray[np.int64]) -> tuple[Confusion, ...]:
    wrong = known[:, :-1].copy()
    np.fill_diagonal(wrong, 0)
    order = np.argsort(-wrong, axis=None, kind="stable")[:MOST_NAMED]
    found = []
    for truth, predicted in np.column_stack(np.unravel_index(order, wrong.shape)).tolist():
        pixels = int(wrong[truth, predicted])
        if pixels:
            found.append(Confusion(truth, predicted, pixels, pixels / int(support[truth])))
    return tuple(found)


def _shown(
    occurring: NDArray[np.intp], support: NDArray[np.int64], largest: tuple[Confusion, ...]
) -> list[int]:
    if len(occurring) <= MOST_CLASSES:
        return [int(each) for each in occurring]
    named = dict.fromkeys(each for pair in largest for each in (pair.truth, pair.predicted))
    by_support = occurring[np.argsort(-support[occurring], kind="stable")]
    ranked = dict.fromkeys([*named, *map(int, by_support)])
    return sorted([*ranked][:MOST_CLASSES])
