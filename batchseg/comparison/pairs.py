"""Images by id or stem: those on both sides, those that came, and those that are gone."""

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
Flags = NDArray[np.bool_]

_EXTENSION = r"([^/.][^/]*)\.[^/.]*$"  # as os.path.splitext has it: dots at the beginning are none


@dataclass(frozen=True, eq=False)
class Pairs:
    """Images of both sides in the order of their ids, byte by byte; which makes resampling repeatable.

    Attributes:
        old, new: where each image stands on its side.
        by_stem: whether they are a pair because their ids differ in the extension alone.
        ambiguous: images of either side that share a stem with the other one, and not only with one image.
    """

    before: SideRows
    after: SideRows
    old: Places
    new: Places
    by_stem: Flags
    ambiguous: int = 0

    @classmethod
    def of(cls, before: SideRows, after: SideRows) -> Pairs:
        """By id, and what is left by stem: where masks are scored that lie there, a.jpg is called a.png."""
        old, new = _equal(before.ids, after.ids)
        more_old, more_new, ambiguous = _by_stem(before, after, _others(before, old), _others(after, new))
        by_stem = np.repeat([False, True], [len(old), len(more_old)])
        old, new = np.concatenate([old, more_old]), np.concatenate([new, more_new])
        order = np.asarray(pc.sort_indices(before.ids.take(pa.array(old))), np.intp)
        return cls(before, after, old[order], new[order], by_stem[order], ambiguous)

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
    def prompted(self) -> Flags:
        """Which of them have a prompt of their own on both sides, [N]."""
        return self.before.prompted[self.old] & self.after.prompted[self.new]

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
        """How many are another version of the image; a mask and its image have no version in common."""
        if self.before.of_masks != self.after.of_masks:
            return 0
        same_file = self._where(~self.by_stem)
        old, new = self.before.versions[same_file.old], self.after.versions[same_file.new]
        return int(np.count_nonzero(old != new))

    def _where(self, wanted: NDArray[np.bool_]) -> Pairs:
        return Pairs(self.before, self.after, self.old[wanted], self.new[wanted], self.by_stem[wanted])


def _equal(old: pa.Array, new: pa.Array) -> tuple[Places, Places]:
    """Where equal names stand on both sides."""
    found = pc.index_in(old, new)
    places = np.flatnonzero(found.is_valid())
    return places, found.take(pa.array(places)).to_numpy().astype(np.intp)


def _by_stem(before: SideRows, after: SideRows, old: Places, new: Places) -> tuple[Places, Places, int]:
    """Pairs among what is in no pair yet, `old` and `new`, and how many images of either are ambiguous."""
    if not (len(old) and len(new)):
        return old[:0], new[:0], 0
    stems = [pc.replace_substring_regex(side.ids, _EXTENSION, r"\1") for side in (before, after)]
    left = [names.take(pa.array(places)) for names, places in zip(stems, (old, new), strict=True)]
    shared = [np.asarray(pc.is_in(left[side], left[1 - side])) for side in (0, 1)]
    once, once_too = map(_once, stems)
    single = once.filter(pc.is_in(once, once_too))
    sure = [rows & np.asarray(pc.is_in(names, single)) for rows, names in zip(shared, left, strict=True)]
    ambiguous = sum(int(np.count_nonzero(each & ~its)) for each, its in zip(shared, sure, strict=True))
    at = _equal(*(names.filter(pa.array(rows)) for names, rows in zip(left, sure, strict=True)))
    return old[sure[0]][at[0]], new[sure[1]][at[1]], ambiguous


def _once(names: pa.Array) -> pa.Array:
    """The names that occur once."""
    counted = names.value_counts()
    return counted.field("values").filter(pc.equal(counted.field("counts"), 1))


def _others(side: SideRows, paired: Places) -> Places:
    return np.setdiff1d(np.arange(len(side)), paired)


def unpaired(side: SideRows, paired: Places) -> Places:
    """Where a side's other images stand, in the order of their ids."""
    places = _others(side, paired)
    return places[np.asarray(pc.sort_indices(side.ids.take(pa.array(places))), np.intp)]
