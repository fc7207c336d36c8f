"""Three sums a class, and every figure that follows from them.

The definitions stand here once, for an image, a data set, or a thousand resampled data sets: the sums may
have any leading dimensions.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from batchseg.config.base import METRICS

Numbers = NDArray[Any]
Scores = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class ClassSums:
    """Pixels with truth of each class, [..., C] each: predicted rightly, true, and predicted."""

    correct: Numbers
    support: Numbers
    predicted: Numbers

    def scores(self) -> dict[str, Scores]:
        """Precision, recall, F1 and IoU of each class, [..., C] each; NaN where a figure is 0 / 0."""
        either = self.support + self.predicted
        return {
            "precision": ratio(self.correct, self.predicted),
            "recall": ratio(self.correct, self.support),
            "f1": ratio(2 * self.correct, either),
            "iou": ratio(self.correct, either - self.correct),
        }

    def averages(self) -> dict[str, Scores]:
        """The figures of `config.METRICS`, [...] each; NaN without truth.

        Macro means run over the classes in truth or prediction, where 0 / 0 counts as 0.
        """
        scores = {name: np.nan_to_num(values) for name, values in self.scores().items()}
        truth_pixels = self.support.sum(axis=-1)
        present = np.count_nonzero(self.support + self.predicted, axis=-1)
        figures = {
            "accuracy": ratio(self.correct.sum(axis=-1), truth_pixels),
            "recall_weighted": ratio((scores["recall"] * self.support).sum(axis=-1), truth_pixels),
            "f1_weighted": ratio((scores["f1"] * self.support).sum(axis=-1), truth_pixels),
            "recall_macro": ratio(scores["recall"].sum(axis=-1), present),
            "f1_macro": ratio(scores["f1"].sum(axis=-1), present),
            "precision_macro": ratio(scores["precision"].sum(axis=-1), present),
            "mean_iou": ratio(scores["iou"].sum(axis=-1), present),
        }
        return {name: figures[name] for name in METRICS}


def mean_of_known(values: Scores) -> float | None:
    """Of those that are not NaN; None where all are."""
    known = values[~np.isnan(values)]
    return float(known.mean()) if len(known) else None


def ratio(part: Numbers, whole: Numbers) -> Scores:
    """part / whole, and NaN where the whole is 0."""
    quotient = np.full(np.shape(whole), np.nan)
    np.divide(part, whole, out=quotient, where=np.greater(whole, 0))
    return quotient
