"""The main job: list the source, compute what is not done, and bring the results folder up to date."""

from __future__ import annotations

import hashlib
import json
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from batchseg.config.base import Limits
from batchseg.config.load import config_differences
from batchseg.config.run import RunConfig
from batchseg.config.segmentor import NetworkConfig
from batchseg.engine.graph import Stages
from batchseg.engine.heap import keep_freed_memory
from batchseg.engine.placement import Placement
from batchseg.errors import OutputError
from batchseg.images.decode import Size, whole
from batchseg.inspect.preflight import check_source, check_truth, choose_labels
from batchseg.labels.label_map import LabelMap
from batchseg.pipeline.execute import OnProgress, Task, execute, ignore
from batchseg.results.folder import Results
from batchseg.results.record import RunResult
from batchseg.segmentors.base import Checkpoint, Resizer
from batchseg.segmentors.network.precision import resolve_precision
from batchseg.segmentors.registry import open_checkpoint
from batchseg.source.open import open_source
from batchseg.source.plan import Listing, write_listing, write_remaining
from batchseg.stages.decode import decode
from batchseg.stages.item import Stage
from batchseg.stages.prepare import prepare
from batchseg.stages.score import score
from batchseg.stages.segment import Segment
from batchseg.stages.write import write_mask, write_overlay
from batchseg.storage.location import Location, locate

COMPILING_S = 600.0  # what a network may take for it at a new shape


def run(config: RunConfig, on_progress: OnProgress = ignore) -> RunResult:
    """Segment every image of the source that is not done yet.

    Args:
        config: the whole job.
        on_progress: called in this process whenever rows have come in.

    Raises:
        BatchsegError: the job as a whole cannot be done; what was finished is committed.
        KeyboardInterrupt: likewise.
    """
    model, results = OpenedModel.open(config), Results(config.output.path)
    with results.held():
        refuse_mixture(results, model, config)
        listing = survey(config, model, results.work)
        refuse_leftovers(results, model, config, listing)
        task = Task(
            config=config,
            hardware=config.segmentor,
            model=model.name,
            fingerprint=model.fingerprint,
            label_map=model.label_map,
            listing=listing,
            done=results.done(model.fingerprint),
            prune=config.prune,
            profile=config.profile,
            stages=partial(stages, config, model, str(results.root)),
        )
        return execute(task, results, on_progress)


def stages(config: RunConfig, model: OpenedModel, results: str, placement: Placement) -> Stages:
    """decode, prepare | segment | score, write."""
    return Stages(
        before=partial(before, config, model.checkpoint),
        model=partial(segment, config, model.checkpoint, placement),
        after=partial(after, config.limits, model.label_map, results, config.output.overlays),
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
    segmentor = checkpoint.load(placement.device, resolved)
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
        )
    ]


def after(limits: Limits, label_map: LabelMap, results: str, overlays: bool) -> list[Stage]:
    """From a label map to files and counts."""
    extra = [write_overlay(results, label_map, limits)] if overlays else []
    return [score(label_map, limits), write_mask(results, label_map), *extra]


@dataclass(frozen=True)
class OpenedModel:
    """The checkpoint, the label map it is run with, and the fingerprint of both."""

    name: str
    checkpoint: Checkpoint
    label_map: LabelMap
    fingerprint: str

    @classmethod
    def open(cls, config: RunConfig) -> OpenedModel:
        """Raises ModelError and LabelMapError."""
        checkpoint = open_checkpoint(config.segmentor)
        label_map = choose_labels(config.labels, checkpoint)
        # the precision as asked for, not as resolved: a night on another machine continues the same results
        facts = [checkpoint.fingerprint, label_map.fingerprint, config.segmentor.precision]
        fingerprint = hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:16]
        return cls(
            getattr(config.segmentor, "model", config.segmentor.kind), checkpoint, label_map, fingerprint
        )


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
    refuse_mixture(results, model, config)
    with tempfile.TemporaryDirectory(prefix="batchseg-") as folder:
        work = locate(folder)
        listing = survey(config, model, work)
        refuse_leftovers(results, model, config, listing)
        remaining = write_remaining(listing, work / "remaining.arrow", results.done(model.fingerprint))
    return {
        "images": {
            "listed": listing.images,
            "with_truth": listing.with_truth,
            "done_before": listing.images - remaining.images,
            "to_compute": remaining.images,
        },
        "model": {"name": model.name, "fingerprint": model.fingerprint, "classes": model.label_map.names},
        "config": config.model_dump(mode="json"),
    }


def refuse_mixture(results: Results, model: OpenedModel, config: RunConfig) -> None:
    """Raises OutputError where the folder holds masks that this model would not have made."""
    if config.recompute or results.fingerprints() <= {model.fingerprint}:
        return
    before, now = (results.record() or {}).get("config", {}), config.model_dump(mode="json")
    changes = [
        f"{key}: {old!r} -> {new!r}"
        for part in ("segmentor", "labels")
        for key, old, new in config_differences(before.get(part), now.get(part), part)
    ]
    raise OutputError(
        f"{results.root} holds masks of another model or setting "
        f"({'; '.join(changes) or 'its weights changed'}); "
        "choose a fresh --output, or have everything computed again with --recompute (and --prune, where "
        "the source no longer has some of the images)"
    )


def refuse_leftovers(results: Results, model: OpenedModel, config: RunConfig, listing: Listing) -> None:
    """Raises OutputError where rows of other classes would stay: they cannot be summed up with new ones."""
    if config.prune or not config.recompute:  # without, there are no rows of another model
        return
    others = results.of_other_classes(model.fingerprint, list(model.label_map.names))
    left = int((~listing.ids().contains(others)).sum()) if len(others) else 0
    if not left:
        return
    where, mend = "that are not in the source", "remove them with --prune (in a file prune: true)"
    if config.source.limit is not None:
        where, mend = "beyond source.limit", "leave that out"
    raise OutputError(
        f"{results.root}: holds rows with other classes of {left:,} images {where}; {mend}, or choose a "
        "fresh --output"
    )
