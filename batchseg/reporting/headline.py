"""The verdict: what a reader must know, in one sentence."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

from batchseg.reporting.overview import Overview
from batchseg.reporting.reference import Reference

_WATCHED = {"mean_iou": "mean IoU", "accuracy": "accuracy"}


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
    warnings = [as_sentence(each) for each in ((record or {}).get("warnings") or {}).values()]
    if not problems:
        return Headline("good", what, (*_change(reference), *warnings))
    first, *others = dict.fromkeys(map(as_sentence, problems))
    return Headline("look", first, (*others, what, *warnings))


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
    for metric, name in _WATCHED.items():
        fall = compared.metrics[metric]
        if fall.difference is not None and fall.high is not None and fall.high < 0:
            yield f"{name} fell by {-fall.difference:.3f} against {reference.name}"
    if count := compared.lost.count:
        verb = "image that was" if count == 1 else "images that were"
        yield f"{count:,} {verb} ok in {reference.name} failed now"


def _change(reference: Reference | None) -> Iterator[str]:
    """How far the mean IoU is from before, where that is no reason to look."""
    change = reference.compared.metrics["mean_iou"] if reference and reference.compared else None
    if reference is None or change is None or change.difference is None:
        return
    verb = "fell" if change.difference < 0 else "rose"
    told = (
        f"mean IoU {verb} by {abs(change.difference):.3f}" if change.difference else "mean IoU is as it was"
    )
    chance = "" if not change.low or (change.low > 0) else ", which may be chance"
    yield as_sentence(f"{told} against {reference.name}{chance}")


def _what_there_is(overview: Overview, of_masks: bool) -> str:
    things, done = ("masks", "read") if of_masks else ("images", "segmented")
    parts = [f"{overview.segmented:,} of {overview.images:,} {things} {done}"]
    if overview.failed:
        parts.append(f"{overview.failed:,} failed")
    if truths := overview.truths_failed:
        parts.append(f"{truths:,} {'truth' if truths == 1 else 'truths'} failed")
    sentence = ", ".join(parts)
    mean_iou, confidence = overview.matrix.mean_iou, overview.histograms["confidence_mean"].mean
    if mean_iou is not None:
        return f"{sentence}; mean IoU {mean_iou:.3f} over {overview.scored:,} with truth."
    without = "none has truth" if not overview.scored else "no truth counts"
    return f"{sentence}; {without}" + (
        f", mean confidence {confidence:.3f}." if confidence is not None else "."
    )


def as_sentence(text: str) -> str:
    """In one line, with a capital letter and a full stop."""
    line = " ".join(text.split())
    line = line[:1].upper() + line[1:]
    return line if line.endswith((".", "!", "?")) else f"{line}."
