"""Which examples are drawn how often, and which class a crop shows: `sampling: balanced`.

Half of the draws of an epoch take every example alike. The other half takes every class alike: a class is
drawn, then one of the examples that show it, and the crop is laid over one of its pixels. That is
class-uniform sampling with its usual half (Zhu et al. 2019, Improving Semantic Segmentation via Video
Propagation and Label Relaxation); nnU-Net lays a third of its crops over the foreground. So each of C classes
is in one crop of 2C at least, however rare it is.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

CLASSES = "classes"  # the column that says which classes an example shows
BY_CLASS = 0.5  # of the draws


@dataclass(frozen=True)
class Balance:
    """How examples are drawn.

    Attributes:
        share_N: of all draws; their sum is 1.
        by_class_N: of the draws of an example, how many are for one of its classes.
        classes: that each example shows.
        rarity_C: 1 divided by how many examples show a class.
    """

    share_N: NDArray[np.float64]
    by_class_N: NDArray[np.float64]
    classes: list[NDArray[np.int64]]
    rarity_C: NDArray[np.float64]

    @classmethod
    def of(cls, rows: pa.Table) -> Balance | None:
        """By the column `classes`; None without one."""
        if CLASSES not in rows.column_names:
            return None
        classes = [np.array(some or [], np.int64) for some in rows[CLASSES].to_pylist()]
        counts_C = np.bincount(np.concatenate([*classes, np.empty(0, np.int64)]), minlength=1)
        rarity_C = np.divide(1.0, counts_C, where=counts_C > 0, out=np.zeros(len(counts_C)))
        there = max(1, int((counts_C > 0).sum()))
        for_classes_N = BY_CLASS / there * np.array([rarity_C[some].sum() for some in classes])
        share_N = for_classes_N + (1 - for_classes_N.sum()) / max(1, len(classes))
        return cls(share_N, for_classes_N / share_N, classes, rarity_C)

    def shown(self, seed: int, row: int) -> int | None:
        """Which class the crop of this index has to show; None: any."""
        rng, classes = np.random.default_rng([seed, 7]), self.classes[row]
        if not len(classes) or rng.random() >= self.by_class_N[row]:
            return None
        weights = self.rarity_C[classes]
        return int(rng.choice(classes, p=weights / weights.sum()))


def drawn(rng: np.random.Generator, share_N: NDArray[np.float64]) -> NDArray[np.int64]:
    """As many rows as there are, each as often as its share says, rounded up or down at random, shuffled."""
    count = len(share_N)
    ends_N = np.cumsum(share_N) * count
    places_N = np.searchsorted(ends_N, np.arange(count) + rng.random(), side="right")
    return rng.permutation(np.minimum(places_N, count - 1))
