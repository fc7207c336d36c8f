"""Existing masks against ground truth, without a model: the same tables as a run."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from batchseg.config.base import Limits
from batchseg.config.evaluate import EvaluateConfig
from batchseg.config.segmentor import SegmentorConfig
from batchseg.config.source import FolderSource
from batchseg.engine.graph import Stages
from batchseg.engine.placement import Placement
from batchseg.errors import LabelMapError, OutputError, RowFault
from batchseg.images.decode import decode_labels
from batchseg.inspect.preflight import check_ids, check_source, check_truth
from batchseg.labels.label_file import load_label_map
from batchseg.labels.label_map import LabelMap
from batchseg.pipeline.execute import OnProgress, Task, execute, ignore
from batchseg.results.folder import Done, Results
from batchseg.results.record import RunResult
from batchseg.schema import Status
from batchseg.segmentors.base import Prediction
from batchseg.source.folder import MASK_SUFFIXES, Folder, stem_rule
from batchseg.source.plan import Listing, write_listing
from batchseg.stages.item import Item, Stage, for_each
from batchseg.stages.score import score
from batchseg.storage.keys import KeySet
from batchseg.storage.reader import Reader, image_reader


def evaluate(config: EvaluateConfig, on_progress: OnProgress = ignore) -> RunResult:
    """Score the masks of a folder against their ground truth; every call scores all of them anew.

    Raises:
        BatchsegError: the job as a whole cannot be done, such as when most masks hold ids that are not in
            the label map.
    """
    label_map, results = load_label_map(config.labels), Results(config.output)
    mask_labels = label_map if config.mask_ids == "truth" else replace(label_map, remap=None)
    facts = [label_map.fingerprint, config.mask_ids]
    fingerprint = "masks-" + hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:16]
    if any(not (other or "masks-").startswith("masks-") for other in results.fingerprints()):
        raise OutputError(f"{config.output} holds the results of `batchseg run`; choose another --output")
    with results.held():
        source = _masks(config)
        listing = write_listing(source.tables(), results.work / "listing.arrow", "full")
        check_source(source, listing)
        check_truth(listing, label_map, config.limits)
        check_masks(listing, mask_labels, config)
        task = Task(
            config=config,
            hardware=SegmentorConfig(device="cpu"),
            model=None,
            fingerprint=fingerprint,
            label_map=label_map,
            listing=listing,
            done=Done(KeySet()),
            prune=True,
            stages=partial(_stages, label_map, mask_labels, config.limits),
        )
        return execute(task, results, on_progress)


def check_masks(listing: Listing, mask_labels: LabelMap, config: EvaluateConfig) -> None:
    """Raises LabelMapError where most masks hold ids that the label map does not have."""
    try:
        check_ids(listing, "uri", partial(read_mask, image_reader(), mask_labels, config.limits), "masks")
    except LabelMapError as exc:
        hint = "; masks that hold the data set's own truth ids need mask_ids: truth (--mask-ids truth)"
        raise LabelMapError(f"{exc}{hint if config.mask_ids == 'class' else ''}") from exc


def read_mask(
    reader: Reader, label_map: LabelMap, limits: Limits, uri: str
) -> NDArray[np.unsignedinteger[Any]]:
    """Class ids [H, W] of an existing mask. Raises RowFault."""
    return label_map.encode(decode_labels(reader.read(uri), limits))


def _masks(config: EvaluateConfig) -> Folder:
    source = FolderSource(
        path=config.masks, truth=config.truth, include=config.include, exclude=config.exclude
    )
    first, second = stem_rule(config.mask_suffix), stem_rule(config.truth_suffix)
    return Folder(source, (config.output,), MASK_SUFFIXES, lambda stem: second(first(stem)))


def _stages(label_map: LabelMap, mask_labels: LabelMap, limits: Limits, placement: Placement) -> Stages:
    return Stages(
        before=partial(_read_masks, mask_labels, limits),
        model=list,
        after=partial(_score, label_map, limits),
    )


def _read_masks(label_map: LabelMap, limits: Limits) -> list[Stage]:
    reader = image_reader()

    def work(item: Item) -> None:
        try:
            labels_HW = read_mask(reader, label_map, limits, item.row["uri"])
        except RowFault as fault:  # here the mask plays the image's part: no fault of its truth
            status = Status.UNREADABLE if fault.status.concerns_truth else fault.status
            raise RowFault(status, str(fault)) from fault
        height, width = labels_HW.shape
        item.size_hw, item.prediction = (height, width), Prediction(labels_HW)

    return [for_each("decode", work)]


def _score(label_map: LabelMap, limits: Limits) -> list[Stage]:
    return [score(label_map, limits)]
