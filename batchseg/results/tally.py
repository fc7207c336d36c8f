"""What has come out of a run so far."""

from __future__ import annotations

import heapq
from collections import Counter
from dataclasses import dataclass, field
from time import monotonic

import pyarrow as pa

from batchseg.schema import Status

WORST = 5


@dataclass
class Tally:
    """What has come out of a run so far."""

    total: int
    started: float = field(default_factory=monotonic)
    statuses: Counter[str] = field(default_factory=Counter)
    seconds: Counter[str] = field(default_factory=Counter)
    precision: str | None = None
    worst: list[tuple[float, str]] = field(default_factory=list)
    first_row_s: float | None = None

    @property
    def done(self) -> int:
        return self.statuses.total()

    @property
    def failed(self) -> int:
        return self.done - self.statuses[Status.OK.value]

    @property
    def elapsed_s(self) -> float:
        return monotonic() - self.started

    def add(self, rows: pa.Table) -> None:
        if self.first_row_s is None:
            self.first_row_s = self.elapsed_s
        self.statuses.update(rows["status"].to_pylist())
        for spent in rows["_seconds"].to_pylist():
            self.seconds.update(dict(spent))
        known = rows["_precision"].drop_null()
        if self.precision is None and len(known):
            self.precision = known[0].as_py()
        for score, name in zip(rows["mean_iou"].to_pylist(), rows["id"].to_pylist(), strict=True):
            if score is not None:
                self.worst.append((score, name))
        self.worst = heapq.nsmallest(WORST, self.worst)
