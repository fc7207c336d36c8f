"""The workers of a training: how many, where, what they tell, and how they fail."""

from __future__ import annotations

import logging
import math
import signal
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import Event, Thread, current_thread, main_thread
from typing import Any

from batchseg.config.looks import Tiling
from batchseg.config.train import TrainConfig
from batchseg.engine.nodes import Nodes, anywhere_but, usable_nodes
from batchseg.errors import BatchsegError, ConfigError, ModelError, OutputError
from batchseg.segmentors.huggingface.checkpoint import HuggingFaceCheckpoint
from batchseg.segmentors.network.precision import resolve_precision
from batchseg.training.begin import Beginning
from batchseg.training.job import TrainingJob
from batchseg.training.kept import Kept
from batchseg.training.loop import train_worker

RETRIES = 3  # of workers that die; each goes on from the last epoch that was finished

OnNews = Callable[[dict[str, Any]], None]


@dataclass(frozen=True)
class Fitted:
    """What the workers left behind.

    Attributes:
        last: how far they came, as `loop.State` in plain values.
        best: the state dict of the epoch with the highest mean IoU.
        row: that epoch's row of the history.
        failure: why they had to stop; None where they did not.
    """

    last: dict[str, Any]
    best: dict[str, Any]
    row: dict[str, Any]
    failure: str | None


def fit(ready: Beginning, *, state: Path, begun: float, on_news: OnNews) -> Fitted:
    """Run the workers until they are through, from wherever an earlier run of theirs stopped.

    Args:
        state: folder for their checkpoints, on a disk that every worker reaches.
        begun: when the training began, as `time` says.

    Raises:
        BatchsegError: they failed; finished epochs are in `state`.
    """
    from ray.train import FailureConfig, RunConfig
    from ray.train.torch import TorchTrainer

    config, start, rows = ready.config, ready.start, ready.examples
    nodes = usable_nodes(config.ray.exclude_head)
    workers, cpus, device = _hardware(config, nodes)
    with _news(on_news) as events:
        job = TrainingJob(
            config=config,
            start=start,
            reading=ready.reading,
            train=rows.train,
            validation=rows.validation,
            crop=config.crop or _input_size(start, config.tiling),
            device=device,
            precision=resolve_precision(config.precision, device),
            threads=cpus,
            state=state,
            events=events.queue,
            begun=begun,
            spent_before=_spent_before(state) if config.minutes is not None else 0.0,
        )
        trainer = TorchTrainer(
            train_worker,
            train_loop_config={"job": job},
            scaling_config=_scaling(workers, cpus, device, anywhere_but(nodes.without)),
            run_config=RunConfig(
                name="ray", storage_path=str(state), failure_config=FailureConfig(max_failures=RETRIES)
            ),
        )
        with _interruptible(), _sentences(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            trainer.fit()
    if events.unkept is not None:
        raise OutputError(events.unkept)
    return _fitted(Kept(state), events.failure)


def _spent_before(state: Path) -> float:
    kept = (Kept(state).last() or {}).get("state", {})
    return float(kept.get("spent_s", 0.0))


def _fitted(kept: Kept, failure: str | None) -> Fitted:
    last = (kept.last() or {}).get("state")
    if last is None or not last["history"]:
        raise ModelError(f"training stopped: {failure}; no epoch was finished and validated before that")
    best = last["best_epoch"]
    row = next(row for row in last["history"] if row["epoch"] == best)
    return Fitted(last, kept.best(best), row, failure)


def _scaling(workers: int, cpus: int, device: str, selector: dict[str, str] | None) -> Any:
    from ray.train import ScalingConfig

    return ScalingConfig(
        num_workers=workers,
        use_gpu=device == "cuda",
        resources_per_worker={"CPU": cpus},
        label_selector=selector,
    )


def _hardware(config: TrainConfig, nodes: Nodes) -> tuple[int, int, str]:
    """Workers, CPUs of each, and the device. Raises ConfigError where there is no GPU or no room."""
    gpus = int(nodes.total("GPU"))
    device = config.device if config.device != "auto" else ("cuda" if gpus else "cpu")
    if device == "cuda" and not gpus:
        raise ConfigError("device is cuda, but Ray sees no GPU; use --device cpu or auto")
    workers = config.workers or (gpus if device == "cuda" else 1)
    most = int(max(node.get("CPU", 0) for node in nodes.resources))
    for cpus in range(most, 0, -1):
        if _room(nodes, cpus, device) >= workers:
            return workers, cpus, device
    each = "a CPU and a GPU" if device == "cuda" else "a CPU"
    raise ConfigError(  # Ray would wait for ever
        f"workers is {workers}, but each takes {each}, and there is room for {_room(nodes, 1, device)}"
    )


def _room(nodes: Nodes, cpus: int, device: str) -> int:
    """How many workers of so many CPUs, and on cuda a GPU, fit on the nodes."""
    gpus = [node.get("GPU", 0) if device == "cuda" else math.inf for node in nodes.resources]
    fitting = (min(node.get("CPU", 0) // cpus, gpu) for node, gpu in zip(nodes.resources, gpus, strict=True))
    return sum(int(each) for each in fitting)


def _input_size(start: HuggingFaceCheckpoint, tiling: Tiling | None) -> int:
    """The shorter side of the model's input, in pixels."""
    if tiling is not None:
        return min(start.preparer(as_is=True).input_hw((tiling.size, tiling.size)))
    from batchseg.segmentors.huggingface.processor import load_processor

    size = load_processor(start.location.folder(), start.model_type, False).size
    return int(size.get("shortest_edge") or min(size["height"], size["width"]))


class _Events:
    """What rank 0 tells while it learns, handed on as it comes."""

    def __init__(self, queue: Any, on_news: OnNews) -> None:
        self.queue, self.on_news = queue, on_news
        self.failure: str | None = None
        self.unkept: str | None = None
        self.ended = Event()

    def follow(self) -> None:
        while not self.ended.wait(0.2):
            self.drain()

    def drain(self) -> None:
        for news in self.queue.get_nowait_batch(self.queue.qsize()):
            self.failure = news.get("failure", self.failure)
            self.unkept = news.get("unkept", self.unkept)
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
def _interruptible() -> Iterator[None]:
    """Ray Train ends its workers at Ctrl-C, and then this process: let it be the interrupt that it was."""
    before = signal.getsignal(signal.SIGINT)
    try:
        yield
    except SystemExit as exc:
        raise KeyboardInterrupt from exc
    finally:
        if before is not None and current_thread() is main_thread():
            signal.signal(signal.SIGINT, before)


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
            f"the training workers failed: {reason}; finished epochs are kept, and the same command goes on "
            "from there"
        ) from exc
