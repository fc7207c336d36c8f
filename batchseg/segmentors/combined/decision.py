"""What turns scores into a label map, in plain values that travel to the workers."""

from __future__ import annotations

from dataclasses import dataclass

from batchseg.segmentors.base import Scores


@dataclass(frozen=True)
class Decision:
    """What turns scores into a label map.

    Attributes:
        classes: of the label map.
        groups: for each member, the class of the label map that each of its own classes belongs to; None: the
            same. Probabilities of classes that become one add up.
        weights: of the members, which sum to one.
        factors: of each class's probability before the highest is taken; None: all 1.
        none_below: pixels whose best class is less probable have none; None: all have one.
    """

    classes: int
    groups: tuple[tuple[int, ...] | None, ...] = (None,)
    weights: tuple[float, ...] = (1.0,)
    factors: tuple[float, ...] | None = None
    none_below: float | None = None


@dataclass(frozen=True, slots=True)
class Answer:
    """What one member said of a window, which it saw mirrored by `flip`: h, v, hv, or not at all.

    `look` is its number among the answers to the window, by which they are ordered: a sum of floating-point
    numbers depends on the order.
    """

    scores: Scores
    member: int = 0
    flip: str = ""
    look: int = 0
