"""The main job: segment what has no mask, then score what has no score, and bring the results up to date."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import replace
from functools import partial
from typing import Any

from batchseg.config.arguments import Plain, from_arguments
from batchseg.config.compare import Comparison, NightConfig
from batchseg.config.network import SegmentorConfig
from batchseg.config.run import RunConfig
from batchseg.engine.session import ray_kept
from batchseg.inspect.preflight import look_at_pixels
from batchseg.labels.recorded import record_label_map
from batchseg.pipeline.assembly import (
    before,
    before_parts,
    join_and_draw,
    joining,
    score_and_keep,
    score_and_write,
    scoring,
    segmenting,
)
from batchseg.pipeline.collect import OnProgress
from batchseg.pipeline.drawing import some_overlays
from batchseg.pipeline.execute import Pass, Task, execute, ignore
from batchseg.pipeline.log_to import log_run, refuse_unloggable
from batchseg.pipeline.model import OpenedModel
from batchseg.pipeline.parts import PartsPass
from batchseg.pipeline.quantise import with_quantised
from batchseg.pipeline.rasters import Rasters, set_apart
from batchseg.pipeline.survey import Survey, refuse_mixture, refuse_vanished, survey, unlisted
from batchseg.pipeline.trial import judge_candidate
from batchseg.pipeline.workload import DONE, RETRY, SCORE, SEGMENT, Workload
from batchseg.results.candidate import candidate_of, held_candidate, refuse_nothing_good
from batchseg.results.folder import Held, Results
from batchseg.results.gates import refuse_unknown_classes
from batchseg.results.masks import with_probabilities
from batchseg.results.palettes import repaint
from batchseg.results.result import RunResult
from batchseg.results.verdict import Rows
from batchseg.segmentors.base import prompting_of
from batchseg.segmentors.combined.decision import foreground_of
from batchseg.segmentors.combined.ensemble import remarks_of
from batchseg.storage.keys import KeySet
from batchseg.storage.location import locate, output_errors


def run(
    source: RunConfig | Plain,
    on_progress: OnProgress = ignore,
    *,
    model: Plain | Sequence[Plain] | Mapping[str, Any] | None = None,
    output: Plain | Mapping[str, Any] | None = None,
    truth: Plain | None = None,
    labels: Plain | None = None,
    settings: Mapping[str, Any] | None = None,
) -> RunResult:
    """Segment every image of the source that has no mask yet, and score every mask that has no score.

    With `config.candidate` it does so in candidate/ in the results folder, and then compares: the result is
    a `TrialResult`, and the results beside it are as they were.

    Args:
        source: the whole job; or the folder or manifest of the images, as SOURCE of the command line, whose
            options the others are.
        on_progress: called in this process whenever rows have come in.
        settings: any other setting, nested as in a configuration file.

    Raises:
        BatchsegError: the job as a whole cannot be done; what was finished is committed.
        KeyboardInterrupt: likewise.
    """
    given = {"model": model, "output": output, "truth": truth, "labels": labels}
    return _run(from_arguments(RunConfig, ("source", source), given, settings), on_progress)


def _run(config: RunConfig, on_progress: OnProgress) -> RunResult:
    with ray_kept() if config.output.report else nullcontext():
        result = run_alone(config, on_progress)
        if config.output.report:
            from batchseg.pipeline.page import page_of_run

            result = replace(result, page=page_of_run(result, config))
    log_run(result.record, config.log_to, locate(result.output), result.page)
    return result


def run_alone(config: RunConfig, on_progress: OnProgress) -> RunResult:
    """A run without what follows it, which are its page and its log. Raises as `run` does."""
    model, results = OpenedModel.open(config), Results(config.output.path)
    refuse_unknown_classes(config.gates.minimum, model.label_map.names, "gates.minimum (--min)")
    refuse_unloggable(config.log_to, results.root)
    if not config.candidate:
        with results.held(model.renamed) as held:
            return _run_in(held, config, model, on_progress)
    settings = config.night if isinstance(config, NightConfig) else Comparison()
    with held_candidate(results, model.fingerprint, model.renamed, config.recompute) as held:
        result = _run_in(held, config, model, on_progress)
        return judge_candidate(result, held, results, settings, may_lose=config.prune)


def _run_in(held: Held, config: RunConfig, model: OpenedModel, on_progress: OnProgress) -> RunResult:
    results = held.results
    found = survey(config, model, results.work, model.refuse_other_prompts)
    refuse_mixture(results, held.ledger, found, config)
    work = Workload.of(found.listing, held.ledger, found.key, _beside(results, config))
    if not config.recompute:
        refuse_vanished(results, work)
    pruned = unlisted(held.ledger, found.listing) if config.prune else None
    about: dict[str, Any] = {}
    if work.count(SEGMENT) + work.count(RETRY):  # before anything is dropped, for it may be refused
        model, about = with_quantised(config, model, found.listing, results.root)
    task = _task(config, model, found, held, work=work, pruned=pruned, about=about)
    return execute(task, held, on_progress)


def _task(
    config: RunConfig,
    model: OpenedModel,
    found: Survey,
    held: Held,
    *,
    work: Workload,
    pruned: Rows | None,
    about: Mapping[str, Any],
) -> Task:
    """Drop what will be replaced, and lay out the rest of the work."""
    doubts, is_new = list(found.doubts), work.count(SEGMENT) == work.listing.images
    if is_new:  # before anything is dropped, for it may be refused
        doubts += look_at_pixels(work.listing, found.looking, config.accept, is_new)
    replaced = work.replaced()
    work.drop(replaced if pruned is None else replaced | pruned)
    repainted = repaint(held, found.reading.label_map)
    folder, results = held.results.work, held.results.root
    after = partial(score_and_write, config, found.reading, str(results), held.lock)
    to_segment = work.to_segment(folder)
    if not is_new:
        doubts += look_at_pixels(to_segment, found.looking, config.accept)
    at_once, rasters = set_apart(
        to_segment,
        config.tiling,
        found.key,
        results,
        folder,
        probabilities=config.output.probabilities,
    )
    return Task(
        config=config,
        model=model.name,
        key=found.key,
        reading=found.reading,
        doubts=doubts,
        listing=work.listing,
        pruned=0 if pruned is None else int(pruned.sum()),
        repainted=repainted,
        fresh=max(0, work.fresh - (rasters.images.images if rasters else 0)),
        overlays=some_overlays(config, found.reading, work.listing),
        notes=(*_notes(model, work), *found.notes),
        about={**_on_record(config, model), **about},
        passes=(
            Pass(
                at_once,
                config.segmentor,
                partial(segmenting, config, model, before, after),
                "segmenting",
                profile=config.profile,
            ),
            *([] if rasters is None else [_joining(config, model, found, held, rasters)]),
            Pass(
                work.to_score(folder),
                SegmentorConfig(device="cpu"),
                partial(scoring, config, found.reading, results, found.looking.images),
                "scoring",
            ),
        ),
    )


def _beside(results: Results, config: RunConfig) -> KeySet | None:
    """The masks that have their probabilities, where these are wanted. Raises OutputError."""
    if config.output.probabilities is None:
        return None
    with output_errors(results.root):
        return with_probabilities(results.root, config.output.probabilities)


def _on_record(config: RunConfig, model: OpenedModel) -> dict[str, Any]:
    """What whoever decides again must know, where probabilities are kept."""
    if config.output.probabilities is None:
        return {}
    foreground = foreground_of(model.checkpoint.label_map)
    return {"label_map": record_label_map(model.label_map), "foreground": foreground}


def _notes(model: OpenedModel, work: Workload) -> tuple[str, ...]:
    """Of truths nothing where there are none; of an ensemble that its members differ; and all remarks."""
    is_due = work.listing.with_truth or len(model.members) > 1 or prompting_of(model.checkpoint)
    of_model = model.notes if is_due else ()
    return (*of_model, *remarks_of(model.checkpoint), *_on_probabilities(work))


def _on_probabilities(work: Workload) -> list[str]:
    count = int(work.bare.sum())
    images, verb = (f"{count:,} images have masks", "are") if count > 1 else ("1 image has a mask", "is")
    return [f"{images} without the probabilities asked for, and {verb} segmented again"] if count else []


def _joining(config: RunConfig, model: OpenedModel, found: Survey, held: Held, rasters: Rasters) -> Pass:
    """Large rasters, of which the parts are computed first."""
    results, lock = str(held.results.root), held.lock
    after = partial(score_and_keep, config, found.reading, results, lock)
    compute = partial(segmenting, config, model, before_parts, after)
    join = partial(join_and_draw, config, found.reading, model.reading, results, lock)
    return Pass(
        rasters.images,
        SegmentorConfig(device="cpu"),
        partial(joining, join),
        "segmenting rasters",
        parts=PartsPass(rasters, config.segmentor, compute),
    )


def dry_run(config: RunConfig) -> dict[str, Any]:
    """Resolve everything and count the images, without Ray, the model's weights or a results folder."""
    model, results = OpenedModel.open(config), Results(config.output.path)
    refuse_unknown_classes(config.gates.minimum, model.label_map.names, "gates.minimum (--min)")
    results.refuse_foreign()
    if config.candidate:
        refuse_nothing_good(results)
        results = candidate_of(results)
    ledger = results.ledger(model.renamed)
    with tempfile.TemporaryDirectory(prefix="batchseg-") as folder:
        found = survey(config, model, locate(folder), model.refuse_other_prompts)
        listing = found.listing
        refuse_mixture(results, ledger, found, config)
        work = Workload.of(listing, ledger, found.key, _beside(results, config))
        pruned = int(unlisted(ledger, listing).sum()) if config.prune else 0
        doubts = found.doubts
        if work.count(SEGMENT, RETRY):
            is_new = work.count(SEGMENT) == listing.images
            chosen = listing if is_new else work.to_segment(locate(folder))
            doubts = doubts + look_at_pixels(chosen, found.looking, config.accept, is_new)
    return {
        "images": {
            "listed": listing.images,
            "with_truth": listing.with_truth,
            "without_truth": listing.images - listing.with_truth,
            "done_before": work.count(DONE),
            "to_segment": work.count(SEGMENT, RETRY),
            "to_score": work.count(SCORE),
            "to_prune": pruned,
            **({"passed_over": listing.passed_over} if listing.passed_over else {}),
        },
        "split": listing.split,
        "model": {"name": model.name, "fingerprint": model.fingerprint, "classes": model.label_map.names},
        "truth": {"read": found.reading.sentence} if listing.with_truth else None,
        "warnings": {doubt.guard: doubt.sentence for doubt in doubts},
        "notes": [*_notes(model, work), *found.notes],
        "config": config.model_dump(mode="json"),
    }
