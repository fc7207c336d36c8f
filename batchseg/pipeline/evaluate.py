"""Existing masks against ground truth, without a model: the graph of a run without its front."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from batchseg.config.arguments import Plain, from_arguments
from batchseg.config.evaluate import EvaluateConfig
from batchseg.config.network import SegmentorConfig
from batchseg.config.source import ImageReading
from batchseg.engine.graph import Stages
from batchseg.engine.placement import Placement
from batchseg.errors import LabelMapError, OutputError
from batchseg.inspect.guards import Doubt
from batchseg.inspect.preflight import check_source, look_at_masks, look_at_truths
from batchseg.inspect.truth_sample import Looking
from batchseg.labels.label_file import load_label_map
from batchseg.labels.label_map import LabelMap
from batchseg.labels.reading import Reading
from batchseg.metrics.measures import Measures
from batchseg.pipeline.collect import OnProgress
from batchseg.pipeline.execute import Pass, Task, execute, ignore
from batchseg.pipeline.fingerprints import (
    existing_fingerprint,
    score_fingerprint,
    without_truth_fingerprint,
)
from batchseg.pipeline.workload import Workload
from batchseg.results.folder import Results
from batchseg.results.gates import refuse_unknown_classes
from batchseg.results.result import RunResult
from batchseg.results.verdict import Key
from batchseg.source.annotations.spool import notes_of
from batchseg.source.open import list_source, open_masks
from batchseg.source.plan import Listing
from batchseg.stages.by_window import score_lying
from batchseg.stages.item import Stage, as_list
from batchseg.stages.measure import measure
from batchseg.stages.restore import read_masks

_AS_STORED = ImageReading(as_stored=True)  # masks play the part of the images


def evaluate(
    masks: EvaluateConfig | Plain,
    on_progress: OnProgress = ignore,
    *,
    truth: Plain | None = None,
    output: Plain | None = None,
    labels: Plain | None = None,
    settings: Mapping[str, Any] | None = None,
) -> RunResult:
    """Score the masks of a folder that have no score yet against their ground truth.

    Args:
        masks: the whole job; or the folder of the masks, as MASKS of the command line, whose options the
            others are.
        on_progress: called in this process whenever rows have come in.
        settings: any other setting, nested as in a configuration file.

    Raises:
        BatchsegError: the job as a whole cannot be done, such as when most masks hold ids that are not in
            the label map.
    """
    given = {"truth": truth, "output": output, "labels": labels}
    return _evaluate(from_arguments(EvaluateConfig, ("masks", masks), given, settings, {}), on_progress)


def _evaluate(config: EvaluateConfig, on_progress: OnProgress) -> RunResult:
    label_map, results = load_label_map(config.labels), Results(config.output)
    refuse_unknown_classes(config.gates.minimum, label_map.names, "gates.minimum (--min)")
    mask_labels = label_map if config.mask_ids == "truth" else label_map.of_masks
    with results.held() as held:
        if any(not name.startswith("masks-") for name in held.ledger.fingerprints()):
            raise OutputError(f"{config.output} holds the results of `batchseg run`; choose another --output")
        source = open_masks(config)
        listing = list_source(source, results.work / "listing.arrow", "full")
        check_source(source, listing)
        looking = Looking(config.truth, config.limits, _AS_STORED)
        reading, doubts = look_at_truths(listing, label_map, looking, config.accept)
        masks, more = check_masks(listing, mask_labels, config)
        measures = Measures.of(config, reading.label_map)
        key = Key(
            existing_fingerprint(masks),
            score_fingerprint(reading, measures),
            has_files=False,
            without_truth=without_truth_fingerprint(measures),
        )
        work = Workload.of(listing, held.ledger, key)
        gone = held.ledger.unlisted(listing.ids())
        work.drop(work.replaced() | gone)
        stages, hardware = _stages(config, reading, masks), SegmentorConfig(device="cpu")
        task = Task(
            config=config,
            model=None,
            key=key,
            reading=reading,
            doubts=[*doubts, *more],
            listing=listing,
            pruned=int(gone.sum()),
            notes=notes_of(listing),
            about={"mask_reading": masks.settings},
            passes=(Pass(work.not_done(results.work), hardware, stages, "scoring"),),
        )
        return execute(task, held, on_progress)


def check_masks(
    listing: Listing, mask_labels: LabelMap, config: EvaluateConfig
) -> tuple[Reading, list[Doubt]]:
    """How the masks are read. Raises LabelMapError where most hold ids that the label map does not have."""
    looking = Looking(config.mask_settings, config.limits, _AS_STORED)
    try:
        return look_at_masks(listing, mask_labels, looking, config.accept)
    except LabelMapError as exc:
        hint = "; masks that hold the data set's own truth ids need mask_ids: truth (--mask-ids truth)"
        raise LabelMapError(f"{exc}{hint if config.mask_ids == 'class' else ''}") from exc


def _stages(config: EvaluateConfig, reading: Reading, masks: Reading) -> Callable[[Placement], Stages]:
    return lambda placement: Stages(
        before=partial(as_list, read_masks, masks, config.limits),
        model=None,
        after=partial(_score_and_measure, config, reading, masks),
    )


def _score_and_measure(config: EvaluateConfig, reading: Reading, masks: Reading) -> list[Stage]:
    measures = Measures.of(config, reading.label_map)
    scored = score_lying(masks, reading, config.limits, keep_truth=measures is not None)
    return [scored, *([] if measures is None else [measure(measures, reading, config.limits)])]
