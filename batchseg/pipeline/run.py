"""The main job: segment what has no mask, then score what has no score, and bring the results up to date."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable
from functools import partial
from typing import Any

from batchseg.config.load import config_differences
from batchseg.config.run import RunConfig
from batchseg.config.segmentor import NetworkConfig, SegmentorConfig
from batchseg.engine.graph import Stages
from batchseg.engine.heap import keep_freed_memory
from batchseg.engine.placement import Placement
from batchseg.errors import OutputError
from batchseg.images.decode import Size, whole
from batchseg.inspect.preflight import check_source, check_truth
from batchseg.pipeline.execute import OnProgress, Pass, Task, execute, ignore
from batchseg.pipeline.model import OpenedModel
from batchseg.pipeline.workload import DONE, RETRY, SCORE, SEGMENT, Workload
from batchseg.results.folder import Held, Results
from batchseg.results.ledger import Ledger, Rows
from batchseg.results.result import RunResult
from batchseg.segmentors.base import Checkpoint, Preparer, Resizer
from batchseg.segmentors.network.precision import resolve_precision
from batchseg.source.open import open_source
from batchseg.source.plan import Listing, write_listing
from batchseg.stages.decode import decode
from batchseg.stages.item import Stage, as_list
from batchseg.stages.prepare import prepare
from batchseg.stages.restore import restore
from batchseg.stages.score import score
from batchseg.stages.segment import Segment
from batchseg.stages.write import write_mask, write_overlay
from batchseg.storage.location import Location, locate
from batchseg.storage.lock import Lock

VANISHED = 3  # of fewer images that are gone nothing is concluded
COMPILING_S = 600.0  # what a network may take for it at a new shape


def run(config: RunConfig, on_progress: OnProgress = ignore) -> RunResult:
    """Segment every image of the source that has no mask yet, and score every mask that has no score.

    Args:
        config: the whole job.
        on_progress: called in this process whenever rows have come in.

    Raises:
        BatchsegError: the job as a whole cannot be done; what was finished is committed.
        KeyboardInterrupt: likewise.
    """
    model, results = OpenedModel.open(config), Results(config.output.path)
    with results.held(model.renamed) as held:
        listing = survey(config, model, results.work)
        refuse_mixture(results, held.ledger, model, config, listing)
        work = Workload.of(listing, held.ledger, model.key)
        if not config.recompute:
            refuse_vanished(results, work)
        pruned = unlisted(held.ledger, listing) if config.prune else None
        return execute(_task(config, model, held, work, pruned), held, on_progress)


def _task(config: RunConfig, model: OpenedModel, held: Held, work: Workload, pruned: Rows | None) -> Task:
    """Drop what will be replaced, and lay out the rest of the work."""
    replaced = work.replaced()
    work.drop(replaced if pruned is None else replaced | pruned)
    folder, results = held.results.work, held.results.root
    after = partial(score_and_write, config, model, str(results), held.lock)
    return Task(
        config=config,
        model=model.name,
        key=model.key,
        label_map=model.label_map,
        listing=work.listing,
        pruned=0 if pruned is None else int(pruned.sum()),
        fresh=work.fresh,
        notes=model.notes if work.listing.with_truth else (),
        passes=(
            Pass(
                work.to_segment(folder),
                config.segmentor,
                partial(segmenting, config, model.checkpoint, after),
                profile=config.profile,
            ),
            Pass(
                work.to_score(folder), SegmentorConfig(device="cpu"), partial(scoring, config, model, results)
            ),
        ),
    )


def segmenting(
    config: RunConfig, checkpoint: Checkpoint, after: Callable[[], list[Stage]], placement: Placement
) -> Stages:
    """decode, prepare | segment | score, write."""
    return Stages(
        before=partial(before, config, checkpoint),
        model=partial(segment, config, checkpoint, placement),
        after=after,
    )


def scoring(config: RunConfig, model: OpenedModel, results: Location, placement: Placement) -> Stages:
    """restore | score: the same without a front, for masks that lie there."""
    return Stages(
        before=partial(as_list, restore, results, model.label_map, config.limits),
        model=None,
        after=partial(as_list, score, model.label_map, config.limits),
    )


def before(config: RunConfig, checkpoint: Checkpoint) -> list[Stage]:
    """From a URI to the model's input."""
    preparer = checkpoint.preparer()
    enough: Callable[[Size], Size] = whole
    chosen = config.segmentor
    if isinstance(chosen, NetworkConfig) and chosen.scaled_decode and isinstance(preparer, Resizer):
        enough = preparer.input_hw
    return [decode(config.limits, enough), prepare(preparer)]


def segment(config: RunConfig, checkpoint: Checkpoint, placement: Placement) -> list[Stage]:
    """From the model's input to a label map."""
    network = isinstance(config.segmentor, NetworkConfig)
    if placement.device == "cpu" and network:
        keep_freed_memory()
    compiled = isinstance(config.segmentor, NetworkConfig) and config.segmentor.compile
    resolved = resolve_precision(config.segmentor.precision, placement.device)
    segmentor = checkpoint.load(placement.device, resolved, placement.threads)
    torch = sys.modules.get("torch")  # a model without torch, such as `threshold`, has no threads to set
    if torch is not None and placement.device == "cpu":
        torch.set_num_threads(placement.threads)
    return [
        Segment(
            segmentor,
            placement.batch_size,
            resolved if network else None,
            timeout_s=config.limits.segment_timeout_s,
            largest_batch=placement.largest_batch,
            first_call_s=COMPILING_S if compiled else 0.0,
            pad=network and placement.fixed_batches and _reads_one_size(checkpoint.preparer()),
        )
    ]


def _reads_one_size(preparer: Preparer) -> bool:
    """Whether all images go into the model at one size: else batches of each size would have to be filled."""
    return isinstance(preparer, Resizer) and preparer.input_hw((512, 1024)) == preparer.input_hw((1024, 512))


def score_and_write(config: RunConfig, model: OpenedModel, results: str, lock: Lock | None) -> list[Stage]:
    """From a label map to counts and files."""
    root, label_map = locate(results), model.label_map
    extra = [write_overlay(root, label_map, config.limits)] if config.output.overlays else []
    return [score(label_map, config.limits), write_mask(root, label_map, lock), *extra]


def survey(config: RunConfig, model: OpenedModel, work: Location) -> Listing:
    """List the source and find what can be known to be wrong with it. Raises SourceError, LabelMapError."""
    source = open_source(config.source, (config.output.path,))
    listing = write_listing(source.tables(), work / "listing.arrow", config.output.mask_name)
    check_source(source, listing)
    check_truth(listing, model.label_map, config.limits)
    return listing


def dry_run(config: RunConfig) -> dict[str, Any]:
    """Resolve everything and count the images, without Ray, the model's weights or a results folder."""
    model, results = OpenedModel.open(config), Results(config.output.path)
    results.refuse_foreign()
    ledger = results.ledger(model.renamed)
    with tempfile.TemporaryDirectory(prefix="batchseg-") as folder:
        listing = survey(config, model, locate(folder))
        refuse_mixture(results, ledger, model, config, listing)
        work = Workload.of(listing, ledger, model.key)
        pruned = int(unlisted(ledger, listing).sum()) if config.prune else 0
    return {
        "images": {
            "listed": listing.images,
            "with_truth": listing.with_truth,
            "without_truth": listing.images - listing.with_truth,
            "done_before": work.count(DONE),
            "to_segment": work.count(SEGMENT, RETRY),
            "to_score": work.count(SCORE),
            "to_prune": pruned,
        },
        "model": {"name": model.name, "fingerprint": model.key.mask, "classes": model.label_map.names},
        "notes": list(model.notes) if listing.with_truth else [],
        "config": config.model_dump(mode="json"),
    }


def refuse_vanished(results: Results, work: Workload) -> None:
    """Raises OutputError where most images that have masks cannot be found: a disk is not there, rather."""
    gone, segmented = work.vanished()
    if gone >= VANISHED and 2 * gone > segmented:
        raise OutputError(
            f"{results.root}: {gone:,} of {segmented:,} images that have masks are not to be found, and "
            "a run would take their masks away; is the disk of the source there? --recompute goes on without"
        )


def unlisted(ledger: Ledger, listing: Listing) -> Rows:
    """The rows of images that the source does not have."""
    return ledger.unlisted(listing.ids())


def refuse_mixture(
    results: Results, ledger: Ledger, model: OpenedModel, config: RunConfig, listing: Listing
) -> None:
    """Raises OutputError where masks of this model would come to lie beside those of another."""
    _refuse_mixed_scores(results, ledger, model, config, listing)
    others = ledger.of_other_models(model.key.mask)
    if not others.any():
        return
    if not config.recompute:
        raise OutputError(
            f"{results.root} holds masks of another model or setting ({_changes(results, config)}); choose a "
            "fresh --output, or have everything computed again with --recompute (and --prune, where the "
            "source no longer lists some of the images)"
        )
    left = 0 if config.prune else int((others & unlisted(ledger, listing)).sum())
    if left:
        limited = config.source.limit is not None
        where = "beyond source.limit" if limited else "that the source does not list"
        mend = "leave that out" if limited else "remove them with --prune (in a file prune: true)"
        raise OutputError(
            f"{results.root}: holds masks of another model for {left:,} images {where}; {mend}, or choose a "
            "fresh --output"
        )


def _refuse_mixed_scores(
    results: Results, ledger: Ledger, model: OpenedModel, config: RunConfig, listing: Listing
) -> None:
    others = ledger.scored_otherwise(model.key.score)
    if config.prune or not listing.with_truth or not others.any():
        return
    left = int((others & unlisted(ledger, listing)).sum())
    if left:
        raise OutputError(
            f"{results.root}: holds scores of {left:,} images that the source does not list, whose truth was "
            "read by another label map; run over all of them, remove them with --prune, or choose a fresh "
            "--output"
        )


def _changes(results: Results, config: RunConfig) -> str:
    before, now = (results.record() or {}).get("config", {}), config.model_dump(mode="json")
    changes = [
        f"{key}: {old!r} -> {new!r}"
        for part in ("segmentor", "labels")
        for key, old, new in config_differences(before.get(part), now.get(part), part)
    ]
    return "; ".join(changes) or "the weights changed, or names, colours or ignore_index of the label map"
