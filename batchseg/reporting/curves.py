"""How a training went, as lines to be drawn: one for each training that a page is about, such as a fold."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from batchseg.results.learning import Learning, Row

LEFT, RIGHT, TOP, BOTTOM = 42, 348, 12, 144  # of a chart, in its own units
WIDTH, HEIGHT = 120, 24  # of the small line beside a class
_POINTS = 120  # of the lines of a class together, about

# of the history, what is drawn: its heading, and where the axis ends (None: at the highest value)
CURVES: dict[str, tuple[str, float | None]] = {
    "loss": ("Loss of the training images", None),
    "mean_iou": ("Mean IoU of the validation images", 1.0),
    "giou": ("gIoU of the validation images", 1.0),
    "learning_rate": ("Learning rate", None),
}

Points = list[tuple[int, float]]  # epoch, value


@dataclass(frozen=True)
class Training:
    """One training: `name` tells it from the others of a cross-validation."""

    name: str
    learning: Learning
    best_epoch: int | None

    @property
    def best_classes(self) -> dict[int, Row]:
        """Rows of `schema.CLASS_HISTORY` of its best epoch, by class."""
        return {row["class_id"]: row for row in self.learning.classes if row["epoch"] == self.best_epoch}


@dataclass(frozen=True)
class Line:
    """Points of a chart: `points` as SVG takes them, and where the best epoch and the end lie."""

    name: str
    points: str
    best: tuple[float, float] | None
    end: tuple[float, float]


@dataclass(frozen=True)
class Curve:
    """A chart of one figure over the epochs; its axis goes from 0 to `top`."""

    key: str
    title: str
    top: float
    first: int
    last: int
    lines: tuple[Line, ...]


@dataclass(frozen=True)
class LearntClass:
    """A class in the best epoch of each training.

    Attributes:
        iou: the mean of `ious`; None where no validation image shows the class.
        ious: of each training.
        highest: of all epochs, and the epoch; None of several trainings.
        pixels: in the truths of all trainings.
        lines: of its IoU from 0 to 1 over the epochs.
    """

    class_id: int
    name: str
    iou: float | None
    ious: tuple[float | None, ...]
    highest: tuple[float, int] | None
    pixels: int
    lines: tuple[str, ...]


def best_of(history: Sequence[Row]) -> int | None:
    """The epoch that would be taken: of the highest gIoU or mean IoU the first."""
    name = "giou" if any(row.get("giou") is not None for row in history) else "mean_iou"
    known = [row for row in history if row.get(name) is not None]
    return int(max(known, key=lambda row: float(row[name]))["epoch"]) if known else None


def curves_of(trainings: Sequence[Training]) -> list[Curve]:
    """Those that have something to show."""
    found = []
    for key, (title, top) in CURVES.items():
        points = {each.name: _points(each.learning.history, key) for each in trainings}
        points = {name: some for name, some in points.items() if some}
        if points:
            best = {each.name: each.best_epoch for each in trainings}
            found.append(_curve(key, title, top, points, best))
    return found


def classes_of(trainings: Sequence[Training]) -> list[LearntClass]:
    """The lowest IoU first, and last what no validation image shows."""
    names = {row["class_id"]: row["class_name"] for each in trainings for row in each.learning.classes}
    most = max(8, _POINTS // max(1, len(trainings)))
    by_class: dict[int, list[Points]] = {index: [] for index in names}
    for each in trainings:
        points: dict[int, Points] = {}
        for row in each.learning.classes:
            if row["iou"] is not None:
                points.setdefault(row["class_id"], []).append((row["epoch"], row["iou"]))
        for index, some in points.items():
            by_class[index].append(some)
    best = [each.best_classes for each in trainings]
    found = [_class(index, name, best, by_class[index], most) for index, name in names.items()]
    return sorted(found, key=lambda row: (row.iou is None, row.iou or 0.0, row.class_id))


def _class(
    index: int, name: str, best: Sequence[Mapping[int, Row]], points: Sequence[Points], most: int
) -> LearntClass:
    ious = tuple(each[index]["iou"] if index in each else None for each in best)
    known = [iou for iou in ious if iou is not None]
    highest = None
    if len(best) == 1 and points:
        epoch, iou = max(points[0], key=lambda point: point[1])
        highest = (iou, epoch)
    return LearntClass(
        class_id=index,
        name=name,
        iou=fmean(known) if known else None,
        ious=ious,
        highest=highest,
        pixels=sum(each[index]["truth_pixels"] for each in best if index in each),
        lines=tuple(_small(_thinned(some, most)) for some in points),
    )


def _points(history: Sequence[Row], key: str) -> Points:
    found = ((row["epoch"], row.get(key)) for row in history)
    return [(epoch, value) for epoch, value in found if value is not None and math.isfinite(value)]


def _curve(
    key: str, title: str, top: float | None, points: Mapping[str, Points], best: Mapping[str, Any]
) -> Curve:
    epochs = [epoch for some in points.values() for epoch, _ in some]
    first, last = min(epochs), max(epochs)
    top = top or max(value for some in points.values() for _, value in some) or 1.0

    def place(epoch: int, value: float) -> tuple[float, float]:
        x = LEFT + (RIGHT - LEFT) * (epoch - first) / max(1, last - first)
        return round(x, 2), round(BOTTOM - (BOTTOM - TOP) * value / top, 2)

    lines = []
    for name, some in points.items():
        at = [place(*point) for point in some]
        chosen = [place(*point) for point in some if point[0] == best[name]]
        lines.append(Line(name, _svg(at), chosen[0] if chosen else None, at[-1]))
    return Curve(key, title, top, first, last, tuple(lines))


def _small(points: Points) -> str:
    first, last = points[0][0], points[-1][0]
    return _svg(
        [
            (round(WIDTH * (epoch - first) / max(1, last - first), 1), round(HEIGHT * (1 - value), 1))
            for epoch, value in points
        ]
    )


def _svg(places: Sequence[tuple[float, float]]) -> str:
    return " ".join(f"{x:g},{y:g}" for x, y in places)


def _thinned(points: Points, most: int) -> Points:
    """Evenly, the first and the last among them."""
    if len(points) <= most:
        return points
    return [points[round(at * (len(points) - 1) / (most - 1))] for at in range(most)]
