"""The verdict: what a reader must know, in one sentence."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

from batchseg.reporting.overview import Overview
from batchseg.reporting.reference import Reference


@dataclass(frozen=True)
class Headline:
    """`level` is good, or look where someone should; `more` are further sentences."""

    level: Literal["good", "look"]
    sentence: str
    more: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.title}: {self.sentence}"

    @property
    def title(self) -> str:
        return "Finished" if self.level == "good" else "Needs a look"


def headline_of(
    record: dict[str, Any] | None, overview: Overview, reference: Reference | None, *, of_masks: bool
) -> Headline:
    """From the record of the run or night, and the comparison.

    Args:
        of_masks: whether masks were scored where they lay.
    """
    problems = [*_problems(record), *_falls(reference)]
    what = _what_there_is(overview, of_masks)
    warnings = [_sentence(each) for each in ((record or {}).get("warnings") or {}).values()]
    if not problems:
        return Headline("good", what, tuple(warnings))
    first, *others = dict.fromkeys(map(_sentence, problems))
    return Headline("look", first, (what, *others, *warnings))


def _problems(record: dict[str, Any] | None) -> Iterator[str]:
    """What the run or night says itself."""
    if record is None:
        yield "no run has come to its end here, and the page shows what is committed"
        return
    if record["status"] != "finished":
        reason = f": {record['error']}" if record.get("error") else ""
        yield f"the last run was {record['status']}{reason}"
    yield from record.get("gates") or ()
    night = record.get("night") or {}
    if night.get("exit_code"):
        yield from night.get("sentences") or ()


def _falls(reference: Reference | None) -> Iterator[str]:
    """What is worse than before, where it is more than chance."""
    if reference is None:
        return
    if reference.compared is None:
        yield f"it cannot be compared with {reference.name}: {reference.problem}"
        return
    compared = reference.compared
    yield from compared.gates
    fall = compared.metrics["mean_iou"]
    if fall.difference is not None and fall.low is not None and fall.high is not None and fall.high < 0:
        between = f"{-fall.high:.3f} to {-fall.low:.3f} with other images of the kind"
        yield f"mean IoU fell by {-fall.difference:.3f} ({between}) against {reference.name}"
    if count := compared.lost.count:
        verb = "image that was" if count == 1 else "images that were"
        yield f"{count:,} {verb} ok in {reference.name} failed now"


def _what_there_is(overview: Overview, of_masks: bool) -> str:
    failed = overview.images - overview.segmented
    things, done = ("masks", "read") if of_masks else ("images", "segmented")
    parts = [f"{overview.segmented:,} of {overview.images:,} {things} {done}"]
    if failed:
        parts.append(f"{failed:,} failed")
    sentence = ", ".join(parts)
    mean_iou, confidence = overview.matrix.mean_iou, overview.histograms["confidence_mean"].mean
    if mean_iou is not None:
        return f"{sentence}; mean IoU {mean_iou:.3f} over {overview.scored:,} with truth."
    without = "none has truth" if not overview.scored else "no truth counts"
    return f"{sentence}; {without}" + (
        f", mean confidence {confidence:.3f}." if confidence is not None else "."
    )


def _sentence(text: str) -> str:
    """With a full stop and one line, as a reader expects."""
    line = " ".join(text.split())
    return line if line.endswith((".", "!", "?")) else f"{line}."
