"""What is decided at once: a picture, or a part of one, while what is said of it comes in."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import NDArray

from batchseg.images.raster import Area
from batchseg.segmentors.base import Prediction
from batchseg.segmentors.combined.decide import decide_whole
from batchseg.segmentors.combined.decision import Answer, Decision

if TYPE_CHECKING:
    from batchseg.segmentors.combined.sureness import Sureness


@dataclass(frozen=True)
class WindowGrid:
    """Windows over a rectangle, row by row.

    Attributes:
        tops, lefts: where the rows and columns of windows begin, which may lie beyond the picture.
        side: of each window, in pixels.
        blend: how a window's pixels are weighted: gaussian, or constant.
    """

    tops: Sequence[int]
    lefts: Sequence[int]
    side: int
    blend: str


class Canvas(Protocol):
    """A rectangle of a picture that waits for answers."""

    area: Area
    sureness: Sureness | None  # what the confidence is made of, where it adds up over parts

    @property
    def is_complete(self) -> bool: ...

    def add(self, window: int, answer: Answer) -> None:
        """What was said of a window. Raises ValueError where scores are no numbers."""
        ...

    def prediction(self) -> Prediction:
        """Once all is there."""
        ...


class Whole:
    """A picture whose only window is itself."""

    def __init__(
        self, area: Area, decision: Decision, looks: int = 1, nodata_HW: NDArray[np.bool_] | None = None
    ) -> None:
        self.area, self.decision, self.looks, self.nodata_HW = area, decision, looks, nodata_HW
        self.answers: list[Answer] = []
        self.sureness: Sureness | None = None

    @property
    def is_complete(self) -> bool:
        return len(self.answers) == self.looks

    def add(self, window: int, answer: Answer) -> None:
        self.answers.append(answer)

    def prediction(self) -> Prediction:
        return decide_whole(self.answers, (self.area.height, self.area.width), self.decision, self.nodata_HW)
