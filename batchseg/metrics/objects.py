"""Objects: the connected components of a class, those of truth and prediction matched with each other.

Kirillov et al. 2019, "Panoptic Segmentation": two objects of one class match where their IoU is above 0.5,
which at most one can be. Pixels without truth are taken out of the predicted objects' areas before, and a
predicted object without a match that lies in such pixels for more than its half is no false positive.
PQ = sum of the matches' IoU / (matched + missed / 2 + false positives / 2).
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Any

import numpy as np
from numpy.typing import NDArray

from batchseg.metrics.class_sums import Scores, ratio
from batchseg.metrics.components import NONE, Components, overlaps

Places = NDArray[np.intp]
Numbers = NDArray[np.float64]

MATCH_IOU = 0.5
CONNECTIVITY = 8


class Outcome(str, Enum):
    """What became of an object where there is a truth."""

    MATCHED = "matched"
    MISSED = "missed"
    FALSE_POSITIVE = "false_positive"
    IGNORED = "ignored"


OUTCOMES = tuple(outcome.value for outcome in Outcome)


@dataclass(frozen=True, eq=False)
class ObjectSums:
    """Sums over objects by class, [..., C] each, which add over images.

    Attributes:
        iou: of the matches.
        matched, missed, false: matches, and objects of truth and of prediction without one.
    """

    iou: Numbers
    matched: NDArray[Any]
    missed: NDArray[Any]
    false: NDArray[Any]

    def scores(self) -> dict[str, Scores]:
        """PQ and recall of each class; NaN where it has no object to count."""
        return {
            "panoptic_quality": ratio(self.iou, self.matched + self.missed / 2 + self.false / 2),
            "recall": ratio(self.matched, self.matched + self.missed),
        }


@dataclass(frozen=True, eq=False)
class Fates:
    """What became of the objects of one side, [N] each.

    Attributes:
        outcomes: places in OUTCOMES.
        match: the matched object of the other side, or NONE.
        iou: the best with an object of the other side.
    """

    outcomes: Places
    match: Places
    iou: Numbers


@dataclass(frozen=True, eq=False)
class MatchedObjects:
    """Predicted objects held against those of the truth."""

    predicted: Fates
    truth: Fates
    sums: ObjectSums


def match_objects(predicted: Components, truth: Components, num_classes: int) -> MatchedObjects:
    """Match the objects of two label maps, of ids 0 .. C-1 and C for void."""
    shared = overlaps(predicted, truth, num_classes)
    ours, theirs = shared.ours, shared.theirs
    counted = predicted.areas - shared.outside
    iou = shared.pixels / (counted[ours] + truth.areas[theirs] - shared.pixels)
    matched = iou > MATCH_IOU
    sides = []
    for mine, other, components, alone in (
        (ours, theirs, predicted, Outcome.FALSE_POSITIVE),
        (theirs, ours, truth, Outcome.MISSED),
    ):
        match, best = np.full(components.count, NONE, np.intp), np.zeros(components.count)
        match[mine[matched]] = other[matched]
        np.maximum.at(best, mine, iou)
        outcomes = np.full(components.count, OUTCOMES.index(alone), np.intp)
        outcomes[match != NONE] = OUTCOMES.index(Outcome.MATCHED)
        sides.append(Fates(outcomes, match, best))
    in_void = (sides[0].match == NONE) & (shared.outside > predicted.areas * MATCH_IOU)
    sides[0].outcomes[in_void] = OUTCOMES.index(Outcome.IGNORED)
    return MatchedObjects(sides[0], sides[1], _sums_of(sides, predicted.classes, truth.classes, num_classes))


def _sums_of(sides: list[Fates], predicted: Places, truth: Places, num_classes: int) -> ObjectSums:
    def count(side: Fates, classes: Places, outcome: Outcome, weights: Numbers | None = None) -> NDArray[Any]:
        chosen = side.outcomes == OUTCOMES.index(outcome)
        values = None if weights is None else weights[chosen]
        return np.bincount(classes[chosen], weights=values, minlength=num_classes)

    return ObjectSums(
        iou=count(sides[1], truth, Outcome.MATCHED, sides[1].iou),
        matched=count(sides[1], truth, Outcome.MATCHED),
        missed=count(sides[1], truth, Outcome.MISSED),
        false=count(sides[0], predicted, Outcome.FALSE_POSITIVE),
    )
