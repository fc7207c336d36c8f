"""Images by id: those on both sides, those that came, and those that are gone."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from batchseg.comparison.side_rows import SideRows
from batchseg.comparison.sparse_counts import SparseCounts

Places = NDArray[np.intp]


@dataclass(frozen=True, eq=False)
class Pairs:
    """Images of both sides in the order of their ids, byte by byte; which makes resampling repeatable.

    Attributes:
        old, new: where each image stands on its side.
    """

    before: SideRows
    after: SideRows
    old: Places
    new: Places

    @classmethod
    def by_id(cls, before: SideRows, after: SideRows) -> Pairs:
        found = pc.index_in(before.ids, after.ids)
        old = np.flatnonzero(found.is_valid())
        order = np.asarray(pc.sort_indices(before.ids.take(pa.array(old))), np.intp)
        old = old[order]
        return cls(before, after, old, found.take(pa.array(old)).to_numpy().astype(np.intp))

    def __len__(self) -> int:
        return len(self.old)

    @cached_property
    def counts(self) -> tuple[SparseCounts, SparseCounts]:
        """What was counted in them, before and after."""
        return self.before.counts.take(self.old), self.after.counts.take(self.new)

    @cached_property
    def segmented(self) -> Pairs:
        """Those with a mask on both sides."""
        return self._where(self.before.segmented[self.old] & self.after.segmented[self.new])

    @cached_property
    def scored(self) -> Pairs:
        """Those with ground truth on both sides."""
        return self._where(self.before.scored[self.old] & self.after.scored[self.new])

    @property
    def lost(self) -> Pairs:
        """Those that were ok and are no longer."""
        return self._where(self.before.ok[self.old] & ~self.after.ok[self.new])

    @property
    def recovered(self) -> Pairs:
        """Those that are ok and were not."""
        return self._where(~self.before.ok[self.old] & self.after.ok[self.new])

    @property
    def changed(self) -> int:
        """How many are another version of the image."""
        return int(np.count_nonzero(self.before.versions[self.old] != self.after.versions[self.new]))

    def _where(self, wanted: NDArray[np.bool_]) -> Pairs:
        return Pairs(self.before, self.after, self.old[wanted], self.new[wanted])


def unpaired(side: SideRows, paired: Places) -> Places:
    """Where a side's other images stand, in the order of their ids."""
    places = np.setdiff1d(np.arange(len(side)), paired)
    return places[np.asarray(pc.sort_indices(side.ids.take(pa.array(places))), np.intp)]
