"""What a training begins with, once everything that would fail has been looked for.

source ──> rows ──> bands, classes ──> plan ──> start ──> how truths are read ──> what they cannot teach
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cache, partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from batchseg.config.segmentor import HuggingFaceSegmentor
from batchseg.config.source import ImageReading
from batchseg.config.train import NewModel, TrainConfig, refuse_with_prompts
from batchseg.errors import ConfigError
from batchseg.inspect.guards import Doubt
from batchseg.inspect.preflight import (
    check_source,
    choose_bands,
    choose_labels,
    look_at_pixels,
    look_at_truths,
    refuse_small_tile,
)
from batchseg.inspect.truth_sample import Looking
from batchseg.labels.label_file import load_label_map
from batchseg.labels.label_map import LabelMap
from batchseg.labels.reading import Reading
from batchseg.segmentors.huggingface.checkpoint import HuggingFaceCheckpoint
from batchseg.segmentors.llm.lora import require_peft
from batchseg.source.annotations.spool import notes_of
from batchseg.source.folder import Folder
from batchseg.source.listing import PROMPT
from batchseg.source.manifest import Manifest
from batchseg.source.open import list_source
from batchseg.source.plan import Listing, write_chosen
from batchseg.source.split import SPLIT_FILE
from batchseg.storage.location import locate
from batchseg.training.examples import examples_of
from batchseg.training.facts import find_bands, typical_size
from batchseg.training.kept import writing
from batchseg.training.plan import DataFacts, TrainingPlan, plan_of_time, plan_training
from batchseg.training.rows import Rows, split_rows
from batchseg.training.start import Made, seen_before, words_of, write_start
from batchseg.training.truth_classes import classes_of_truths
from batchseg.training.truths import check_truths, look_at_classes
from batchseg.training.window_samples import pair_reader, takes_margins
from batchseg.training.windows import cut_windows


@dataclass(frozen=True)
class Beginning:
    """What the workers need.

    Attributes:
        config: with what the plan filled in.
        rows: every image.
        examples: what is learnt from and judged by: these images, or windows of them.
        plan: None where nothing was left open.
    """

    config: TrainConfig
    start: HuggingFaceCheckpoint
    reading: Reading
    rows: Rows
    examples: Rows
    plan: TrainingPlan | None

    @property
    def sentences(self) -> tuple[str, ...]:
        """What a person should know before the first step: the plan, and what there is to say of the data."""
        planned = (self.plan.sentence,) if self.plan is not None and self.plan.sentence else ()
        return (*planned, *self.rows.notes)

    @property
    def counts(self) -> dict[str, dict[str, int]]:
        """How many images there are in either part, and how many windows, for the record."""
        kinds = {"images": self.rows, **({} if self.config.tiling is None else {"windows": self.examples})}
        return {
            name: {"train": len(rows.train), "validation": len(rows.validation)}
            for name, rows in kinds.items()
        }


def begin(
    given: TrainConfig,
    source: Folder | Manifest,
    root: Path,
    state: Path,
    *,
    earlier: dict[str, Any] | None,
    parts: Rows | None = None,
) -> Beginning:
    """All that is before the first step.

    A training that goes on has the images that it began with: parted anew, those that came in between would
    have some that it learnt from judge it.

    Args:
        earlier: the record of a training in this folder that was stopped.
        parts: which images are learnt from, and which judge; None: as the configuration says.

    Raises:
        BatchsegError: it could not be done.
    """
    if isinstance(given.model, NewModel) and given.model.mode == "lora":
        require_peft()
    goes_on = earlier is not None and (root / SPLIT_FILE).exists()
    if goes_on and earlier is not None:
        rows = Rows(pq.read_table(root / SPLIT_FILE), tuple(earlier.get("notes", ())))
    else:
        rows = parts if parts is not None else _parted(given, source, root)
        _refuse_with_prompts(given, rows)
    windows = cache(partial(cut_windows, given, rows))
    make = None if isinstance(given.model, str) else cache(partial(_made, given, rows))
    plan = recorded_plan(earlier)
    if plan is None and given.model is None and make is not None:
        plan = _new_plan(given, rows, windows, make())
    elif plan is None:
        plan = plan_of_time(given)
    config = plan.laid_under(given) if plan is not None else given
    start = _start(config, make, state / "start", anew=earlier is None)
    refuse_small_tile(config.tiling, start)
    label_map, images_as = _labels(config, start), choose_bands(config.source, start)
    reading, doubts = _reading(config, rows, label_map, images_as)
    pairs = pair_reader(config, reading, images_as)
    examples = examples_of(
        config,
        rows,
        windows if config.tiling is not None else None,
        pairs,
        has_margin=takes_margins(start, config.tiling),
        kept=(root, state),
        anew=not goes_on,
    )
    if not goes_on:
        notes = (
            *rows.notes,
            *rows.left_out(),
            *seen_before(config, rows),
            *(doubt.sentence for doubt in doubts if doubt.guard != "ignored_truth"),  # check_truths sees more
            *examples.notes,
            *check_truths(examples, pairs),
            *_of_pixels(config, rows, start, images_as),
        )
        with writing(root):
            locate(str(root / SPLIT_FILE)).write_by(partial(pq.write_table, rows.table))
        rows = replace(rows, notes=notes)
    return Beginning(config, start, reading, rows, examples, plan)


def _refuse_with_prompts(config: TrainConfig, rows: Rows) -> None:
    if PROMPT.name in rows.table.column_names:
        try:
            refuse_with_prompts(config)
        except ValueError as exc:
            raise ConfigError(str(exc)) from exc


def recorded_plan(record: dict[str, Any] | None) -> TrainingPlan | None:
    """Of a training that began before; None where nothing was planned."""
    kept = (record or {}).get("plan")
    return TrainingPlan(**kept) if kept else None


def _new_plan(given: TrainConfig, rows: Rows, windows: Callable[[], Rows], made: Made) -> TrainingPlan:
    reading, _ = _reading(given, rows, _given_labels(given, made), made.bands.reading)
    if given.tiling is None:
        learnt, size_hw = rows.train, typical_size(rows.train, made.bands, given.limits)
    else:
        learnt, size_hw = windows().train, (given.tiling.window, given.tiling.window)
    pixels_C = look_at_classes(learnt, pair_reader(given, reading, made.bands.reading)).pixels_C
    facts = DataFacts.of(len(learnt), size_hw, made.bands.channels, made.names, pixels_C)
    if given.tiling is not None:
        facts = replace(facts, noun="windows")
    return plan_training(given, facts, on_gpu=_has_gpu(given.device))


def _has_gpu(device: str) -> bool:
    import torch

    return device == "cuda" or (device == "auto" and torch.cuda.is_available())


def _given_labels(config: TrainConfig, made: Made) -> LabelMap:
    return load_label_map(config.labels) if config.labels else LabelMap.from_names(made.names)


def _made(config: TrainConfig, rows: Rows) -> Made:
    """What a new model is made for. Raises LabelMapError, SourceError, ConfigError."""
    return Made(*_names(config, rows), find_bands(config.source, rows.train, config.limits, config.tiling))


def _names(config: TrainConfig, rows: Rows) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """As `words_of`; where nobody names them, those of the ids that the ground truth holds."""
    head = config.model.head if isinstance(config.model, NewModel) else "closed"
    if config.labels is None and head == "closed":
        return classes_of_truths(rows.with_truth, config.truth, config.limits), ("{}",)
    return words_of(config)


def _start(
    config: TrainConfig, make: Callable[[], Made] | None, folder: Path, anew: bool
) -> HuggingFaceCheckpoint:
    """The checkpoint to start from, written once: a training that goes on must find the same."""
    if anew:  # what lies there is of settings that came to nothing
        shutil.rmtree(folder, ignore_errors=True)
    if not folder.exists():
        unfinished = folder.with_name(".start.unfinished")
        shutil.rmtree(unfinished, ignore_errors=True)
        made = make() if make is not None else None
        with writing(folder.parent):
            write_start(config, unfinished, made)
            os.replace(unfinished, folder)
    return HuggingFaceCheckpoint.open(HuggingFaceSegmentor(model=str(folder)))


def _labels(config: TrainConfig, start: HuggingFaceCheckpoint) -> LabelMap:
    label_map = choose_labels(config.labels, start)
    unknown = [name for name in config.class_weights if name not in label_map.names]
    if unknown:
        raise ConfigError(f"class_weights: {unknown[0]!r} is no class; they are {', '.join(label_map.names)}")
    return label_map


def _parted(config: TrainConfig, source: Folder | Manifest, root: Path) -> Rows:
    with listed(source, root) as listing:
        return replace(split_rows(config, listing), notes=notes_of(listing))


@contextmanager
def listed(source: Folder | Manifest, root: Path) -> Iterator[Listing]:
    """The images of a source, for as long as it is entered. Raises SourceError where there are none."""
    with tempfile.TemporaryDirectory(prefix="batchseg-") as folder:
        listing = list_source(source, locate(folder) / "listing.arrow", "full", work=locate(str(root)))
        check_source(source, listing)
        yield listing


def _reading(
    config: TrainConfig, rows: Rows, label_map: LabelMap, images_as: ImageReading
) -> tuple[Reading, list[Doubt]]:
    """How the ground truths are read, and what is doubtful of them. Raises SourceError, LabelMapError."""
    with tempfile.TemporaryDirectory(prefix="batchseg-") as folder:
        listing = write_chosen([rows.table], locate(folder) / "rows.arrow")
        looking = Looking(config.truth, config.limits, images_as, tiling=config.tiling)
        return look_at_truths(listing, label_map, looking, config.accept)


def _of_pixels(
    config: TrainConfig, rows: Rows, start: HuggingFaceCheckpoint, images_as: ImageReading
) -> list[str]:
    """What is doubtful about the images, of a model that brings the range it expects. Raises SourceError."""
    is_new = not isinstance(config.model, str)
    expected = None if is_new else start.pixel_range
    # dark bands are normalised by their own mean and deviation
    accepted = (*config.accept, *(["dark_images"] if is_new and images_as.is_by_band else []))
    with tempfile.TemporaryDirectory(prefix="batchseg-") as folder:
        used = rows.used.append_column("status", pa.nulls(len(rows.used), pa.string()))
        listing = write_chosen([used], locate(folder) / "rows.arrow")
        looking = Looking(config.truth, config.limits, images_as, expected, tiling=config.tiling)
        return [doubt.sentence for doubt in look_at_pixels(listing, looking, accepted, is_new=True)]
