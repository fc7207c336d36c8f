"""One training: of a model, from its start to its export.

start ──> rows ──> [ workers of Ray Train: loop.py ] ──> best epoch ──> export ──> OUTPUT/model
"""

from __future__ import annotations

import json
import os
import platform
import shutil
from dataclasses import asdict, dataclass, field
from pathlib import Path
from time import time
from typing import Any

from pydantic import ValidationError

from batchseg.config.base import METRICS, PROMPT_METRICS
from batchseg.config.load import config_differences
from batchseg.config.train import TrainConfig
from batchseg.engine.session import ray_session
from batchseg.errors import ModelError, OutputError
from batchseg.labels.recorded import record_label_map
from batchseg.pipeline.log_to import refuse_unloggable
from batchseg.results.learning import HISTORY, RECORD
from batchseg.results.record import package_versions
from batchseg.segmentors.huggingface.checkpoint import HuggingFaceCheckpoint
from batchseg.segmentors.llm.head import alike
from batchseg.source.open import open_source
from batchseg.source.split import SPLIT_FILE
from batchseg.storage.location import is_uri, locate
from batchseg.storage.lock import exclusive
from batchseg.training.begin import Beginning, begin, recorded_plan
from batchseg.training.export import export_trained
from batchseg.training.fit import Fitted, OnNews, fit
from batchseg.training.job import State
from batchseg.training.kept import Kept, what_is_left, writing
from batchseg.training.logged import logged
from batchseg.training.prompts import check_prompts, prompt_reader, write_states
from batchseg.training.rows import Rows
from batchseg.training.truths import listed_names

MODEL, STATE = "model", "state"
OF_A_RUN = ("run.json", "runs", "images")
# where it runs and what is told of it, and not what it learns
BY_PLACE_ONLY = ("ray", "workers", "device", "output", "report", "log_to")
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
        page: where its report page lies; None: none was asked for.
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
    page: str | None = None


def train_one(config: TrainConfig, on_news: OnNews, parts: Rows | None = None) -> TrainResult:
    """Train one model; see `train`.

    Args:
        parts: which images it learns from, and which judge it; None: as the configuration says.
    """
    begun = time()
    root = training_folder(config.output)
    with exclusive(locate(str(root))):
        earlier = earlier_record(config, root)
        if earlier is not None and earlier["status"] == "finished":
            refuse_lost(root / MODEL)
            return _result(root, earlier)
        refuse_unloggable(config.log_to, locate(str(root)))
        source = open_source(config.source, (config.output,))  # first: nothing is written among the images
        if not isinstance(config.model, str):  # of a model to go on from its files tell
            check_prompts(source, config.model is not None and config.model.head == "prompt")
        ready = begin(config, source, root, root / STATE, earlier=earlier, parts=parts)
        reader = prompt_reader(ready.start, source)
        write_record(root, _started(ready))
        for sentence in ready.sentences:
            on_news({"note": sentence})
        write_states(reader, ready.rows, root / STATE)
        with logged(config, root, root / STATE, on_news) as tell:
            try:
                with ray_session(config.ray.address):
                    fitted = fit(ready, state=root / STATE, begun=begun, on_news=tell)
            except KeyboardInterrupt as exc:
                left = what_is_left(Kept(root / STATE).finished, ready.config.epochs)
                raise KeyboardInterrupt(left) from exc
            for sentence in _of_the_end(ready, fitted):
                on_news({"note": sentence})
            return _finish(ready, root, fitted)


def training_folder(output: str) -> Path:
    """The folder of a training, which is made. Raises OutputError."""
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


def refuse_lost(model: Path) -> None:
    """Raises OutputError where a training has finished, and its model is not there any more."""
    if not model.exists():
        raise OutputError(
            f"{model}: the training has finished, but its model is gone; bring it back, or choose a fresh "
            "--output to train again"
        )


def earlier_record(config: TrainConfig, root: Path) -> dict[str, Any] | None:
    """The record of a training in this folder. Raises OutputError for one with other settings."""
    try:
        record: dict[str, Any] = json.loads((root / RECORD).read_text(encoding="utf-8"))
        before, _ = _as_now(record["config"]), record["status"]
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError) as exc:
        raise OutputError(f"{root / RECORD}: cannot be read: {exc}; choose a fresh --output") from exc
    if plan := recorded_plan(record):
        config = plan.laid_under(config)
    # more or less time is no other training; but without a limit its epochs may have no end
    is_free = record["status"] != "finished" and config.minutes is not None
    apart = (*BY_PLACE_ONLY, "minutes") if is_free else BY_PLACE_ONLY
    changes = [
        f"{key}: {old!r} -> {new!r}"
        for key, old, new in config_differences(before, config.model_dump(mode="json"))
        if key.partition(".")[0] not in apart
    ]
    if changes:
        raise OutputError(
            f"{root} holds a training with other settings ({'; '.join(changes)}); choose a fresh --output"
        )
    return record


def _as_now(config: dict[str, Any]) -> dict[str, Any]:
    """Recorded settings with the defaults of those that came later; as they are where they no longer hold."""
    try:
        return TrainConfig.model_validate(config).model_dump(mode="json")
    except ValidationError:
        return config


def _started(ready: Beginning) -> dict[str, Any]:
    """What train.json holds of a training that is not finished."""
    plan = {} if ready.plan is None else {"plan": asdict(ready.plan)}
    return {
        "status": "started",
        "config": ready.config.model_dump(mode="json"),
        **plan,
        "label_map": record_label_map(ready.reading.label_map),
        "channels": ready.start.channels,
        "notes": list(ready.rows.notes),
    }


def _finish(ready: Beginning, root: Path, fitted: Fitted) -> TrainResult:
    """Export the best epoch, write the history, and leave a record. Raises ModelError after a failure."""
    with writing(root):
        export_trained(
            ready.config,
            ready.start,
            fitted.best,
            fitted.row["temperature"],
            split=root / SPLIT_FILE,
            folder=root / MODEL,
        )
        State(**fitted.last).learning(ready.reading.label_map.names).write(locate(str(root)))
    if fitted.failure is not None:
        raise ModelError(
            f"training stopped: {fitted.failure}; the best epoch before it, {fitted.row['epoch']}, is in "
            f"{root / MODEL}; a lower learning_rate may help"
        )
    notes = [*ready.rows.notes, *_of_the_end(ready, fitted)]
    record = {**_started(ready), "notes": notes, "status": "finished", **_facts(ready, fitted)}
    write_record(root, record)
    shutil.rmtree(root / STATE)
    return _result(root, record)


def _of_the_end(ready: Beginning, fitted: Fitted) -> list[str]:
    """What only the whole validation could tell."""
    unjudged = State(**fitted.last).unjudged(ready.reading.label_map.names)
    if not unjudged:
        return []
    return [f"no validation image shows {listed_names(unjudged)}, so nothing says how well it was learnt"]


def _facts(ready: Beginning, fitted: Fitted) -> dict[str, Any]:
    """What train.json holds of a finished training beside that."""
    last, row = fitted.last, fitted.row
    seconds = {
        name: round(sum(epoch[name] for epoch in last["history"]), 1) for name in ("train_s", "validation_s")
    }
    return {
        "versions": package_versions(),
        "machine": {"host": platform.node(), "python": platform.python_version(), "cpus": os.cpu_count()},
        **ready.counts,
        "epochs": last["epoch"],
        "steps": last["step"],
        "best_epoch": row["epoch"],
        "metrics": {name: row[name] for name in (*METRICS, *PROMPT_METRICS) if name in row},
        "temperature": row["temperature"],
        "class_cosines": _class_cosines(ready.start, fitted.best),
        **seconds,
        "faults": last["faults"],
    }


def _class_cosines(start: HuggingFaceCheckpoint, weights: dict[str, Any]) -> list[dict[str, Any]] | None:
    """How much alike the names of the classes are, the most alike first; None without a text head."""
    if "head.embeddings" not in weights:
        return None
    names = start.label_map.names
    return alike(names, weights["head.embeddings"], weights["head.project.weight"])[:MOST_ALIKE]


def write_record(root: Path, record: dict[str, Any]) -> None:
    """Write train.json, whole or not at all. Raises OutputError."""
    with writing(root):
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
