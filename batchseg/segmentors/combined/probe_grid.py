"""Which pixels of a picture are probes: the middles of 64 x 64 cells, whatever parts it is computed in."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from batchseg.images.raster import Area
from batchseg.segmentors.base import Probes

PROBES_A_SIDE = 64
Places = NDArray[np.intp]


@dataclass(frozen=True, eq=False)
class ProbeGrid:
    """The probes of a picture that lie in a rectangle of it.

    Attributes:
        area: the rectangle, in pixels of the picture.
        row_R, column_K: in pixels of the picture, ascending; each row crosses each column in a probe.
    """

    area: Area
    row_R: Places
    column_K: Places

    @classmethod
    def of(cls, picture_hw: tuple[int, int], area: Area | None = None) -> ProbeGrid:
        """In a rectangle, or in all of a picture."""
        whole = Area(0, 0, *picture_hw)
        return cls(whole, *map(_middles, picture_hw)).within(area or whole)

    def within(self, area: Area) -> ProbeGrid:
        """Those in a smaller rectangle."""
        rows, columns = self.slices(area)
        return ProbeGrid(area, self.row_R[rows], self.column_K[columns])

    def slices(self, area: Area) -> tuple[slice, slice]:
        """Which of the rows and of the columns lie in a smaller rectangle."""
        rows = np.searchsorted(self.row_R, [area.top, area.top + area.height])
        columns = np.searchsorted(self.column_K, [area.left, area.left + area.width])
        return slice(*rows.tolist()), slice(*columns.tolist())

    @property
    def shape(self) -> tuple[int, int]:
        return len(self.row_R), len(self.column_K)

    @property
    def inside(self) -> tuple[Places, Places]:
        """The rows and the columns, in pixels of the rectangle."""
        return self.row_R - self.area.top, self.column_K - self.area.left

    def probes(self, p_CRK: NDArray[Any]) -> Probes:
        """With the probabilities of all of them."""
        row_R, column_K = self.inside
        return Probes(
            row_R.repeat(len(column_K)),
            np.tile(column_K, len(row_R)),
            np.ascontiguousarray(p_CRK, np.float32).reshape(len(p_CRK), -1),
        )


def _middles(length: int) -> Places:
    """The middle pixels of up to 64 equal stretches of a side; of a shorter side all pixels."""
    count = min(length, PROBES_A_SIDE)
    return (2 * np.arange(count, dtype=np.intp) + 1) * length // (2 * count)
