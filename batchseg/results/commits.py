"""Rows on their way into the tables: held as they come in, and committed now and then."""

from __future__ import annotations

from collections import Counter
from math import inf
from time import monotonic

import pyarrow as pa

from batchseg.results.folder import Results
from batchseg.results.tally import Tally

COMMIT_S = 5.0
COMMIT_SHARE = 0.01  # a kill loses at most this share of the run, and a long run writes few parts
COMMIT_ROWS = 4096


class Commits:
    """Rows on their way into parts of growing size."""

    def __init__(self, results: Results, run_id: str, tally: Tally) -> None:
        self.results, self.run_id, self.tally = results, run_id, tally
        self.waiting: list[pa.Table] = []
        self.committed: Counter[str] = Counter()  # rows by status
        self.last = -inf  # the first rows are committed at once: what cannot be written shows early
        self.count = 0

    def take(self, rows: pa.Table) -> None:
        """Hold rows, and commit what waits when it is time."""
        self.waiting.append(rows)
        self.tally.add(rows)
        self.commit_if_due()

    def close(self) -> None:
        """Commit what waits; the tally then says what was committed."""
        try:
            self.commit()
        finally:
            self.tally.statuses = self.committed

    def commit_if_due(self) -> None:
        due = max(COMMIT_S, COMMIT_SHARE * self.tally.elapsed_s)
        if monotonic() - self.last >= due or sum(map(len, self.waiting)) >= COMMIT_ROWS:
            self.commit()

    def commit(self) -> None:
        """Interrupted, it may be called again: the same rows go into the same part."""
        if self.waiting:
            rows = pa.concat_tables(self.waiting)
            self.results.commit(f"{self.run_id}-{self.count:05d}.parquet", rows)
            committed = self.committed + Counter(rows["status"].to_pylist())
            # no interrupt comes between these
            self.committed, self.waiting, self.count = committed, [], self.count + 1
        self.last = monotonic()
