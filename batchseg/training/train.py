"""The training job: `batchseg train`.

start ──> rows ──> [ workers of Ray Train: loop.py ] ──> best epoch ──> export ──> OUTPUT/model
"""

from __future__ import annotations

import json
import os
import platform
import shutil
import tempfile
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from batchseg.config.base import METRICS, PROMPT_METRICS
from batchseg.config.load import config_differences
from batchseg.config.segmentor import HuggingFaceSegmentor
from batchseg.config.source import ImageReading
from batchseg.config.train import NewModel, TrainConfig
from batchseg.engine.session import ray_session
from batchseg.errors import ConfigError, ModelError, OutputError
from batchseg.inspect.guards import Doubt
from batchseg.inspect.preflight import check_source, choose_labels, look_at_truths
from batchseg.inspect.truth_sample import Looking
from batchseg.labels.label_map import LabelMap
from batchseg.labels.reading import Reading
from batchseg.results.record import package_versions
from batchseg.segmentors.huggingface.checkpoint import HuggingFaceCheckpoint
from batchseg.segmentors.llm.head import alike
from batchseg.segmentors.llm.lora import require_peft
from batchseg.source.annotations.spool import notes_of
from batchseg.source.folder import Folder
from batchseg.source.manifest import Manifest
from batchseg.source.open import list_source, open_source
from batchseg.source.plan import write_chosen
from batchseg.source.split import SPLIT_FILE
from batchseg.storage.location import is_uri, locate
from batchseg.storage.lock import exclusive
from batchseg.training.export import export_trained
from batchseg.training.fit import Fitted, OnNews, fit
from batchseg.training.kept import Kept, what_is_left
from batchseg.training.prompts import prompt_reader, write_states
from batchseg.training.rows import Rows, split_rows
from batchseg.training.start import seen_before, write_start
from batchseg.training.truths import check_truths

RECORD, HISTORY, MODEL, STATE = "train.json", "history.parquet", "model", "state"
OF_A_RUN = ("run.json", "runs", "images")
BY_PLACE_ONLY = ("ray", "workers", "device", "output")  # where it runs, and not what it learns
MOST_ALIKE = 50  # pairs of classes in the record


@dataclass(frozen=True)
class TrainResult:
    """What came out of a training.

    Attributes:
        model: the exported checkpoint's folder.
        steps: steps of the optimiser.
        best_epoch: the epoch with the highest mean IoU (with prompts gIoU) on validation, which was exported.
        metrics: of that epoch, on the validation images.
        temperature: fitted on the validation images.
        history: path of the Parquet table with a row an epoch.
        faults: id, status and error of images that could not be used.
    """

    output: str
    model: str
    epochs: int
    steps: int
    best_epoch: int
    metrics: dict[str, float]
    temperature: float
    history: str
    faults: list[dict[str, str]]
    record: dict[str, Any] = field(repr=False)


def train(config: TrainConfig, on_news: OnNews = lambda news: None) -> TrainResult:
    """Train a segmentation model on images with ground truth.

    A training that was stopped goes on from its last finished epoch when the same is called again; one that
    is finished is only reported.

    Args:
        config: the whole training.
        on_news: called with what is new: first with each `note` (a sentence on the data), then with `step`,
            `steps` and one of `loss`, `validated` (images, of `judges`), `fault` (an image that cannot be
            used) or `epoch` (a row of the history; that epoch is kept).

    Raises:
        BatchsegError: it cannot be done, or had to stop; finished epochs are kept.
        KeyboardInterrupt: likewise; its sentence says from where the next call goes on.
    """
    root = _folder(config.output)
    with exclusive(locate(str(root))):
        earlier = _earlier(config, root)
        if earlier is not None and earlier["status"] == "finished":
            return _result(root, earlier)
        source = open_source(config.source, (config.output,))  # first: nothing is written among the images
        start = _start(config, root, anew=earlier is None)
        reader = prompt_reader(start, source)
        rows, reading = _rows(config, source, _labels(config, start), root, earlier)
        started = {"status": "started", "config": config.model_dump(mode="json"), "notes": list(rows.notes)}
        _write_record(root, started)
        for note in rows.notes:
            on_news({"note": note})
        write_states(reader, rows, root / STATE)
        try:
            with ray_session(config.ray.address):
                fitted = fit(config, start, reading, rows, state=root / STATE, on_news=on_news)
        except KeyboardInterrupt as exc:
            raise KeyboardInterrupt(what_is_left(Kept(root / STATE).finished, config.epochs)) from exc
        return _finish(config, root, start, rows, fitted)


def _folder(output: str) -> Path:
    if is_uri(output):
        raise OutputError(f"{output}: must be a folder on a disk that every worker reaches")
    root = Path(output).expanduser().absolute()
    if found := next((name for name in OF_A_RUN if (root / name).exists()), None):
        raise OutputError(
            f"{root}: holds {found}, as the results of `batchseg run` do, which a training must not be "
            "mixed with; choose a fresh --output"
        )
    try:
        root.mkdir(parents=True, exist_ok=True)
    except OSError as exc:
        raise OutputError(f"{root}: cannot be written: {exc.strerror or exc}") from exc
    return root


def _earlier(config: TrainConfig, root: Path) -> dict[str, Any] | None:
    """The record of a training in this folder. Raises OutputError for one with other settings."""
    try:
        record: dict[str, Any] = json.loads((root / RECORD).read_text(encoding="utf-8"))
        before, _ = record["config"], record["status"]
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError) as exc:
        raise OutputError(f"{root / RECORD}: cannot be read: {exc}; choose a fresh --output") from exc
    changes = [
        f"{key}: {old!r} -> {new!r}"
        for key, old, new in config_differences(before, config.model_dump(mode="json"))
        if key.partition(".")[0] not in BY_PLACE_ONLY
    ]
    if changes:
        raise OutputError(
            f"{root} holds a training with other settings ({'; '.join(changes)}); choose a fresh --output"
        )
    return record


def _start(config: TrainConfig, root: Path, anew: bool) -> HuggingFaceCheckpoint:
    """The checkpoint to start from, written once: a training that goes on must find the same."""
    folder = root / STATE / "start"
    if isinstance(config.model, NewModel) and config.model.mode == "lora":
        require_peft()
    if anew:  # what lies there is of settings that came to nothing
        shutil.rmtree(folder, ignore_errors=True)
    if not folder.exists():
        unfinished = folder.with_name(".start.unfinished")
        shutil.rmtree(unfinished, ignore_errors=True)
        write_start(config, unfinished)
        os.replace(unfinished, folder)
    return HuggingFaceCheckpoint.open(HuggingFaceSegmentor(model=str(folder)))


def _labels(config: TrainConfig, start: HuggingFaceCheckpoint) -> LabelMap:
    label_map = choose_labels(config.labels, start)
    unknown = [name for name in config.class_weights if name not in label_map.names]
    if unknown:
        raise ConfigError(f"class_weights: {unknown[0]!r} is no class; they are {', '.join(label_map.names)}")
    return label_map


def _rows(
    config: TrainConfig,
    source: Folder | Manifest,
    label_map: LabelMap,
    root: Path,
    earlier: dict[str, Any] | None,
) -> tuple[Rows, Reading]:
    """The images to learn from and to judge by.

    A training that goes on has the images that it began with: parted anew, those that came in between would
    have some that it learnt from judge it. Raises SourceError, LabelMapError.
    """
    if earlier is not None and (root / SPLIT_FILE).exists():
        rows = Rows(pq.read_table(root / SPLIT_FILE), tuple(earlier.get("notes", ())))
        return rows, _reading(config, rows, label_map)[0]
    rows = _parted(config, source, root)
    reading, doubts = _reading(config, rows, label_map)
    notes = (
        *rows.notes,
        *rows.left_out(),
        *seen_before(config, rows),
        *(doubt.sentence for doubt in doubts if doubt.guard != "ignored_truth"),  # check_truths sees more
        *check_truths(rows, reading, config.limits, ImageReading.of(config.source)),
    )
    locate(str(root / SPLIT_FILE)).write_by(partial(pq.write_table, rows.table))
    return replace(rows, notes=notes), reading


def _parted(config: TrainConfig, source: Folder | Manifest, root: Path) -> Rows:
    with tempfile.TemporaryDirectory(prefix="batchseg-") as folder:
        listing = list_source(source, locate(folder) / "listing.arrow", "full", work=locate(str(root)))
        check_source(source, listing)
        return replace(split_rows(config, listing), notes=notes_of(listing))


def _reading(config: TrainConfig, rows: Rows, label_map: LabelMap) -> tuple[Reading, list[Doubt]]:
    """How the ground truths are read, and what is doubtful of them. Raises SourceError, LabelMapError."""
    with tempfile.TemporaryDirectory(prefix="batchseg-") as folder:
        listing = write_chosen([rows.table], locate(folder) / "rows.arrow")
        looking = Looking(config.truth, config.limits, ImageReading.of(config.source))
        return look_at_truths(listing, label_map, looking, config.accept)


def _finish(
    config: TrainConfig, root: Path, start: HuggingFaceCheckpoint, rows: Rows, fitted: Fitted
) -> TrainResult:
    """Export the best epoch, write the history, and leave a record. Raises ModelError after a failure."""
    export_trained(
        config,
        start,
        fitted.best,
        fitted.row["temperature"],
        split=root / SPLIT_FILE,
        folder=root / MODEL,
    )
    pq.write_table(pa.Table.from_pylist(fitted.last["history"]), root / HISTORY)
    if fitted.failure is not None:
        raise ModelError(
            f"training stopped: {fitted.failure}; the best epoch before it, {fitted.row['epoch']}, is in "
            f"{root / MODEL}; a lower learning_rate may help"
        )
    record = {"status": "finished", **_facts(config, start, rows, fitted)}
    _write_record(root, record)
    shutil.rmtree(root / STATE)
    return _result(root, record)


def _facts(config: TrainConfig, start: HuggingFaceCheckpoint, rows: Rows, fitted: Fitted) -> dict[str, Any]:
    """What train.json holds of a finished training."""
    last, row = fitted.last, fitted.row
    seconds = {
        name: round(sum(epoch[name] for epoch in last["history"]), 1) for name in ("train_s", "validation_s")
    }
    return {
        "config": config.model_dump(mode="json"),
        "versions": package_versions(),
        "machine": {"host": platform.node(), "python": platform.python_version(), "cpus": os.cpu_count()},
        "images": {"train": len(rows.train), "validation": len(rows.validation)},
        "epochs": last["epoch"],
        "steps": last["step"],
        "best_epoch": row["epoch"],
        "metrics": {name: row[name] for name in (*METRICS, *PROMPT_METRICS) if name in row},
        "temperature": row["temperature"],
        "class_cosines": _class_cosines(start, fitted.best),
        **seconds,
        "notes": list(rows.notes),
        "faults": last["faults"],
    }


def _class_cosines(start: HuggingFaceCheckpoint, weights: dict[str, Any]) -> list[dict[str, Any]] | None:
    """How much alike the names of the classes are, the most alike first; None without a text head."""
    if "head.embeddings" not in weights:
        return None
    names = start.label_map.names
    return alike(names, weights["head.embeddings"], weights["head.project.weight"])[:MOST_ALIKE]


def _write_record(root: Path, record: dict[str, Any]) -> None:
    locate(str(root / RECORD)).write(json.dumps(record, indent=2).encode())


def _result(root: Path, record: dict[str, Any]) -> TrainResult:
    same = ("epochs", "steps", "best_epoch", "metrics", "temperature", "faults")
    return TrainResult(
        output=str(root),
        model=str(root / MODEL),
        history=str(root / HISTORY),
        record=record,
        **{name: record[name] for name in same},
    )
