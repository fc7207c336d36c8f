"""What changed in the predictions themselves: it needs no ground truth."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from batchseg.comparison.differences import number
from batchseg.comparison.pairs import Pairs, unpaired
from batchseg.comparison.side_rows import CERTAINTY, SideRows
from batchseg.comparison.sparse_counts import AREA
from batchseg.metrics.class_sums import mean_of_known, ratio

NO_CLASS = "(none)"
GATED = ("both", "all")


@dataclass(frozen=True)
class Shift:
    """A figure before and after; None where it is unknown."""

    old: float | None
    new: float | None


@dataclass(frozen=True)
class Drift:
    """Two sets of images, by what was predicted in them.

    Attributes:
        old_images, new_images: those with a mask.
        distance: total variation between the two shares of predicted area: the least share of the area
            that must change its class to make them equal, 0 to 1.
        areas: each class's share of the predicted area; `(none)` is where masks abstain.
        certainty: means over the images of the columns of CERTAINTY.
    """

    old_images: int
    new_images: int
    distance: float | None
    areas: dict[str, Shift]
    certainty: dict[str, Shift]


@dataclass(frozen=True, eq=False)
class Predictions:
    """Predicted pixels of each class, [C+1], and float64 [N, 4] of certainty."""

    images: int
    areas: NDArray[np.int64]
    certainty: NDArray[np.float64]


def drifts(pairs: Pairs, names: Sequence[str]) -> dict[str, Drift]:
    """Three questions, three sets of images.

    both: the images on both sides, which shows what the model changed.
    all: everything on each side.
    came: what is new, against everything old, which shows what the images changed.
    """
    before, after = pairs.before, pairs.after
    old, new = _of_side(before, np.arange(len(before))), _of_side(after, np.arange(len(after)))
    return {
        "both": drift(*_of_both(pairs.segmented), names),
        "all": drift(old, new, names),
        "came": drift(old, _of_side(after, unpaired(after, pairs.new)), names),
    }


def drift(old: Predictions, new: Predictions, names: Sequence[str]) -> Drift:
    """How far two sets of predictions lie apart."""
    before, after = (ratio(side.areas, np.full(len(side.areas), side.areas.sum())) for side in (old, new))
    shown = [*names, *([NO_CLASS] if old.areas[-1] or new.areas[-1] else [])]
    return Drift(
        old_images=old.images,
        new_images=new.images,
        distance=number(float(np.abs(after - before).sum() / 2)),
        areas={name: Shift(number(before[at]), number(after[at])) for at, name in enumerate(shown)},
        certainty={
            name: Shift(mean_of_known(old.certainty[:, at]), mean_of_known(new.certainty[:, at]))
            for at, name in enumerate(CERTAINTY)
        },
    )


def _of_both(pairs: Pairs) -> tuple[Predictions, Predictions]:
    certainty = pairs.before.certainty[pairs.old], pairs.after.certainty[pairs.new]
    known = ~np.isnan(certainty[0]) & ~np.isnan(certainty[1])
    old, new = (
        Predictions(len(pairs), counts.total()[:, AREA], np.where(known, values, np.nan))
        for counts, values in zip(pairs.counts, certainty, strict=True)
    )
    return old, new


def _of_side(side: SideRows, places: NDArray[np.intp]) -> Predictions:
    images = int(np.count_nonzero(side.segmented[places]))
    return Predictions(images, side.counts.take(places).total()[:, AREA], side.certainty[places])
