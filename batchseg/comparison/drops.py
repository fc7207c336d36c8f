"""The gates of a comparison: one sentence for each that failed, with the classes that are to blame."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping

from batchseg.comparison.differences import Differences
from batchseg.comparison.drift import GATED, Drift
from batchseg.config.base import gated_class
from batchseg.config.compare import Comparison

# which figure of a class shows why a metric of the data set fell
CLASS_FIGURE = {
    "accuracy": "recall",
    "recall_weighted": "recall",
    "recall_macro": "recall",
    "f1_weighted": "f1",
    "f1_macro": "f1",
    "precision_macro": "precision",
    "mean_iou": "iou",
    "giou": "iou",
    "ciou": "iou",
    "no_target_accuracy": "precision",
}
NAMED = 5
_SLACK = 1e-12  # 0.8 - 0.7 is a hair above 0.1, and a drop of exactly what is allowed is allowed


def failed_gates(config: Comparison, found: Differences, drift: Mapping[str, Drift]) -> list[str]:
    """A sentence for every gate that failed, in the order of the configuration."""
    return [
        *(s for name, most in config.max_drop.items() for s in _metric(name, most, found)),
        *(
            s
            for name, most in config.max_class_drop.items()
            for s in _classes(name, most, found, config.max_class_drop)
        ),
        *([] if config.max_drift is None else _drift(config.max_drift, drift)),
    ]


def _metric(name: str, most: float, found: Differences) -> Iterator[str]:
    change = found.metrics.get(name)
    if change is None:
        why = "no image has a prompt and ground truth on both sides"
        yield f"{name} cannot be compared: {why}; its max_drop is {most:g}"
    elif change.old is None or change.new is None:
        yield f"{name} cannot be compared: no image has ground truth on both sides; its max_drop is {most:g}"
    elif change.old - change.new > most + _SLACK:
        figure = CLASS_FIGURE[name]
        fallen = _fallen(figure, found, 0)
        blame = f"classes whose {figure} fell: {_listed(fallen)}" if fallen else f"no class's {figure} fell"
        yield f"{name} fell from {change.old:.4f} to {change.new:.4f}; its max_drop is {most:g}; {blame}"


def _classes(gate: str, most: float, found: Differences, own: Collection[str]) -> Iterator[str]:
    """`own` are the gates of single classes: what one of them judges, the gate of all classes does not."""
    figure, name = gated_class(gate)
    if name is not None:
        yield from _one_class(figure, name, most, found)
        return
    judged = {each: scores for each, scores in found.classes.items() if f"{figure}.{each}" not in own}
    known = [scores for scores in judged.values() if scores[figure].difference is not None]
    fallen = [each for each in _fallen(figure, found, most) if each[0] in judged]
    if judged and not known:
        yield f"{figure} of the classes cannot be compared: no image has ground truth on both sides"
    elif fallen:
        yield f"{figure} fell by more than its max_class_drop of {most:g} in {_listed(fallen)}"


def _one_class(figure: str, name: str, most: float, found: Differences) -> Iterator[str]:
    change = found.classes[name][figure]
    if change.old is None or change.new is None:
        yield (
            f"{figure} of {name} cannot be compared: one side has no such figure in the images of both; its "
            f"max_class_drop is {most:g}"
        )
    elif change.old - change.new > most + _SLACK:
        yield (
            f"{figure} of {name} fell from {change.old:.4f} to {change.new:.4f}; "
            f"its max_class_drop is {most:g}"
        )


def _drift(most: float, drift: Mapping[str, Drift]) -> Iterator[str]:
    worst = max((drift[name] for name in GATED), key=lambda each: each.distance or 0)
    if worst.distance is None:
        yield f"the drift is unknown: one side has no masks; max_drift is {most:g}"
    elif worst.distance > most + _SLACK:
        images = "the images of both" if worst is drift["both"] else "all images"
        shifts = sorted(worst.areas.items(), key=lambda item: -abs((item[1].new or 0) - (item[1].old or 0)))
        moved = _listed(
            (name, shift.old or 0, shift.new or 0) for name, shift in shifts if shift.old != shift.new
        )
        yield (
            f"the predicted areas of {images} drifted by {worst.distance:.4f}; max_drift is {most:g}; "
            f"shares of the area: {moved}"
        )


def _fallen(figure: str, found: Differences, most: float) -> list[tuple[str, float, float]]:
    """The classes that fell by more than `most`, the deepest fall first."""
    fallen = [
        (name, change.old, change.new)
        for name, change in ((name, scores[figure]) for name, scores in found.classes.items())
        if change.old is not None and change.new is not None and change.old - change.new > most + _SLACK
    ]
    return sorted(fallen, key=lambda item: item[2] - item[1])


def _listed(rows: Iterable[tuple[str, float, float]]) -> str:
    texts = [f"{name} {old:.4f} -> {new:.4f}" for name, old, new in rows]
    more = f" and {len(texts) - NAMED} more" if len(texts) > NAMED else ""
    return ", ".join(texts[:NAMED]) + more
