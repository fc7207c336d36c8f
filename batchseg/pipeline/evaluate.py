"""Existing masks against ground truth, without a model: the graph of a run without its front."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from batchseg.config.arguments import Plain, from_arguments
from batchseg.config.evaluate import EvaluateConfig
from batchseg.config.segmentor import SegmentorConfig
from batchseg.config.source import FolderSource
from batchseg.engine.graph import Stages
from batchseg.engine.placement import Placement
from batchseg.errors import LabelMapError, OutputError
from batchseg.inspect.preflight import check_ids, check_source, check_truth
from batchseg.labels.label_file import load_label_map
from batchseg.labels.label_map import LabelMap
from batchseg.pipeline.execute import OnProgress, Pass, Task, execute, ignore
from batchseg.pipeline.fingerprints import existing_fingerprint, score_fingerprint
from batchseg.pipeline.workload import Workload
from batchseg.results.folder import Results
from batchseg.results.ledger import Key
from batchseg.results.result import RunResult
from batchseg.source.folder import MASK_SUFFIXES, Folder, stem_rule
from batchseg.source.plan import Listing, write_listing
from batchseg.stages.item import as_list
from batchseg.stages.restore import read_mask, read_masks
from batchseg.stages.score import score
from batchseg.storage.reader import image_reader


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
    mask_labels = label_map if config.mask_ids == "truth" else label_map.of_masks
    key = Key(existing_fingerprint(mask_labels), score_fingerprint(label_map), has_files=False)
    with results.held() as held:
        if any(not name.startswith("masks-") for name in held.ledger.fingerprints()):
            raise OutputError(f"{config.output} holds the results of `batchseg run`; choose another --output")
        source = _masks(config)
        listing = write_listing(source.tables(), results.work / "listing.arrow", "full")
        check_source(source, listing)
        check_truth(listing, label_map, config.limits)
        check_masks(listing, mask_labels, config)
        work = Workload.of(listing, held.ledger, key)
        gone = held.ledger.unlisted(listing.ids())
        work.drop(work.replaced() | gone)
        stages, hardware = _stages(config, label_map, mask_labels), SegmentorConfig(device="cpu")
        task = Task(
            config=config,
            model=None,
            key=key,
            label_map=label_map,
            listing=listing,
            pruned=int(gone.sum()),
            passes=(Pass(work.not_done(results.work), hardware, stages, "scoring"),),
        )
        return execute(task, held, on_progress)


def check_masks(listing: Listing, mask_labels: LabelMap, config: EvaluateConfig) -> None:
    """Raises LabelMapError where most masks hold ids that the label map does not have."""
    try:
        check_ids(listing, "uri", partial(read_mask, image_reader(), mask_labels, config.limits), "masks")
    except LabelMapError as exc:
        hint = "; masks that hold the data set's own truth ids need mask_ids: truth (--mask-ids truth)"
        raise LabelMapError(f"{exc}{hint if config.mask_ids == 'class' else ''}") from exc


def _masks(config: EvaluateConfig) -> Folder:
    source = FolderSource(
        path=config.masks, truth=config.truth, include=config.include, exclude=config.exclude
    )
    first, second = stem_rule(config.mask_suffix), stem_rule(config.truth_suffix)
    return Folder(source, (config.output,), MASK_SUFFIXES, lambda stem: second(first(stem)))


def _stages(
    config: EvaluateConfig, label_map: LabelMap, mask_labels: LabelMap
) -> Callable[[Placement], Stages]:
    return lambda placement: Stages(
        before=partial(as_list, read_masks, mask_labels, config.limits),
        model=None,
        after=partial(as_list, score, label_map, config.limits),
    )
