"""Rows on their way into the tables: held as they come in, and committed now and then."""

from __future__ import annotations

from collections import Counter
from math import inf
from time import monotonic

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from batchseg.results.folder import Held
from batchseg.results.tally import Tally, kinds

COMMIT_S = 5.0
COMMIT_SHARE = 0.01  # a kill loses at most this share of the run, and a long run writes fewer parts
COMMIT_MOST_S = 30.0
COMMIT_ROWS = 4096


class Commits:
    """Rows on their way into parts of growing size.

    Attributes:
        told: whether each row of the plan has come in: a worker that Ray started anew tells of images twice.
    """

    def __init__(self, held: Held, run_id: str, tally: Tally) -> None:
        self.held, self.run_id, self.tally = held, run_id, tally
        self.waiting: list[pa.Table] = []
        self.committed: Counter[str] = Counter()  # rows by what became of them
        self.told = np.zeros(tally.total, bool)
        self.last = -inf  # the first rows are committed at once: what cannot be written shows early
        self.count = 0

    def take(self, rows: pa.Table) -> None:
        """Hold rows, and commit what waits when it is time. Raises BatchsegError where all fail alike."""
        rows = self._new(rows.filter(pc.invert(rows["_left_over"])))
        if len(rows):
            self.waiting.append(rows)
            self.tally.add(rows)
            self.commit_if_due()
            self.tally.stop_if_all_fail_alike()

    def untold(self, first: int, end: int) -> NDArray[np.intp]:
        """The numbers of the rows from `first` to `end` that have not come in: their worker ran out of time
        before them, or Ray lost them."""
        return first + np.flatnonzero(~self.told[first:end])

    def _new(self, rows: pa.Table) -> pa.Table:
        numbers, first = np.unique(rows["_row"].to_numpy(), return_index=True)
        new = np.sort(first[~self.told[numbers]])
        self.told[numbers] = True
        return rows if len(new) == len(rows) else rows.take(pa.array(new))

    def close(self) -> None:
        """Commit what waits; the tally then says what was committed."""
        try:
            self.commit()
        except KeyboardInterrupt:  # somewhere between the tables and what is known of them
            self.commit()
            raise
        finally:
            self.tally.statuses = self.committed.copy()

    def commit_if_due(self) -> None:
        due = min(max(COMMIT_S, COMMIT_SHARE * self.tally.elapsed_s), COMMIT_MOST_S)
        if monotonic() - self.last >= due or sum(map(len, self.waiting)) >= COMMIT_ROWS:
            self.commit()

    def commit(self) -> None:
        """Interrupted, it may be called again: the same rows go into the same part."""
        if self.waiting:
            rows = pa.concat_tables(self.waiting)
            self.held.commit(f"{self.run_id}-{self.count:05d}.parquet", rows)
            committed = self.committed + Counter(kinds(rows))
            # no interrupt comes between these
            self.committed, self.waiting, self.count = committed, [], self.count + 1
        self.last = monotonic()
