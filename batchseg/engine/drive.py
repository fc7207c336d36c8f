"""Drive a dataset of result rows to its end: count, commit now and then, tell how far it is."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from math import inf
from time import monotonic
from typing import Any

import pyarrow as pa

from batchseg.errors import BatchsegError
from batchseg.results.folder import Results
from batchseg.results.tally import Tally

COMMIT_S = 5.0
COMMIT_SHARE = 0.01  # a kill loses at most this share of the run, and a long run writes few parts
COMMIT_ROWS = 4096


def drive(
    dataset: Any, results: Results, run_id: str, tally: Tally, on_progress: Callable[[Tally], None]
) -> None:
    """Take every row; whatever ends the run, the rows that were finished are committed first.

    An interrupt may come between any two steps: rows are held before anything else is done with them, and
    what the tally says at the end is what was committed.

    Raises BatchsegError for what a worker raised on purpose, and Ray's own errors else.
    """
    parts = Parts(results, run_id, tally)
    try:
        with unwrapped_errors():
            for rows in dataset.iter_batches(batch_size=None, batch_format="pyarrow", prefetch_batches=0):
                parts.waiting.append(rows)
                tally.add(rows)
                parts.commit_if_due()
                on_progress(tally)
    finally:
        try:
            parts.commit()
        finally:
            tally.statuses = parts.committed


class Parts:
    """Rows on their way into parts of growing size."""

    def __init__(self, results: Results, run_id: str, tally: Tally) -> None:
        self.results, self.run_id, self.tally = results, run_id, tally
        self.waiting: list[pa.Table] = []
        self.committed: Counter[str] = Counter()  # rows by status
        self.last = -inf  # the first rows are committed at once: what cannot be written shows early
        self.count = 0

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


@contextmanager
def unwrapped_errors() -> Iterator[None]:
    """Ray wraps what a worker raises, once a layer; what was raised on purpose comes out as it was."""
    try:
        yield
    except Exception as exc:
        ours = _ours_within(exc)
        if ours is None or ours is exc:
            raise
        raise ours from exc


def _ours_within(exc: BaseException | None) -> BatchsegError | None:
    seen: set[int] = set()
    while exc is not None and id(exc) not in seen:
        seen.add(id(exc))
        # Ray's wrapper also inherits from the class of what it wraps, and has that in `cause`
        wrapped = getattr(exc, "cause", None)
        if isinstance(exc, BatchsegError) and wrapped is None:
            return exc
        exc = wrapped or exc.__cause__ or exc.__context__
    return None
