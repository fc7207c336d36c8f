"""How a figure between 0 and 1 is distributed over the images."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

FINE = 1000  # bins that are counted; several of them make one that is shown
_WIDTHS = (1, 2, 5, 10, 20, 50)  # of what is shown, in fine bins
_SHOWN = 20


@dataclass
class Histogram:
    """Images by a figure from 0 to 1 in equal bins; the last holds 1 as well.

    Attributes:
        counts: int64 [FINE].
        total: sum of the figures.
    """

    column: str
    counts: NDArray[np.int64] = field(default_factory=lambda: np.zeros(FINE, np.int64))
    total: float = 0.0

    def add(self, images: pa.Table) -> None:
        values = images[self.column].drop_null().to_numpy()
        places = np.clip((values * FINE).astype(np.int64), 0, FINE - 1)
        self.counts += np.bincount(places, minlength=FINE)
        self.total += float(values.sum())

    @property
    def images(self) -> int:
        return int(self.counts.sum())

    @property
    def mean(self) -> float | None:
        return self.total / self.images if self.images else None

    @property
    def width(self) -> int:
        """Fine bins in each that is shown: as few as leave at most twenty between the extremes."""
        first, last = self._extremes
        return next(each for each in _WIDTHS if last // each - first // each < _SHOWN)

    @property
    def bins(self) -> list[tuple[int, float, float, int]]:
        """What is shown: number, from where to where, and images."""
        width = self.width
        first, last = (place // width for place in self._extremes)
        counts = np.add.reduceat(self.counts, range(first * width, (last + 1) * width, width)).tolist()
        counts[-1] = int(self.counts[last * width : (last + 1) * width].sum())  # reduceat runs to the end
        numbers = range(first, last + 1)
        edges = [(at * width / FINE, (at + 1) * width / FINE) for at in numbers]
        return [(at, *edge, each) for at, edge, each in zip(numbers, edges, counts, strict=True)]

    @property
    def _extremes(self) -> tuple[int, int]:
        found = np.flatnonzero(self.counts)
        return (int(found[0]), int(found[-1])) if len(found) else (0, FINE - 1)
