"""Looking back at a run that is over: its configuration, and how its masks and truths are read."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, replace
from typing import Any

from pydantic import ValidationError

from batchseg.config.base import Limits
from batchseg.config.compare import NightConfig
from batchseg.config.evaluate import EvaluateConfig
from batchseg.config.segmentor import AnySegmentor, EnsembleSegmentor
from batchseg.config.source import ImageReading
from batchseg.errors import BatchsegError, LabelMapError, OutputError
from batchseg.labels.label_file import BUILT_IN, load_label_map
from batchseg.labels.label_map import LabelMap
from batchseg.labels.reading import Reading, ReadingChoice
from batchseg.labels.recorded import recorded_label_map
from batchseg.results.classes import class_names
from batchseg.results.folder import Results
from batchseg.storage.location import is_uri

Record = dict[str, Any]
_FILE_OF_CLASS = re.compile(r"(\.py):\w+$")


@dataclass(frozen=True)
class LookBack:
    """What is known of the last run by whoever looks at its images again.

    Attributes:
        job: its configuration; None where there is no record, or another version of batchseg wrote it.
        truths: how ground truths are read; its label map has the names and colours of the classes.
        knows_truths: whether `truths` is as it was in the run. Else no truth is to be shown.
        masks: how the masks are read, where they were scored where they lay; None where the run wrote them.
        remarks: a sentence on each thing that is not known.
    """

    job: NightConfig | EvaluateConfig | None
    truths: Reading
    knows_truths: bool
    masks: Reading | None
    remarks: tuple[str, ...]

    @property
    def label_map(self) -> LabelMap:
        return self.truths.label_map

    @property
    def limits(self) -> Limits:
        return self.job.limits if self.job else Limits()

    @property
    def images(self) -> ImageReading:
        """How the run read its images."""
        return ImageReading.of(self.job.source) if isinstance(self.job, NightConfig) else ImageReading()


def look_back(results: Results, record: Record | None) -> LookBack:
    """Raises OutputError where nothing says what the classes are."""
    names = class_names(results, record)
    if names is None:
        raise OutputError(f"{results.root}: neither run.json nor classes.parquet says what the classes are")
    remarks = []
    try:
        job = recorded_evaluation(record) if is_evaluation(record) else recorded_job(record)
    except ValidationError:
        job = None
        remarks.append("no truth is shown, for run.json is missing, or from another version of batchseg")
    label_map, problem = _label_map(names, record, job)
    if problem:
        remarks.append(
            f"colours are the default ones, and no truth is shown, for the label map is gone: {problem}"
        )
    masks = None
    if isinstance(job, EvaluateConfig):
        masks = _reading_of_masks(job, label_map, (record or {}).get("mask_reading"))
    truths = _reading(label_map, (record or {}).get("truth_reading"))
    return LookBack(job, truths, job is not None and problem is None, masks, tuple(remarks))


def is_evaluation(record: Record | None) -> bool:
    """Whether the last run scored masks where they lay."""
    return "masks" in (record or {}).get("config", {})


def recorded_job(record: Record | None) -> NightConfig:
    """That of the last run, be it by hand or a night's, whose record has more settings.

    Relative paths are as they were meant where the run was started. Raises pydantic's ValidationError where
    there is no record, or another version of batchseg wrote it.
    """
    job = NightConfig.model_validate((record or {}).get("config"))
    names = ("path", "truth", "root")
    paths = {
        name: _absolute(record, getattr(job.source, name)) for name in names if hasattr(job.source, name)
    }
    labels = _labels(record, job.labels)
    return job.model_copy(update={"source": job.source.model_copy(update=paths), "labels": labels})


def recorded_evaluation(record: Record | None) -> EvaluateConfig:
    """The same of `batchseg evaluate`."""
    job = EvaluateConfig.model_validate((record or {}).get("config"))
    truth = job.truth.model_copy(update={"path": _absolute(record, job.truth.path)})
    changed = {"masks": _absolute(record, job.masks), "truth": truth, "labels": _labels(record, job.labels)}
    return job.model_copy(update=changed)


def recorded_model(record: Record | None, segmentor: AnySegmentor) -> AnySegmentor:
    """The segmentor of a run, whose relative paths are as they were meant where the run was started."""
    if isinstance(segmentor, EnsembleSegmentor):
        members = tuple(recorded_model(record, member) for member in segmentor.members)
        return segmentor.model_copy(update={"members": members})
    names = [name for name in ("model", "weights") if hasattr(segmentor, name)]
    there = {name: _absolute(record, getattr(segmentor, name)) or "" for name in names}
    # a name on the hub, of a builder or of a module is no path
    found = {name: path for name, path in there.items() if os.path.exists(_FILE_OF_CLASS.sub(r"\1", path))}
    return segmentor.model_copy(update=found)


def _absolute(record: Record | None, path: str | None) -> str | None:
    folder = (record or {}).get("machine", {}).get("folder") or ""
    return path if path is None or is_uri(path) else os.path.join(folder, os.path.expanduser(path))


def _labels(record: Record | None, labels: str | None) -> str | None:
    return labels if (BUILT_IN / f"{labels}.yaml").is_file() else _absolute(record, labels)


def _reading(label_map: LabelMap, settings: Any) -> Reading:
    """As it is recorded; as ids where it is not."""
    try:
        return Reading(label_map, **(settings or {}))
    except (LabelMapError, TypeError):
        return Reading(label_map)


def _reading_of_masks(job: EvaluateConfig, label_map: LabelMap, settings: Any) -> Reading:
    """As it is recorded; where it is not, as the job says, which leaves open what RGB files hold."""
    own = label_map if job.mask_ids == "truth" else label_map.of_masks
    if settings:
        return _reading(own, settings)
    try:
        found = ReadingChoice(own, job.mask_settings).reading()
    except LabelMapError:
        return Reading(own)
    return replace(found, rgb=found.rgb or "colours")


def _label_map(
    names: list[str], record: Record | None, job: NightConfig | EvaluateConfig | None
) -> tuple[LabelMap, str | None]:
    """That of the run, or the default one and a reason."""
    default = LabelMap.from_names(names)
    try:
        recorded = (record or {}).get("truth_label_map")
        if recorded is not None:
            return recorded_label_map(recorded), None
        if isinstance(job, NightConfig) and job.merge:
            return default, "its record does not say how its classes were merged"
        if job is None or job.labels is None:
            return default, None
        label_map = load_label_map(job.labels)
    except BatchsegError as exc:
        return default, str(exc)
    if list(label_map.names) != names:
        return default, f"{job.labels} has other classes by now"
    return label_map, None
