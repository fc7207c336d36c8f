"""What a run has to do: which listed images have no mask, and which have no score."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from batchseg.results.ledger import Ledger
from batchseg.results.verdict import KEPT, Key, Places, Rows
from batchseg.source.names import Owners
from batchseg.source.plan import Listing, write_chosen
from batchseg.storage.keys import NULL, Keys, KeySet
from batchseg.storage.location import Location

DONE, SEGMENT, SCORE, RETRY = range(4)  # RETRY: segment what failed before


@dataclass
class Workload:
    """The listed images held against the ledger, [N] each.

    Attributes:
        todo: uint8, one of DONE, SEGMENT, SCORE and RETRY.
        at: each one's row in the ledger, or -1.
        unknown: nothing is known of the file, which may be gone.
        bare: the mask is there, and the probabilities that are to lie beside it are not.
        had: the name of the mask that each has had until now, as a key; NULL for none.
    """

    listing: Listing
    ledger: Ledger
    todo: NDArray[np.uint8]
    at: Places
    unknown: Rows
    had: Keys
    bare: Rows

    @classmethod
    def of(cls, listing: Listing, ledger: Ledger, key: Key, beside: KeySet | None = None) -> Workload:
        """Judge every listed image, one table at a time.

        Args:
            beside: the masks that have what is to lie beside each; None: nothing is.
        """
        todo, at, unknown = [np.empty(0, np.uint8)], [np.empty(0, np.intp)], [np.empty(0, bool)]
        bare = [np.empty(0, bool)]
        for table in listing.tables():
            verdict = ledger.judge(table, key)
            there = np.where(verdict.scored, DONE, SCORE)
            lacking = np.zeros(len(table), bool)
            if beside is not None:
                lacking = verdict.segmented & ~beside.contains(ledger.mask_keys(verdict.at))
            segmented = verdict.segmented & ~lacking
            what = np.where(segmented, there, np.where(verdict.failed, RETRY, SEGMENT))
            todo.append(np.where(verdict.acknowledged & ~lacking, DONE, what))
            bare.append(lacking)
            at.append(verdict.at)
            unknown.append(table["source_version"].is_null().to_numpy())
        joined = np.concatenate(todo).astype(np.uint8), np.concatenate(at), np.concatenate(unknown)
        return cls(listing, ledger, *joined, ledger.mask_keys(joined[1]), np.concatenate(bare))

    def vanished(self) -> tuple[int, int]:
        """Listed images that have masks: those whose file nothing is known of, and all."""
        segmented = (self.at >= 0) & self.ledger.rows["ok"][self.at] if len(self.ledger) else self.at >= 0
        return int((segmented & self.unknown).sum()), int(segmented.sum())

    def count(self, *what: int) -> int:
        """How many images there is this to do for."""
        return int(np.isin(self.todo, what).sum())

    def replaced(self) -> Rows:
        """The ledger's rows whose image is segmented anew."""
        rows = np.zeros(len(self.ledger), bool)
        rows[self.at[np.isin(self.todo, (SEGMENT, RETRY)) & (self.at >= 0)]] = True
        return rows

    def drop(self, rows: Rows) -> int:
        """Take rows out of the ledger, before any work begins; how many. Raises OutputError."""
        moved = np.where(rows, -1, np.cumsum(~rows) - 1)
        self.at = np.where(self.at >= 0, moved[self.at] if len(moved) else -1, -1)
        return self.ledger.drop(rows)

    @property
    def fresh(self) -> int:
        """Images to segment that did not fail before; they come first."""
        return self.count(SEGMENT)

    def to_segment(self, folder: Location) -> Listing:
        """The images without a mask, with the names of their masks settled.

        Those that failed before come last: where they fail again, all others are done by then.
        """
        names = self.had[np.isin(self.todo, (SEGMENT, RETRY)) & (self.had != NULL)]
        owners = Owners(
            self.listing.shared_masks, self.ledger.owners, self.listing.masks, claimed=KeySet([names])
        )
        found = chain(self._rows(SEGMENT), self._rows(RETRY))
        settled = (owners.settle(table, self.had[rows]) for table, rows in found)
        chosen = write_chosen(settled, folder / "segment.arrow")
        chosen.full_names = owners.full_names
        return chosen

    def not_done(self, folder: Location) -> Listing:
        """All images that there is something to do for, where the masks are the source."""
        return write_chosen(self._chosen(SEGMENT, SCORE, RETRY), folder / "score.arrow")

    def to_score(self, folder: Location) -> Listing:
        """The images whose mask is there, with all that is known of it in `_kept`."""
        kept = self.ledger.values(self.at[self.todo == SCORE], KEPT)
        return write_chosen(self._with_kept(kept), folder / "score.arrow")

    def _with_kept(self, kept: pa.Table) -> Iterator[pa.Table]:
        first = 0
        for table in self._chosen(SCORE):
            yield table.append_column("_kept", as_structs(kept.slice(first, len(table))))
            first += len(table)

    def _chosen(self, *what: int) -> Iterator[pa.Table]:
        return (table for table, _ in self._rows(*what))

    def _rows(self, *what: int) -> Iterator[tuple[pa.Table, Places]]:
        """What there is this to do for, with its places in the listing."""
        first = 0
        for table in self.listing.tables():
            rows = np.flatnonzero(np.isin(self.todo[first : first + len(table)], what))
            if len(rows):
                yield table.take(pa.array(rows)), first + rows
            first += len(table)


def as_structs(kept: pa.Table) -> pa.StructArray:
    """The columns KEPT as one."""
    return pa.StructArray.from_arrays([kept[name].combine_chunks() for name in KEPT], names=[*KEPT])
