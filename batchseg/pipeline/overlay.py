"""`batchseg overlay`: pictures of masks that lie there, after a run."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pyarrow as pa
from pydantic import ValidationError

from batchseg.config.base import Limits
from batchseg.config.overlay import OverlayConfig
from batchseg.config.run import RunConfig
from batchseg.config.source import ImageReading
from batchseg.engine.session import ray_session
from batchseg.errors import BatchsegError, LabelMapError, OutputError
from batchseg.labels.label_file import load_label_map
from batchseg.labels.label_map import LabelMap
from batchseg.labels.reading import Reading
from batchseg.pipeline.choice import Choice
from batchseg.pipeline.drawing import OnDrawn, OverlayReport, draw_overlays, unseen
from batchseg.pipeline.recorded import recorded_job
from batchseg.results.classes import class_names
from batchseg.results.folder import Results
from batchseg.source.open import listed_tables, open_source
from batchseg.stages.overlay import Sight


def overlay(config: OverlayConfig, on_drawn: OnDrawn = unseen) -> OverlayReport:
    """Draw overlays from the masks of a results folder, without a model.

    The images, and for triptychs their truth, are read from where the last run read them.

    Raises:
        ConfigError: an id is not in the results.
        OutputError: there are no results with masks, or they cannot be read or written, or a run is at work
            on them.
    """
    results = Results(config.results)
    results.refuse_strangers()
    record = results.record()
    if "masks" in (record or {}).get("config", {}):
        raise OutputError(
            f"{results.root}: holds scores of masks from elsewhere, whose images are not known; "
            "batchseg overlay draws the results of batchseg run"
        )
    remarks: list[str] = []
    job = _job(record, remarks)
    label_map, truths_can_be_read = _label_map(results, record, job, remarks)

    def listed() -> Iterable[pa.Table]:
        if job is None or not truths_can_be_read:
            return ()
        return listed_tables(open_source(job.source, (config.results,)), results.work)

    named = (job.output.mask_name, job.tiffs) if job else ("stem", "none")
    choice = Choice(config, named[0], config.ids, named[1])
    limits = job.limits if job else Limits()
    images = ImageReading.of(job.source) if job else ImageReading()
    with results.looked_at() as held, ray_session(config.ray.address):
        report = draw_overlays(
            held,
            choice,
            Sight(_reading(label_map, record), images),
            limits,
            listed,
            exclude_head=config.ray.exclude_head,
            on_drawn=on_drawn,
        )
    report.remarks[:0] = remarks
    return report


def _job(record: dict[str, Any] | None, remarks: list[str]) -> RunConfig | None:
    """The configuration of the last run, be it by hand or a night's, whose record has more settings."""
    try:
        return recorded_job(record)
    except ValidationError:
        remarks.append("no truth is shown, for run.json is missing, or from another version of batchseg")
        return None


def _reading(label_map: LabelMap, record: dict[str, Any] | None) -> Reading:
    """How the run read truths; as ids where it does not say."""
    try:
        return Reading(label_map, **((record or {}).get("truth_reading") or {}))
    except (LabelMapError, TypeError):
        return Reading(label_map)


def _label_map(
    results: Results, record: dict[str, Any] | None, job: RunConfig | None, remarks: list[str]
) -> tuple[LabelMap, bool]:
    """That of the run, and whether it says how truths are read."""
    names = class_names(results, record)
    if names is None:
        raise OutputError(f"{results.root}: neither run.json nor classes.parquet says what the classes are")
    if job is None or job.labels is None:
        return LabelMap.from_names(names), True
    try:
        label_map = load_label_map(job.labels)
        if list(label_map.names) == names:
            return label_map, True
        reason = f"{job.labels} has other classes by now"
    except BatchsegError as exc:
        reason = str(exc)
    remarks.append(
        f"colours are the default ones, and no truth is shown, for the label map is gone: {reason}"
    )
    return LabelMap.from_names(names), False
