"""Verify: is a results folder whole? What is cheap to know comes first, the masks' pixels last."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

from batchseg.errors import OutputError
from batchseg.inspect.findings import Findings, Problem
from batchseg.inspect.mask_files import try_contents, try_presence
from batchseg.inspect.overlays import try_overlays
from batchseg.inspect.parts import Part, refuse_if_refused, try_parts
from batchseg.inspect.repair import Repaired, repair_parts
from batchseg.inspect.scores import wrong_totals
from batchseg.inspect.unfinished import cut_off, how_far
from batchseg.labels.label_map import LabelMap
from batchseg.metrics.confusion import ConfusionMatrix
from batchseg.results.candidate import CandidateState, candidate_state
from batchseg.results.classes import class_names
from batchseg.results.folder import Results
from batchseg.results.promotion import LOG as PROMOTION_LOG
from batchseg.results.promotion import finish_promotion
from batchseg.results.prompted import PromptTotals
from batchseg.results.rewrite import LOG as REWRITE_LOG
from batchseg.results.rewrite import finish_rewrite
from batchseg.results.tables import classes_table, read_columns, read_images
from batchseg.schema import CLASSES
from batchseg.storage.keys import KeySet
from batchseg.storage.location import output_errors
from batchseg.storage.lock import Lock, exclusive


@dataclass(frozen=True)
class VerifyReport:
    """What was looked at and what is wrong with it.

    Attributes:
        rows: images in the tables.
        masks: mask files.
        decoded: masks whose pixels were held against the tables; 0 with `quick`.
        overlays: overlay files, where the last run made some; opened unless `quick`.
        acknowledged: rows whose fault is known for good.
        interrupted: one sentence where a run was cut off or is at work: what it left is no problem.
        counts: problems by kind, all of them.
        problems: the first of each kind.
        repaired: what was taken away for the next run to compute again; None where nothing was asked for.
        candidate: what lies in candidate/, which is a results folder of its own and was not verified.
    """

    results: str
    parts: int
    rows: int
    masks: int
    decoded: int
    overlays: int
    acknowledged: int
    interrupted: str | None
    counts: dict[str, int]
    problems: list[Problem]
    repaired: Repaired | None = None
    candidate: CandidateState | None = None

    @property
    def ok(self) -> bool:
        """Whether nothing is wrong, or nothing that the next run does not mend."""
        return not self.counts or self.repaired is not None


def verify(results: str, quick: bool = False, repair: bool = False) -> VerifyReport:
    """Hold a results folder to its own promises; about 60 bytes of memory an image.

    Args:
        results: the folder that `run` or `evaluate` wrote.
        quick: leave out the masks' pixels; their presence is checked all the same.
        repair: drop the rows of broken images, their pixels and masks, and masks without a row, so that
            the next run computes those images again. What is not ours is never deleted.

    Raises:
        OutputError: there are no results, they cannot be read, or (with `repair`) they cannot be written or
            a run is at work on them, or a file among the tables is not ours.
    """
    folder = Results(results)
    folder.refuse_strangers()
    if repair:
        folder.refuse_foreign()
    with exclusive(folder.root) if repair else nullcontext() as lock:
        if lock:  # what a killed run left half moved is no damage
            with output_errors(folder.root):
                finish_promotion(folder.root, lock)
                finish_rewrite(folder.root)
        return _verify(folder, quick, lock)


def _verify(folder: Results, quick: bool, lock: Lock | None) -> VerifyReport:
    findings = Findings()
    record = folder.record()
    names = class_names(folder, record)
    left = cut_off(folder, record)
    parts, total = try_parts(folder, len(names) if names else None, left is not None, findings)
    rows = len(KeySet(part.ids for part in parts))
    masks = try_presence(folder, parts, left.masks if left else KeySet(), findings)
    interrupted = how_far(folder, record, parts) if left and not _failed(record) else None
    if interrupted is None:
        _try_record(record, rows, findings)
    if left is None or not left.began:
        _try_totals(folder, record, parts, total, findings)
        _try_classes(folder, names, total, findings)
    for log, what in ((REWRITE_LOG, "a change of the tables"), (PROMOTION_LOG, "a promotion")):
        if (folder.root / log).exists():
            findings.add("unfinished", log, f"{what} was cut off; the next run completes it")
    decoded = 0 if quick else try_contents(folder, parts, len(names) if names else None, findings)
    overlays = try_overlays(folder, record, parts, findings, quick)
    repaired = repair_parts(folder, parts, names, lock) if lock else None
    return VerifyReport(
        results=str(folder.root),
        parts=len(parts),
        rows=rows,
        masks=masks,
        decoded=decoded,
        overlays=overlays,
        acknowledged=sum(part.acknowledged for part in parts),
        interrupted=interrupted,
        counts=dict(findings.counts),
        problems=findings.listed,
        repaired=repaired,
        candidate=candidate_state(folder),
    )


def _failed(record: dict[str, Any] | None) -> bool:
    return (record or {}).get("status") == "failed"


def _try_totals(
    results: Results,
    record: dict[str, Any] | None,
    parts: list[Part],
    total: ConfusionMatrix | None,
    findings: Findings,
) -> None:
    """What the record says of the whole data set, where no image is broken that it counted."""
    whole = not any(part.lost or part.broken.any() for part in parts)
    if record is not None and record.get("status") == "finished" and whole and total is not None:
        prompted = PromptTotals()
        for part in parts if "giou" in record["metrics"] else ():
            images = read_images(results.images / part.name, ("id", "prompt", "has_truth"))
            prompted.add(results.root, part.name, images)
        for sentence in wrong_totals(record, total, prompted.figures):
            findings.add("record", "run.json", sentence)


def _try_classes(
    results: Results, names: list[str] | None, total: ConfusionMatrix | None, findings: Findings
) -> None:
    where = "classes.parquet"
    try:
        stored = read_columns(results.root / where, CLASSES, CLASSES.names)
    except OutputError as exc:
        if not isinstance(exc.__cause__, FileNotFoundError):
            refuse_if_refused(exc)
        findings.add("classes", where, str(exc).removeprefix(f"{results.root / where}: "))
        return
    if names is None or total is None:
        findings.add("classes", where, "its class names cannot be those of a label map")
        return
    summed = classes_table(total, LabelMap.from_names(names))
    wrong = [name for name in CLASSES.names if not stored[name].equals(summed[name])]
    if wrong:
        findings.add("classes", where, f"is not the sum of pixels/: it differs in {', '.join(wrong)}")


def _try_record(record: dict[str, Any] | None, rows: int, findings: Findings) -> None:
    """More rows than were listed are no fault: rows of images that are gone stay, and so do those of a
    run before one with a limit. Fewer are."""
    if record is None:
        findings.add("record", "run.json", "is missing, or no record; no run has come to its end")
        return
    status, listed = record.get("status"), record.get("images", {}).get("listed")
    if status != "finished":
        findings.add("record", "run.json", f"the last run was {status}; the same command goes on from there")
    elif not isinstance(listed, int) or rows < listed:
        findings.add("record", "run.json", f"says that {listed} images were listed; the tables hold {rows}")
