"""A night: run, verify, compare with the last good night, and keep this one if it was good."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from datetime import datetime
from time import monotonic
from typing import Any

from batchseg.comparison.compare import CompareReport, compare
from batchseg.config.compare import CompareConfig, Comparison, Night, NightConfig
from batchseg.errors import BatchsegError
from batchseg.inspect.verify import VerifyReport, verify
from batchseg.pipeline.execute import OnProgress, ignore
from batchseg.pipeline.run import run
from batchseg.results.folder import Results
from batchseg.results.nights import Nights
from batchseg.results.result import EXIT_FINISHED, EXIT_GATE_FAILED, RunResult
from batchseg.storage.location import Location
from batchseg.storage.lock import exclusive

EXIT_BROKEN = 1


@dataclass(frozen=True)
class NightResult:
    """What came out of a night.

    Attributes:
        run: what the run itself says.
        verified: whether the results folder is whole.
        compared: with the last good night; None on the first, where the folder is not whole, and where the
            two cannot be compared.
        reference: the folder of that night.
        exit_code: 1 the folder is not whole, else 3 or 4 as the run says, else 4 as the comparison says or
            where it cannot be made.
        sentences: what is wrong, one each.
        summary: the night in one line.
        kept: where its tables are kept for the next nights; None for a bad night.
        record: what run.json holds now.
    """

    run: RunResult
    verified: VerifyReport
    compared: CompareReport | None
    reference: str | None
    exit_code: int
    sentences: list[str]
    summary: str
    kept: str | None
    record: dict[str, Any] = field(repr=False)


def night(config: NightConfig, on_progress: OnProgress = ignore) -> NightResult:
    """Compute what is new, and say whether someone must look.

    The last good night is the last one that ended with 0: its tables are kept in nights/, because a
    recomputed row replaces the one before. A bad night is not kept, so the good one stays the reference.

    Raises:
        BatchsegError: the job as a whole cannot be done; what was finished is committed.
        KeyboardInterrupt: likewise.
    """
    started = monotonic()
    result, results = run(config, on_progress), Results(config.output.path)
    with exclusive(results.root):  # the tables must not change between the judgement and their copy
        nights = Nights(results)
        reference = nights.last()
        verified = verify(str(results.root), quick=config.night.verify == "quick")
        compared, obstacles = _compare(config.night, reference if verified.ok else None, results)
        code, sentences = _judge(result, verified, compared, obstacles)
        facts: dict[str, Any] = {
            "reference": str(reference) if reference else None,
            "exit_code": code,
            "sentences": sentences,
            "summary": _summary(result, compared, code, sentences, monotonic() - started),
            "kept": str(nights.root / result.run_id) if code == EXIT_FINISHED else None,
        }
        parts = {"verified": asdict(verified), "compared": asdict(compared) if compared else None}
        record = {**result.record, "night": {**facts, **parts}}
        if code == EXIT_FINISHED:
            nights.keep(record, config.night.keep_nights)
        results.write_record(record)
        nights.forget_records(config.night.keep_records)
    return NightResult(run=result, verified=verified, compared=compared, record=record, **facts)


def failure(exc: BaseException) -> str:
    """The summary of a night that did not come to its end."""
    if isinstance(exc, KeyboardInterrupt):
        return f"batchseg {_today()} was interrupted; the next night goes on from there"
    return f"batchseg {_today()} failed: {_one_line(str(exc) or type(exc).__name__)}"


def _compare(
    settings: Night, reference: Location | None, results: Results
) -> tuple[CompareReport | None, list[str]]:
    """The comparison with a reference, if there is one, or a sentence on why it cannot be made."""
    if reference is None:
        return None, []
    shared = {name: getattr(settings, name) for name in Comparison.model_fields}
    try:
        return compare(CompareConfig(old=str(reference), new=str(results.root), **shared)), []
    except BatchsegError as exc:
        return None, [
            f"not compared with the last good night: {exc}; if that is meant, remove {reference.parent}, and "
            "the next night begins anew"
        ]


def _judge(
    result: RunResult, verified: VerifyReport, compared: CompareReport | None, obstacles: list[str]
) -> tuple[int, list[str]]:
    if not verified.ok:
        counts = ", ".join(f"{count:,} {kind}" for kind, count in verified.counts.items())
        broken = f"the results folder is not whole: {counts}; `batchseg verify` says more, --repair mends it"
        return EXIT_BROKEN, [broken, *result.gates]
    if compared is not None:
        return result.exit_code or compared.exit_code, [*result.gates, *compared.gates]
    return result.exit_code or (EXIT_GATE_FAILED if obstacles else EXIT_FINISHED), [*result.gates, *obstacles]


def _summary(
    result: RunResult, compared: CompareReport | None, code: int, sentences: list[str], elapsed_s: float
) -> str:
    verdict = "finished" if code == EXIT_FINISHED else f"needs a look (exit {code})"
    figures = ", ".join([*_figures(result, compared), _duration(elapsed_s)])
    return _one_line("; ".join([f"batchseg {_today()} {verdict}: {figures}", *sentences]))


def _figures(result: RunResult, compared: CompareReport | None) -> Iterator[str]:
    yield f"{result.segmented:,} segmented"
    if result.scored:
        yield f"{result.scored:,} only scored"
    if result.without_truth and result.metrics["mean_iou"] is not None:
        yield f"{result.without_truth:,} without truth"
    yield f"{result.failed:,} failed"
    if result.acknowledged:
        yield f"{result.acknowledged:,} acknowledged"
    mean_iou = result.metrics["mean_iou"]
    change = compared.metrics["mean_iou"].difference if compared else None
    if mean_iou is not None:
        yield f"mean IoU {mean_iou:.4f}" + (f" ({change:+.4f})" if change is not None else "")
    if compared and compared.largest_drift is not None:
        yield f"drift {compared.largest_drift:.3f}"


def _duration(seconds: float) -> str:
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 100 * 60 else f"{seconds / 3600:.1f} h"


def _today() -> str:
    return f"{datetime.now():%Y-%m-%d}"


def _one_line(text: str) -> str:
    return " ".join(text.split())
