"""A night: run, verify, compare with the last good night, and keep this one if it was good.

Where the configuration says `candidate`, a model that changed is tried beside the good results first.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime
from time import monotonic
from typing import Any

from batchseg.comparison.compare import CompareReport
from batchseg.config.compare import Night, NightConfig
from batchseg.engine.session import ray_kept
from batchseg.errors import BatchsegError
from batchseg.inspect.verify import VerifyReport, verify
from batchseg.pipeline.collect import OnProgress
from batchseg.pipeline.execute import ignore
from batchseg.pipeline.log_to import log_run
from batchseg.pipeline.model import OpenedModel
from batchseg.pipeline.page import page_of_night
from batchseg.pipeline.promote import promote
from batchseg.pipeline.run import run_alone
from batchseg.pipeline.trial import TrialResult, compare_with
from batchseg.results.candidate import candidate_of
from batchseg.results.folder import Results
from batchseg.results.nights import Nights
from batchseg.results.progress import duration
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
        reference: the folder of that night; of a candidate the results that were good until then.
        promoted: whether a candidate took the place of the good results; None where none was tried.
        exit_code: 1 the folder is not whole, else 3 or 4 as the run says, else 4 as the comparison says or
            where it cannot be made.
        sentences: what is wrong, one each.
        summary: the night in one line.
        kept: where its tables are kept for the next nights; None for a bad night.
        page: where the page to look at lies; None where none was made.
        lacking: why there is no page, or nothing was logged, although it was asked for: by `page` and `log`.
        record: what run.json holds now; of a candidate that was not promoted the one in candidate/.
    """

    run: RunResult
    verified: VerifyReport
    compared: CompareReport | None
    reference: str | None
    exit_code: int
    sentences: list[str]
    summary: str
    kept: str | None
    promoted: bool | None
    record: dict[str, Any] = field(repr=False)
    page: str | None = None
    lacking: dict[str, str] = field(default_factory=dict)


def night(config: NightConfig, on_progress: OnProgress = ignore) -> NightResult:
    """Compute what is new, and say whether someone must look.

    The last good night is the last one that ended with 0: its tables are kept in nights/, because a
    recomputed row replaces the one before. A bad night is not kept, so the good one stays the reference.

    With `config.candidate`, a model other than that of the results is run into candidate/ and held against
    them. It takes their place where no gate fails. Else they are not touched, and every night says so again
    until the model, the gates or the candidate are gone.

    Raises:
        BatchsegError: the job as a whole cannot be done; what was finished is committed.
        KeyboardInterrupt: likewise.
    """
    with ray_kept() if config.wants_page else nullcontext():
        return _go_through(config, on_progress)


def _go_through(config: NightConfig, on_progress: OnProgress) -> NightResult:
    started = monotonic()
    if config.candidate and _is_another_model(config):
        return _try_candidate(config, on_progress, started)
    result = run_alone(config.model_copy(update={"candidate": False}), on_progress)
    results = Results(config.output.path)
    with exclusive(results.root):  # the tables must not change between the judgement and their copy
        reference = Nights(results).last()
        verified = verify(str(results.root), quick=config.night.verify == "quick")
        compared, obstacles = _compare(config.night, reference if verified.ok else None, results)
        code, sentences = _judge(result, verified, compared, obstacles)
        facts = {"reference": str(reference) if reference else None, "promoted": None}
        return _conclude(config, results, _Night(result, verified, compared, code, sentences, facts, started))


@dataclass(frozen=True)
class _Night:
    """A night that was judged, and is to be written down."""

    run: RunResult
    verified: VerifyReport
    compared: CompareReport | None
    code: int
    sentences: list[str]
    facts: dict[str, Any]
    started: float


def _conclude(config: NightConfig, results: Results, done: _Night) -> NightResult:
    """Write down a night in a folder that is held; keep it where it was good."""
    nights = Nights(results)
    good = done.code == EXIT_FINISHED
    facts: dict[str, Any] = {
        **done.facts,
        "exit_code": done.code,
        "sentences": done.sentences,
        "summary": _summary(done),
        "kept": str(nights.root / done.run.run_id) if good else None,
    }
    parts = {"verified": asdict(done.verified), "compared": asdict(done.compared) if done.compared else None}
    record = {**done.run.record, "night": {**facts, **parts}}
    if good:
        nights.keep(record, config.night.keep_nights)
    results.write_record(record)
    nights.forget_records(config.night.keep_records)
    page, lacking = None, dict[str, str]()
    if config.wants_page:
        with _told(lacking, "page"):
            page = page_of_night(config, results, done.compared, facts["reference"])
    with _told(lacking, "log"):
        log_run(record, config.log_to, results.root, page)
    return NightResult(
        run=done.run,
        verified=done.verified,
        compared=done.compared,
        record=record,
        page=page,
        lacking=lacking,
        **facts,
    )


@contextmanager
def _told(lacking: dict[str, str], what: str) -> Iterator[None]:
    """Whatever goes wrong within, the night is over and as good without; what it found must be told."""
    try:
        yield
    except Exception as exc:
        lacking[what] = str(exc) if isinstance(exc, BatchsegError) else f"{type(exc).__name__}: {exc}"


def _is_another_model(config: NightConfig) -> bool:
    """Whether the results are of a model or setting other than the configured one."""
    model = OpenedModel.open(config)
    with Results(config.output.path).looked_at(model.renamed) as held:
        return bool(held.ledger.of_other_models(model.fingerprint).any())


def _try_candidate(config: NightConfig, on_progress: OnProgress, started: float) -> NightResult:
    """Run it beside the good results, and promote it where nothing is wrong with it."""
    results = Results(config.output.path)
    candidate = candidate_of(results)
    # a candidate of yet another model has had its night
    result = run_alone(config.model_copy(update={"recompute": True}), on_progress)
    assert isinstance(result, TrialResult)
    facts = {"reference": str(results.root), "promoted": False}
    with exclusive(candidate.root):
        verified = verify(str(candidate.root), quick=config.night.verify == "quick")
        code, sentences = _judge(result, verified, None, [])
        if code != EXIT_FINISHED:
            sentences.append(
                f"the good results in {results.root} were not touched; go back to the model before, change "
                f"the gates, or remove the candidate with `batchseg promote {results.root} --drop`"
            )
            done = _Night(result, verified, result.compared, code, sentences, facts, started)
            return _conclude(config, candidate, done)
    promote(str(results.root))
    with exclusive(results.root):
        # in their new place: every mask is there; what was decoded before is the same file
        verified = replace(verify(str(results.root), quick=True), decoded=verified.decoded)
        moved = replace(result, output=str(results.root), record=results.record() or result.record)
        code, sentences = _judge(moved, verified, None, [])
        facts["promoted"] = True
        done = _Night(moved, verified, result.compared, code, sentences, facts, started)
        return _conclude(config, results, done)


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
    compared, sentences = compare_with(settings, str(reference), str(results.root), "the last good night")
    mend = f"if that is meant, remove {reference.parent}, and the next night begins anew"
    return compared, [f"{sentence}; {mend}" for sentence in sentences]


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


def _summary(done: _Night) -> str:
    verdict = "finished" if done.code == EXIT_FINISHED else f"needs a look (exit {done.code})"
    figures = ", ".join([*_figures(done.run, done.compared), duration(monotonic() - done.started)])
    promoted = [f"{done.run.record['model']['name']} was promoted"] if done.facts["promoted"] else []
    parts = [f"batchseg {_today()} {verdict}: {figures}", *promoted, *done.sentences]
    return _one_line("; ".join(parts))


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


def _today() -> str:
    return f"{datetime.now():%Y-%m-%d}"


def _one_line(text: str) -> str:
    return " ".join(text.split())
