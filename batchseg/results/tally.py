"""What has come out of a run so far."""

from __future__ import annotations

import re
from collections import Counter, deque
from dataclasses import dataclass, field
from time import monotonic
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from batchseg.errors import BatchsegError
from batchseg.schema import TRUTH_FAULTS, Status, TruthStatus

TO_TELL = 6  # parts within the steady state: a single one may be many images that came at once
_NUMBER = re.compile(r"\d+")
WINDOW_S = 60.0  # of which the rate is told: what an image costs now, not what it cost at the start
SAMPLE_S = 1.0
EDGE = 0.1  # of the images at either end: there models load, or not every worker has something left to do


@dataclass(frozen=True, slots=True)
class Stretch:
    """What came out in some time: seconds that passed, images, and seconds a stage over all workers."""

    elapsed_s: float
    images: int
    seconds: Counter[str]


def kinds(rows: pa.Table) -> list[str]:
    """What became of each row, by one word: `ok`, the status of the image, or `truth_` and that of the truth.

    Whatever is not `ok` counts as failed.
    """
    pairs = zip(rows["status"].to_pylist(), rows["truth_status"].to_pylist(), strict=True)
    return [
        TruthStatus(truth).kind if truth in TRUTH_FAULTS and status == Status.OK else status
        for status, truth in pairs
    ]


@dataclass
class PartsTally:
    """How far the parts of rasters are.

    Attributes:
        total: that this run computes.
        kept: from an earlier run that was cut off.
        busy_s: seconds that workers spent on those that are done.
        first_s, last_s: when the first of them was begun and the last one done, since the run's start.
    """

    total: int
    kept: int
    done: int = 0
    actors: int = 1
    busy_s: float = 0.0
    first_s: float | None = None
    last_s: float = 0.0

    def add(self, spent_s: float, now_s: float) -> None:
        """A part that is done now."""
        self.done, self.busy_s, self.last_s = self.done + 1, self.busy_s + spent_s, now_s
        begun_s = max(0.0, now_s - spent_s)
        self.first_s = begun_s if self.first_s is None else min(begun_s, self.first_s)

    @property
    def is_under_way(self) -> bool:
        """Whether some are left to compute."""
        return self.done < self.total

    @property
    def beside(self) -> str:
        """What there is beside the images that are finished, in words; nothing once all are computed."""
        return f" and {self.kept + self.done:,} parts of others" if self.is_under_way else ""

    @property
    def left_s(self) -> float | None:
        """How long the rest takes, at the speed there has been."""
        took_s = self.last_s - (self.first_s or 0.0)
        return took_s / self.done * (self.total - self.done) if self.done else None

    @property
    def facts(self) -> dict[str, float | None]:
        """For the record; `utilisation` is the share of the actors' time in which they worked on parts."""
        took_s = self.last_s - (self.first_s or 0.0)
        busy = self.busy_s / (took_s * self.actors) if self.done and took_s > 0 else None
        return {
            "computed": self.done,
            "kept": self.kept,
            "elapsed_s": round(took_s, 3) if self.done else None,
            "utilisation": None if busy is None else round(min(1.0, busy), 3),
        }


@dataclass
class Tally:
    """What has come out of a run so far.

    Attributes:
        total: images that the run segments or scores.
        stop_after: so many images at the beginning that all fail alike end the run; 0: never.
        work: what is done, to how many images: segmenting, scoring.
        fresh: rows of the plan, from its first on, that are counted for it: not what failed before.
        segmented: images that went through the model.
        scored: images whose mask lay there already.
        decided: images whose mask was decided from kept probabilities.
        warnings: what is likely to be wrong, one sentence by the name of each guard.
        parts: of rasters, which are joined after; None without such.
        between: pixels of truths that a threshold decided although they are neither black nor white.
        notes: what whoever started the run should know from the first.
        traceback: of the first failure in a class of the user's own.
        outcomes: what became of images, with the cause of a failure; two of them at most are kept.
        engines: what computed the models' scores, such as torch.
        why_not: why that is not, or not always, the engine that was to do it.
        first_row_s: when the first rows came in, in seconds since the start.
        startup_s: when the first image was begun: before that Ray started and models were loaded.
        last_row_s: when the last rows came in.
        recent: how many images were done when, over the last minute.
    """

    total: int
    stop_after: int = 0
    fresh: int | None = None
    work: dict[str, int] = field(default_factory=dict)
    started: float = field(default_factory=monotonic)
    statuses: Counter[str] = field(default_factory=Counter)
    seconds: Counter[str] = field(default_factory=Counter)
    precision: str | None = None
    engines: set[str] = field(default_factory=set)
    why_not: str | None = None
    faults: dict[str, str] = field(default_factory=dict)
    first_row_s: float | None = None
    startup_s: float = 0.0
    last_row_s: float = 0.0
    recent: deque[tuple[float, int]] = field(default_factory=deque)
    segmented: int = 0
    scored: int = 0
    decided: int = 0
    notes: tuple[str, ...] = ()
    traceback: str | None = None
    outcomes: set[str] = field(default_factory=set)
    judged: int = 0
    marks: list[Stretch] = field(default_factory=list)
    warnings: dict[str, str] = field(default_factory=dict)
    between: int | None = None
    parts: PartsTally | None = None

    @property
    def done(self) -> int:
        return self.statuses.total()

    @property
    def computing(self) -> dict[str, Any]:
        """What the record says of how the models were computed."""
        engine = " and ".join(sorted(self.engines)) or None
        return {"precision": self.precision, "engine": engine, "notes": [*self.notes]}

    @property
    def failed(self) -> int:
        return self.done - self.statuses[Status.OK.value]

    @property
    def elapsed_s(self) -> float:
        return monotonic() - self.started

    def add(self, rows: pa.Table) -> None:
        now_s = self.elapsed_s
        if self.first_row_s is None:
            self.first_row_s = now_s
            self.startup_s = max(0.0, now_s - _spent_s(rows))
            self.recent.append((self.startup_s, 0))
        found = kinds(rows)
        if self.traceback is None and len(shown := rows["_traceback"].drop_null()):
            self.traceback = shown[0].as_py()
        self.statuses.update(found)
        self._keep_faults(rows, found)
        for spent, kind in zip(rows["_seconds"].to_pylist(), rows["status"].to_pylist(), strict=True):
            seconds = dict(spent)
            self.scored += "restore" in seconds and kind == Status.OK
            self.seconds.update(seconds)
            self.segmented += "segment" in seconds
            self.decided += "decide" in seconds
        self._mark()
        if (between := pc.sum(rows["_between"]).as_py()) is not None:
            self.between = (self.between or 0) + between
        self._look_back(now_s)
        known = rows["_precision"].drop_null()
        if self.precision is None and len(known):
            self.precision = known[0].as_py()
        self.engines |= {*rows["_engine"].drop_null().to_pylist()}
        if self.why_not is None and len(reasons := rows["_why_not"].drop_null()):
            self.why_not = reasons[0].as_py()
            self.notes += (
                f"OpenVINO does not compute this model, or not at all sizes: {self.why_not} "
                "(segmentor.engine says what is to do it)",
            )

    @property
    def images_per_s(self) -> float | None:
        """Since the first image was begun, so that no start-up is in it; None before there are any."""
        return _rate(self.done, self.last_row_s - self.startup_s)

    @property
    def recent_images_per_s(self) -> float | None:
        """Over the last minute, for as long as a run is at work."""
        if not self.recent:
            return None
        since_s, before = self.recent[0]
        return _rate(self.done - before, self.last_row_s - since_s)

    @property
    def left_s(self) -> float | None:
        """How long the rest takes at that rate."""
        rate = self.recent_images_per_s
        return None if rate is None else (self.total - self.done) / rate

    def _look_back(self, now_s: float) -> None:
        self.last_row_s = now_s
        if now_s - self.recent[-1][0] >= SAMPLE_S:
            self.recent.append((now_s, self.done))
        # the one before the window is its beginning: rows may come more seldom than once a minute
        while len(self.recent) > 1 and self.recent[1][0] <= now_s - WINDOW_S:
            self.recent.popleft()

    def stop_if_all_fail_alike(self) -> None:
        """Raises BatchsegError where so many images failed, all of one cause, and none did not."""
        kind = next(iter(self.outcomes), Status.OK.value).partition(":")[0]
        if not self.stop_after or len(self.outcomes) != 1 or kind == Status.OK:
            return
        if self.judged >= self.stop_after:
            raise BatchsegError(
                f"the first {self.judged:,} images all failed alike ({kind}; {self.faults[kind]}); mend it, "
                "or set limits.stop_after_failures (0: never stop)"
            )

    def _keep_faults(self, rows: pa.Table, found: list[str]) -> None:
        """The first of each kind, for thousands are often one mistake; and whether all are one."""
        columns = (rows[name].to_pylist() for name in ("id", "error", "_row"))
        for kind, name, error, row in zip(found, *columns, strict=True):
            if kind != Status.OK:
                self.faults.setdefault(kind, f"{name}: {error}")
            if self.fresh is not None and row >= self.fresh:
                continue
            self.judged += 1
            if len(self.outcomes) < 2:
                self.outcomes.add(f"{kind}: {_NUMBER.sub('0', error or '')}")

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


def _spent_s(rows: pa.Table) -> float:
    """Seconds that one worker spent on rows that came together."""
    return float(sum(seconds for spent in rows["_seconds"].to_pylist() for _, seconds in spent or ()))


def _rate(images: int, seconds: float) -> float | None:
    return images / seconds if images and seconds > 0 else None
