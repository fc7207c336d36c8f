"""What has come out of a run so far."""

from __future__ import annotations

import heapq
from collections import Counter
from dataclasses import dataclass, field
from time import monotonic

import pyarrow as pa
import pyarrow.compute as pc

from batchseg.schema import Status

WORST = 5
TO_TELL = 6  # parts within the steady state: a single one may be many images that came at once
EDGE = 0.1  # of the images at either end: there models load, or not every worker has something left to do


@dataclass(frozen=True, slots=True)
class Stretch:
    """What came out in some time: seconds that passed, images, and seconds a stage over all workers."""

    elapsed_s: float
    images: int
    seconds: Counter[str]


@dataclass
class Tally:
    """What has come out of a run so far."""

    total: int
    started: float = field(default_factory=monotonic)
    statuses: Counter[str] = field(default_factory=Counter)
    seconds: Counter[str] = field(default_factory=Counter)
    precision: str | None = None
    worst: list[tuple[float, str]] = field(default_factory=list)
    faults: dict[str, str] = field(default_factory=dict)
    first_row_s: float | None = None
    marks: list[Stretch] = field(default_factory=list)

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
        self._keep_faults(rows.filter(pc.not_equal(rows["status"], Status.OK.value)))
        for spent in rows["_seconds"].to_pylist():
            self.seconds.update(dict(spent))
        self._mark()
        known = rows["_precision"].drop_null()
        if self.precision is None and len(known):
            self.precision = known[0].as_py()
        for score, name in zip(rows["mean_iou"].to_pylist(), rows["id"].to_pylist(), strict=True):
            if score is not None:
                self.worst.append((score, name))
        self.worst = heapq.nsmallest(WORST, self.worst)

    def _keep_faults(self, failed: pa.Table) -> None:
        """The first of each status: thousands are often one mistake."""
        for row in failed.select(["status", "id", "error"]).to_pylist():
            self.faults.setdefault(row["status"], f"{row['id']}: {row['error']}")

    def _mark(self) -> None:
        """One for each hundredth of the images, so that a long run keeps a hundred."""
        last = self.marks[-1].images if self.marks else 0
        if self.done * 100 // self.total > last * 100 // self.total:
            self.marks.append(Stretch(self.elapsed_s, self.done, self.seconds.copy()))

    def steady(self) -> Stretch | None:
        """From the first to the last tenth of the images; None where they came in too few parts to tell."""
        inner = [mark for mark in self.marks if EDGE <= mark.images / self.total <= 1 - EDGE]
        if len(inner) < TO_TELL or inner[-1].elapsed_s <= inner[0].elapsed_s:
            return None
        first, last = inner[0], inner[-1]
        return Stretch(
            last.elapsed_s - first.elapsed_s, last.images - first.images, last.seconds - first.seconds
        )
