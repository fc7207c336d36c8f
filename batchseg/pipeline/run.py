"""The main job: segment what has no mask, then score what has no score, and bring the results up to date."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

from batchseg.config.arguments import Plain, from_arguments
from batchseg.config.compare import Comparison, NightConfig
from batchseg.config.load import config_differences
from batchseg.config.run import RunConfig
from batchseg.config.segmentor import NetworkConfig, SegmentorConfig
from batchseg.config.source import ImageReading
from batchseg.engine.graph import Stages
from batchseg.engine.heap import keep_freed_memory
from batchseg.engine.placement import Placement
from batchseg.errors import OutputError
from batchseg.images.decode import Size, whole
from batchseg.inspect.guards import Doubt
from batchseg.inspect.preflight import check_source, look_at_source
from batchseg.inspect.truth_sample import Looking
from batchseg.labels.reading import Reading
from batchseg.pipeline.choice import Choice
from batchseg.pipeline.drawing import draw_overlays
from batchseg.pipeline.execute import OnProgress, Pass, Task, execute, ignore
from batchseg.pipeline.fingerprints import score_fingerprint
from batchseg.pipeline.model import OpenedModel
from batchseg.pipeline.split import take_split
from batchseg.pipeline.trial import judge_candidate
from batchseg.pipeline.workload import DONE, RETRY, SCORE, SEGMENT, Workload
from batchseg.results.candidate import candidate_of, held_candidate, refuse_nothing_good
from batchseg.results.folder import Held, Results
from batchseg.results.gates import refuse_unknown_classes
from batchseg.results.ledger import Key, Ledger, Rows
from batchseg.results.palettes import repaint
from batchseg.results.result import RunResult
from batchseg.segmentors.base import Checkpoint, Preparer, Resizer
from batchseg.segmentors.network.precision import resolve_precision
from batchseg.source.open import list_source, open_source
from batchseg.source.plan import Listing
from batchseg.stages.decode import decode
from batchseg.stages.item import Stage, as_list
from batchseg.stages.overlay import Sight, write_overlay
from batchseg.stages.prepare import prepare
from batchseg.stages.restore import restore
from batchseg.stages.score import score
from batchseg.stages.segment import Segment
from batchseg.stages.write import write_mask
from batchseg.storage.location import Location, locate
from batchseg.storage.lock import Lock

VANISHED = 3  # of fewer images that are gone nothing is concluded
_OF_PIXELS = ("source.scale", "source.orientation")
COMPILING_S = 600.0  # what a network may take for it at a new shape


def run(
    source: RunConfig | Plain,
    on_progress: OnProgress = ignore,
    *,
    model: Plain | Mapping[str, Any] | None = None,
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
    model, results = OpenedModel.open(config), Results(config.output.path)
    refuse_unknown_classes(config.gates.minimum, model.label_map.names, "gates.minimum (--min)")
    if not config.candidate:
        with results.held(model.renamed) as held:
            return _run_in(held, config, model, on_progress)
    settings = config.night if isinstance(config, NightConfig) else Comparison()
    with held_candidate(results, model.fingerprint, model.renamed, config.recompute) as held:
        result = _run_in(held, config, model, on_progress)
        return judge_candidate(result, held, results, settings, may_lose=config.prune)


def _run_in(held: Held, config: RunConfig, model: OpenedModel, on_progress: OnProgress) -> RunResult:
    results = held.results
    found = survey(config, model, results.work)
    refuse_mixture(results, held.ledger, found, config)
    work = Workload.of(found.listing, held.ledger, found.key)
    if not config.recompute:
        refuse_vanished(results, work)
    pruned = unlisted(held.ledger, found.listing) if config.prune else None
    return execute(_task(config, found, held, work, pruned), held, on_progress)


def _task(config: RunConfig, found: Survey, held: Held, work: Workload, pruned: Rows | None) -> Task:
    """Drop what will be replaced, and lay out the rest of the work."""
    replaced = work.replaced()
    work.drop(replaced if pruned is None else replaced | pruned)
    repainted = repaint(held, found.reading.label_map)
    folder, results = held.results.work, held.results.root
    after = partial(score_and_write, config, found.reading, str(results), held.lock)
    return Task(
        config=config,
        model=found.model.name,
        key=found.key,
        reading=found.reading,
        doubts=found.doubts,
        listing=work.listing,
        pruned=0 if pruned is None else int(pruned.sum()),
        repainted=repainted,
        fresh=work.fresh,
        overlays=some_overlays(config, found.reading, work.listing),
        notes=found.model.notes if work.listing.with_truth else (),
        passes=(
            Pass(
                work.to_segment(folder),
                config.segmentor,
                partial(segmenting, config, found.model.checkpoint, after),
                "segmenting",
                profile=config.profile,
            ),
            Pass(
                work.to_score(folder),
                SegmentorConfig(device="cpu"),
                partial(scoring, config, found.reading, results),
                "scoring",
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


def scoring(config: RunConfig, reading: Reading, results: Location, placement: Placement) -> Stages:
    """restore | score: the same without a front, for masks that lie there."""
    return Stages(
        before=partial(as_list, restore, results, reading.label_map, config.limits),
        model=None,
        after=partial(score_again, config, reading, results),
    )


def before(config: RunConfig, checkpoint: Checkpoint) -> list[Stage]:
    """From a URI to the model's input."""
    preparer = checkpoint.preparer()
    enough: Callable[[Size], Size] = whole
    chosen = config.segmentor
    if isinstance(chosen, NetworkConfig) and chosen.scaled_decode and isinstance(preparer, Resizer):
        enough = preparer.input_hw
    return [decode(config.limits, enough, ImageReading.of(config.source)), prepare(preparer)]


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


def score_and_write(config: RunConfig, reading: Reading, results: str, lock: Lock | None) -> list[Stage]:
    """From a label map to counts and files."""
    root = locate(results)
    mask = write_mask(root, reading.label_map, lock)
    return [score(reading, config.limits), mask, *_overlays(config, reading, root)]


def score_again(config: RunConfig, reading: Reading, root: Location) -> list[Stage]:
    """From a label map that lies there to counts, and a new picture where that shows the truth."""
    wanted = config.output.pictures
    pictures = _overlays(config, reading, root) if wanted and wanted.kind == "triptych" else []
    return [score(reading, config.limits), *pictures]


def _overlays(config: RunConfig, reading: Reading, root: Location) -> list[Stage]:
    """Every overlay as its image is finished; a choice of them waits for the end."""
    wanted = config.output.pictures
    if wanted is None or wanted.count is not None:
        return []
    return [write_overlay(root, Sight(reading, ImageReading.of(config.source)), config.limits, wanted)]


def some_overlays(
    config: RunConfig, reading: Reading, listing: Listing
) -> Callable[[Held], dict[str, Any]] | None:
    """Draw the worst images or a sample, once all are there; None where that is not wanted."""
    wanted = config.output.pictures
    if wanted is None or wanted.count is None:
        return None
    choice, head = Choice(wanted, config.output.mask_name), config.ray.exclude_head
    sight = Sight(reading, ImageReading.of(config.source))
    return lambda held: asdict(
        draw_overlays(held, choice, sight, config.limits, listing.tables, exclude_head=head)
    )


@dataclass(frozen=True)
class Survey:
    """A source that was listed and looked at.

    Attributes:
        reading: how its ground truths are read.
        doubts: what is likely to be wrong with it.
        key: what a run would compute its masks and scores with.
    """

    model: OpenedModel
    listing: Listing
    reading: Reading
    doubts: list[Doubt]
    key: Key


def survey(config: RunConfig, model: OpenedModel, work: Location) -> Survey:
    """List the source and find what can be known to be wrong with it. Raises SourceError, LabelMapError."""
    source = open_source(config.source, (config.output.path,))
    listing = list_source(source, work / "listing.arrow", config.output.mask_name)
    check_source(source, listing)
    listing = take_split(config, listing, work)
    looking = Looking(config.truth, config.limits, ImageReading.of(config.source))
    reading, doubts = look_at_source(listing, model.label_map, looking, config.accept)
    return Survey(model, listing, reading, doubts, Key(model.fingerprint, score_fingerprint(reading)))


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
        found = survey(config, model, locate(folder))
        listing = found.listing
        refuse_mixture(results, ledger, found, config)
        work = Workload.of(listing, ledger, found.key)
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
            **({"passed_over": listing.passed_over} if listing.passed_over else {}),
        },
        "split": listing.split,
        "model": {"name": model.name, "fingerprint": model.fingerprint, "classes": model.label_map.names},
        "truth": {"read": found.reading.sentence} if listing.with_truth else None,
        "warnings": {doubt.guard: doubt.sentence for doubt in found.doubts},
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


def refuse_mixture(results: Results, ledger: Ledger, found: Survey, config: RunConfig) -> None:
    """Raises OutputError where masks of this model would come to lie beside those of another."""
    listing = found.listing
    if config.split is not None and (left := int(unlisted(ledger, listing).sum())):
        raise OutputError(
            f"{results.root}: holds {left:,} images that are not among those of split {config.split}, and "
            "figures would be of all; choose a fresh --output"
        )
    _refuse_mixed_scores(results, ledger, found.key, config, listing)
    others = ledger.of_other_models(found.key.mask)
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
        limited = config.source.is_partial
        where = "beyond source.limit or source.sample" if limited else "that the source does not list"
        mend = "leave that out" if limited else "remove them with --prune (in a file prune: true)"
        raise OutputError(
            f"{results.root}: holds masks of another model for {left:,} images {where}; {mend}, or choose a "
            "fresh --output"
        )


def _refuse_mixed_scores(
    results: Results, ledger: Ledger, key: Key, config: RunConfig, listing: Listing
) -> None:
    others = ledger.scored_otherwise(key.score)
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
    before = {**before, "source": {"orientation": "exif", **before.get("source", {})}}  # where it is older
    changes = [
        f"{key}: {old!r} -> {new!r}"
        for part in ("segmentor", "labels", "source")
        for key, old, new in config_differences(before.get(part), now.get(part), part)
        if part != "source" or key in _OF_PIXELS
    ]
    return "; ".join(changes) or "the weights or ignore_index of the label map changed"
