"""The training job: `batchseg train`.

start ──> rows ──> [ workers of Ray Train: loop.py ] ──> best state ──> export ──> OUTPUT/model
"""

from __future__ import annotations

import json
import logging
import os
import platform
import shutil
import tempfile
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import Event, Thread
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import torch

from batchseg.config import METRICS, HuggingFaceSegmentor
from batchseg.config_train import NewModel, TrainConfig
from batchseg.engine.session import ray_session
from batchseg.errors import BatchsegError, ConfigError, ModelError, OutputError
from batchseg.labels import LabelMap
from batchseg.load import differences
from batchseg.preflight import check_source, check_truth, choose_labels
from batchseg.results.lock import exclusive
from batchseg.results.record import package_versions
from batchseg.segmentors.huggingface import HuggingFaceCheckpoint
from batchseg.segmentors.llm.head import alike
from batchseg.segmentors.llm.lora import require_peft
from batchseg.segmentors.precision import resolve_precision
from batchseg.stages.source import open_source
from batchseg.stages.source.plan import write_listing
from batchseg.storage import is_uri, locate
from batchseg.training.export import export
from batchseg.training.loop import STATE, Job, train_worker
from batchseg.training.rows import Rows, split_rows
from batchseg.training.start import write_start

RECORD = "train.json"
MOST_ALIKE = 50  # pairs of classes in the record
RETRIES = 3  # of workers that die; each goes on from the last epoch
BY_PLACE_ONLY = ("ray", "workers", "device")  # settings that change where it runs and not what it learns

OnNews = Callable[[dict[str, Any]], None]


@dataclass(frozen=True)
class TrainResult:
    """What came out of a training.

    Attributes:
        model: the exported checkpoint's folder.
        steps: steps of the optimiser.
        best_epoch: the epoch with the highest mean IoU on validation, which was exported.
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
    record: dict[str, Any]


def train(config: TrainConfig, on_news: OnNews = lambda news: None) -> TrainResult:
    """Train a segmentation model on images with ground truth.

    A training that was stopped goes on from its last finished epoch when the same is called again.

    Args:
        config: the whole training.
        on_news: called with `step`, `steps` and what is new: `loss`, `epoch` (a row of the history), or
            `fault` (an image that cannot be used).

    Raises:
        BatchsegError: it cannot be done, or had to stop; finished epochs are kept.
        KeyboardInterrupt: likewise.
    """
    if is_uri(config.output):
        raise OutputError(f"{config.output}: must be a folder on a disk that every worker reaches")
    root = Path(config.output).expanduser().absolute()
    _make(root)
    with exclusive(locate(str(root))):
        finished = _earlier(config, root)
        if finished is not None:
            return _result(finished)
        start = _start(config, root)
        label_map = _labels(config, start)
        rows = _rows(config, label_map)
        _write_record(root, {"status": "started", "config": config.model_dump(mode="json")})
        with ray_session(config.ray.address):
            state, best = _fit(config, root, start, label_map, rows, on_news)
    return _finish(config, root, start, rows, state, best)


def _make(root: Path) -> None:
    try:
        (root / "state").mkdir(parents=True, exist_ok=True)
    except OSError as exc:
        raise OutputError(f"{root}: cannot be written: {exc.strerror or exc}") from exc


def _earlier(config: TrainConfig, root: Path) -> dict[str, Any] | None:
    """The record of a training that is finished. Raises OutputError for one with other settings."""
    try:
        record: dict[str, Any] = json.loads((root / RECORD).read_text(encoding="utf-8"))
        before = record["config"]
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError) as exc:
        raise OutputError(f"{root / RECORD}: cannot be read: {exc}; choose a fresh --output") from exc
    changes = [
        f"{key}: {old!r} -> {new!r}"
        for key, old, new in differences(before, config.model_dump(mode="json"))
        if key.partition(".")[0] not in (*BY_PLACE_ONLY, "output")
    ]
    if changes:
        raise OutputError(
            f"{root} holds a training with other settings ({'; '.join(changes)}); choose a fresh --output"
        )
    return record if record["status"] == "finished" else None


def _start(config: TrainConfig, root: Path) -> HuggingFaceCheckpoint:
    """The checkpoint to start from, written once."""
    folder = root / "state" / "start"
    if isinstance(config.model, NewModel) and config.model.mode == "lora":
        require_peft()
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


def _rows(config: TrainConfig, label_map: LabelMap) -> Rows:
    """The images to learn from and to judge by. Raises SourceError, LabelMapError."""
    source = open_source(config.source, (config.output,))
    with tempfile.TemporaryDirectory(prefix="batchseg-") as folder:
        listing = write_listing(source.tables(), locate(folder) / "listing.arrow", "full")
        check_source(source, listing)
        check_truth(listing, label_map, config.limits)
        return split_rows(config, listing)


def _fit(
    config: TrainConfig,
    root: Path,
    start: HuggingFaceCheckpoint,
    label_map: LabelMap,
    rows: Rows,
    on_news: OnNews,
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Run the workers. The last state, and the weights of the best. Raises BatchsegError."""
    from ray.train import CheckpointConfig, FailureConfig, RunConfig, ScalingConfig
    from ray.train.torch import TorchTrainer

    workers, cpus, device = _hardware(config)
    scaling = ScalingConfig(num_workers=workers, use_gpu=device == "cuda", resources_per_worker={"CPU": cpus})
    keeping = RunConfig(
        name="ray",
        storage_path=str(root / "state"),
        failure_config=FailureConfig(max_failures=RETRIES),
        checkpoint_config=CheckpointConfig(num_to_keep=1, checkpoint_score_attribute="mean_iou"),
    )
    with _news(on_news) as events:
        job = Job(
            config=config,
            start=start,
            label_map=label_map,
            train=rows.train,
            validation=rows.validation,
            crop=config.crop or _input_size(start),
            device=device,
            precision=resolve_precision(config.precision, device),
            threads=cpus,
            events=events.queue,
        )
        trainer = TorchTrainer(
            train_worker, train_loop_config={"job": job}, scaling_config=scaling, run_config=keeping
        )
        with _sentences(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            result = trainer.fit()
    if result.checkpoint is not None:
        state = _load(result.checkpoint)["state"]
        best = _load(result.get_best_checkpoint("mean_iou", "max"))
    if events.failure is not None:
        if result.checkpoint is not None:
            _export(config, root, start, best)
        raise ModelError(_stopped(events.failure, root, result.checkpoint is not None))
    return state, best


def _stopped(failure: str, root: Path, exported: bool) -> str:
    kept = f"the best epoch so far is in {root / 'model'}" if exported else "no epoch was finished"
    return f"training stopped: {failure}; {kept}; a lower learning_rate may help"


def _load(checkpoint: Any) -> dict[str, Any]:
    with checkpoint.as_directory() as folder:
        loaded: dict[str, Any] = torch.load(Path(folder) / STATE, map_location="cpu", weights_only=True)
    return loaded


def _hardware(config: TrainConfig) -> tuple[int, int, str]:
    """Workers, CPUs of each, and the device. Raises ConfigError where GPUs are asked for and there are none."""
    import ray

    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    gpus = int(sum(node.get("GPU", 0) for node in nodes))
    device = config.device if config.device != "auto" else ("cuda" if gpus else "cpu")
    if device == "cuda" and not gpus:
        raise ConfigError("device is cuda, but Ray sees no GPU; use --device cpu or auto")
    workers = config.workers or (gpus if device == "cuda" else 1)
    able = [node for node in nodes if node.get("GPU" if device == "cuda" else "CPU", 0) >= 1]
    share = -(-workers // len(able))
    return workers, max(1, int(min(node.get("CPU", 1) for node in able)) // share), device


def _input_size(start: HuggingFaceCheckpoint) -> int:
    """The shorter side of the model's input, in pixels."""
    from batchseg.segmentors.huggingface_processor import load_processor

    size = load_processor(start.location.folder(), start.model_type, False).size
    return int(size.get("shortest_edge") or min(size["height"], size["width"]))


class _Events:
    """What rank 0 tells while it learns, handed on as it comes."""

    def __init__(self, queue: Any, on_news: OnNews) -> None:
        self.queue, self.on_news = queue, on_news
        self.failure: str | None = None
        self.ended = Event()

    def follow(self) -> None:
        while not self.ended.wait(0.2):
            self.drain()

    def drain(self) -> None:
        for news in self.queue.get_nowait_batch(self.queue.qsize()):
            self.failure = news.get("failure", self.failure)
            self.on_news(news)


@contextmanager
def _news(on_news: OnNews) -> Iterator[_Events]:
    from ray.util.queue import Queue

    events = _Events(Queue(actor_options={"num_cpus": 0}), on_news)
    follower = Thread(target=events.follow, daemon=True)
    follower.start()
    try:
        yield events
    finally:
        events.ended.set()
        follower.join()
    events.drain()


@contextmanager
def _sentences() -> Iterator[None]:
    """What a worker raised on purpose, as it was; anything else as one sentence."""
    from ray.train import TrainingFailedError

    logging.getLogger("ray.train").setLevel(logging.CRITICAL)
    try:
        yield
    except TrainingFailedError as exc:
        failures = list(getattr(exc, "worker_failures", {}).values()) or [exc]
        for failure in failures:
            if isinstance(failure, BatchsegError):
                raise failure from exc
        lines = [line for line in str(failures[0]).splitlines() if line.strip()]
        reason = lines[-1].strip() if lines else type(failures[0]).__name__
        raise ModelError(
            f"the training workers failed: {reason}; finished epochs are kept, the same command goes on from there"
        ) from exc


def _finish(
    config: TrainConfig,
    root: Path,
    start: HuggingFaceCheckpoint,
    rows: Rows,
    state: dict[str, Any],
    best: dict[str, Any],
) -> TrainResult:
    """Export the best, write the history, and leave a record."""
    row = _export(config, root, start, best)
    pq.write_table(pa.Table.from_pylist(state["history"]), root / "history.parquet")
    record = {
        "status": "finished",
        "config": config.model_dump(mode="json"),
        "versions": package_versions(),
        "machine": {"host": platform.node(), "python": platform.python_version(), "cpus": os.cpu_count()},
        "images": {"train": len(rows.train), "validation": len(rows.validation)},
        "epochs": state["epoch"],
        "steps": state["step"],
        "best_epoch": row["epoch"],
        "metrics": {name: row[name] for name in METRICS},
        "temperature": row["temperature"],
        "class_cosines": _class_cosines(start, best["network"]),
        "train_s": round(sum(epoch["train_s"] for epoch in state["history"]), 1),
        "validation_s": round(sum(epoch["validation_s"] for epoch in state["history"]), 1),
        "faults": state["faults"],
        "output": str(root),
    }
    _write_record(root, record)
    return _result(record)


def _class_cosines(start: HuggingFaceCheckpoint, weights: dict[str, Any]) -> list[dict[str, Any]] | None:
    """How much alike the names of the classes are, the most alike first; None without a text head."""
    if "head.embeddings" not in weights:
        return None
    names = start.label_map.names
    return alike(names, weights["head.embeddings"], weights["head.project.weight"])[:MOST_ALIKE]


def _export(
    config: TrainConfig, root: Path, start: HuggingFaceCheckpoint, best: dict[str, Any]
) -> dict[str, Any]:
    """Write OUTPUT/model; the row of the history that it belongs to."""
    row: dict[str, Any] = best["state"]["history"][-1]
    export(config, start, best["network"], row["temperature"], root / "model")
    return row


def _write_record(root: Path, record: dict[str, Any]) -> None:
    locate(str(root / RECORD)).write(json.dumps(record, indent=2).encode())


def _result(record: dict[str, Any]) -> TrainResult:
    root = Path(record["output"])
    return TrainResult(
        output=str(root),
        model=str(root / "model"),
        epochs=record["epochs"],
        steps=record["steps"],
        best_epoch=record["best_epoch"],
        metrics=record["metrics"],
        temperature=record["temperature"],
        history=str(root / "history.parquet"),
        faults=record["faults"],
        record=record,
    )
