"""How far a run is, as a line of its log: written by the one who runs, read by the one who asks from afar."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from math import isnan

OnCounted = Callable[[int, int], None]  # told how many of a job's pictures are done, and how many there are

INTERRUPTED_LINE = "interrupted: "  # how the line of a run begins that says what is committed
_LINE = re.compile(
    r"^([\d,]+) / ([\d,]+)(?:  ([\d,.]+)/s)?(?:  ([\d,]+) s left)?(?:  ([\d,]+) failed)?"
    r"(?:  part ([\d,]+) of ([\d,]+))?$",
    re.M,
)
_DOING = "(?:segmenting rasters|segmenting|scoring)"
_FIRST = re.compile(rf"^{_DOING} [\d,]+ images?(?:, {_DOING} [\d,]+)*$", re.M)
_NUMBER = re.compile(r"\d[\d,]*")


def unwatched(done: int, total: int) -> None:
    """A callback for callers who do not look."""


@dataclass(frozen=True)
class ProgressLine:
    """Images that are done, of all that a run has to do; None for what is not known yet.

    Attributes:
        part, parts: how many parts of rasters are done while those are computed, and of how many.
    """

    done: int
    total: int
    images_per_s: float | None = None
    left_s: float | None = None
    failed: int = 0
    part: int | None = None
    parts: int | None = None

    def __str__(self) -> str:
        parts = [f"{self.done:,} / {self.total:,}"]
        if self.images_per_s is not None:
            parts.append(f"{self.images_per_s:,.{1 if self.images_per_s >= 1 else 3}f}/s")
        if self.left_s is not None:
            parts.append(f"{self.left_s:,.0f} s left")
        if self.failed:
            parts.append(f"{self.failed:,} failed")
        if self.part is not None:
            parts.append(f"part {self.part:,} of {self.parts:,}")
        return "  ".join(parts)


def duration(seconds: float) -> str:
    """As one reads it: 42 s, 12 min, 3.5 h."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 100 * 60 else f"{seconds / 3600:.1f} h"


def first_line(work: dict[str, int]) -> str:
    """`segmenting 60 images, scoring 4`: what there is to do, before anything is done."""
    parts = [f"{doing} {count:,}" for doing, count in work.items()] or ["segmenting 0"]
    images = "image" if next(iter(work.values()), 0) == 1 else "images"
    return ", ".join([f"{parts[0]} {images}", *parts[1:]])


def read_progress(log: str) -> ProgressLine | None:
    """From the last line of a log that tells of it; None where none does."""
    if told := list(_LINE.finditer(log)):
        numbers = [float((group or "nan").replace(",", "")) for group in told[-1].groups()]
        done, total, rate, left_s, failed, *parts = (None if isnan(number) else number for number in numbers)
        part, of = (None if number is None else int(number) for number in parts)
        return ProgressLine(int(done or 0), int(total or 0), rate, left_s, int(failed or 0), part, of)
    if first := _FIRST.search(log):
        return ProgressLine(0, sum(int(number.replace(",", "")) for number in _NUMBER.findall(first[0])))
    return None
