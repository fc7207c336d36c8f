"""Compare: what became better or worse between two sets of results, and what came, went or drifted."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from batchseg.comparison.changes import ImageChange, ImageMove, changed_most, moved_most, other_truths
from batchseg.comparison.differences import Difference, metric_differences
from batchseg.comparison.drift import GATED, Drift, drifts
from batchseg.comparison.drops import failed_gates
from batchseg.comparison.pairs import Pairs, Places, unpaired
from batchseg.comparison.side import (
    Side,
    notes_on,
    open_side,
    refuse_nothing,
    refuse_other_classes,
    renamed_classes,
)
from batchseg.comparison.side_rows import SideRows, read_rows
from batchseg.config.compare import CompareConfig
from batchseg.results.gates import refuse_unknown_classes
from batchseg.results.result import EXIT_FINISHED, EXIT_GATE_FAILED


@dataclass(frozen=True)
class SideReport:
    """What was compared: `run_id` is of the record that was given, or of the folder's last run."""

    name: str
    run_id: str | None
    model: str | None
    images: int
    ok: int


@dataclass(frozen=True)
class Named:
    """How many images there are of a kind, and the first of them by id."""

    count: int
    examples: list[str]


@dataclass(frozen=True)
class CompareReport:
    """Old results held against new ones.

    Attributes:
        both: images with a mask on both sides.
        by_stem: images whose ids differ in their extension alone, as a.png and a.jpg do, and which are
            taken for the same; no other image of either side has that stem.
        ambiguous: images that would be such a pair, if not another one had the same stem.
        scored: those with ground truth on both sides; `metrics`, `classes` and `changed` are of these.
        came, gone: images of one side only.
        lost, recovered: images of both sides that were ok and are no longer, and the other way round.
        by: the metric that `changed` is about.
        metrics, classes: every figure, with the interval of its difference. With a prompt a row also gIoU,
            cIoU and no-target accuracy.
        changed: the images whose metric changed most.
        moved: the images whose predicted areas moved most.
        drift: of the predictions: of the images of both sides, of all, and of those that came.
        notes: what makes the comparison less than it seems.
        gates: one sentence for each gate that failed.
    """

    old: SideReport
    new: SideReport
    both: int
    by_stem: int
    ambiguous: int
    scored: int
    came: Named
    gone: Named
    lost: Named
    recovered: Named
    by: str
    metrics: dict[str, Difference]
    classes: dict[str, dict[str, Difference]]
    changed: list[ImageChange]
    moved: list[ImageMove]
    drift: dict[str, Drift]
    notes: list[str]
    gates: list[str]

    @property
    def exit_code(self) -> int:
        """0, or 4 where a gate failed."""
        return EXIT_GATE_FAILED if self.gates else EXIT_FINISHED

    @property
    def largest_drift(self) -> float | None:
        """What max_drift looks at."""
        known = [self.drift[name].distance for name in GATED]
        return max((distance for distance in known if distance is not None), default=None)


def compare(config: CompareConfig) -> CompareReport:
    """Compare two results folders, or what is left in them of the rows of one run; no model is needed.

    Memory: an image's id, about 60 bytes, and 40 bytes for each class that occurs in it, on both sides.

    Raises:
        OutputError: one side has no results, or they cannot be read.
        LabelMapError: the classes of the two differ.
    """
    old, new = open_side(config.old), open_side(config.new)
    refuse_other_classes(old, new)
    refuse_unknown_classes(config.max_class_drop, new.classes, "max_class_drop")
    before, after = read_rows(old), read_rows(new)
    for side, rows in ((old, before), (new, after)):
        refuse_nothing(side, len(rows))
    pairs = Pairs.of(before, after)
    segmented, scored = pairs.segmented, pairs.scored
    found = metric_differences(*scored.counts, new.classes, config, scored.prompted)
    drift, listed = drifts(pairs, new.classes), config.listed
    return CompareReport(
        old=_side(old, before),
        new=_side(new, after),
        both=len(segmented),
        by_stem=int(pairs.by_stem.sum()),
        ambiguous=pairs.ambiguous,
        scored=len(scored),
        came=_unpaired(after, pairs.new, listed),
        gone=_unpaired(before, pairs.old, listed),
        lost=_named(pairs.lost, listed),
        recovered=_named(pairs.recovered, listed),
        by=config.by,
        metrics=found.metrics,
        classes=found.classes,
        changed=changed_most(scored, config.by, listed),
        moved=moved_most(segmented, listed),
        drift=drift,
        notes=[
            *(f"class {before!r} is called {after!r} now" for before, after in renamed_classes(old, new)),
            *notes_on(old, len(before), len(before.models)),
            *notes_on(new, len(after), len(after.models)),
            *_notes(pairs),
        ],
        gates=failed_gates(config, found, drift),
    )


def _notes(pairs: Pairs) -> Iterator[str]:
    truths = other_truths(pairs.scored)
    if not len(pairs):
        yield "no image is on both sides: are their ids paths below the same folder?"
    if pairs.by_stem.any():
        yield f"paired by stem: {int(pairs.by_stem.sum()):,}; their ids differ in the extension alone"
    if pairs.ambiguous:
        yield (
            f"not paired, because several images have the same stem: {pairs.ambiguous:,}; they count as came "
            "or gone"
        )
    if pairs.changed:
        what = "file or prompt" if pairs.prompted.any() else "file"
        yield f"images of both whose {what} changed: {pairs.changed:,}"
    if truths:
        yield f"images of both whose ground truth changed: {truths:,}"


def _side(side: Side, rows: SideRows) -> SideReport:
    record = side.record or {}
    return SideReport(
        side.name, record.get("run_id"), record.get("model", {}).get("name"), len(rows), int(rows.ok.sum())
    )


def _named(pairs: Pairs, listed: int) -> Named:
    return Named(len(pairs), pairs.before.names(pairs.old[:listed]))


def _unpaired(side: SideRows, paired: Places, listed: int) -> Named:
    places = unpaired(side, paired)
    return Named(len(places), side.names(places[:listed]))
