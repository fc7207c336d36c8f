"""The figures of a training while it learns, logged to MLflow or TensorBoard: a validated epoch is a step.

A training lives where its log does not: the first failure is told, and nothing more is logged.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, Protocol

from batchseg.config.log_to import MlflowLog, TensorboardLog
from batchseg.config.places import without_secrets
from batchseg.config.train import TrainConfig
from batchseg.pipeline.log_to import (
    board_folder,
    board_writer,
    flat_settings,
    mlflow_client,
    send_figures,
    send_scalars,
    send_settings,
)
from batchseg.results.learning import Learning, Row
from batchseg.storage.location import locate
from batchseg.training.fit import OnNews

OF_MLFLOW = "mlflow.json"  # beside what resumes a training: which run it is


class _Log(Protocol):
    def add(self, epoch: int, figures: Iterable[tuple[str, float]]) -> None: ...
    def close(self, status: str) -> None: ...


@contextmanager
def logged(config: TrainConfig, root: Path, state: Path, on_news: OnNews) -> Iterator[OnNews]:
    """What hands news on and logs epochs, those of earlier calls first; without `log_to` `on_news` itself."""
    if config.log_to is None:
        yield on_news
        return
    logger = _Logger(config, root, state, on_news)
    try:
        yield logger
    except KeyboardInterrupt:
        logger.close("KILLED")
        raise
    except BaseException:
        logger.close("FAILED")
        raise
    logger.close("FINISHED")


class _Logger:
    def __init__(self, config: TrainConfig, root: Path, state: Path, on_news: OnNews) -> None:
        self.config, self.root, self.state, self.on_news = config, root, state, on_news
        self.log: _Log | None = None
        self.failed = False

    def __call__(self, news: dict[str, Any]) -> None:
        self.on_news(news)
        if "epoch" in news:
            self._try(lambda: self._add(news["epoch"], news["classes"]))

    def close(self, status: str) -> None:
        if (log := self.log) is not None:
            self._try(lambda: log.close(status))

    def _add(self, row: Row, classes: list[Row]) -> None:
        if self.log is None:
            before = Learning.read(locate(str(self.root)))
            earlier = [each for each in before.history if each["epoch"] < row["epoch"]]
            self.log = self._open(first=earlier[0]["epoch"] if earlier else row["epoch"])
            for each in earlier:
                of_epoch = [row for row in before.classes if row["epoch"] == each["epoch"]]
                self.log.add(each["epoch"], _figures(each, of_epoch))
        self.log.add(row["epoch"], _figures(row, classes))

    def _open(self, first: int) -> _Log:
        if isinstance(self.config.log_to, MlflowLog):
            return _OfMlflow(self.config.log_to, self.config, self.root, self.state)
        assert self.config.log_to is not None
        return _OfTensorboard(self.config.log_to, self.root, first)

    def _try(self, do: Callable[[], None]) -> None:
        if self.failed:
            return
        try:
            do()
        except Exception as exc:  # of a server, of a disk, of either library: the training goes on
            self.failed = True
            assert self.config.log_to is not None
            reason = without_secrets(str(exc).partition("\n")[0] or type(exc).__name__)
            self.on_news(
                {"note": f"the training is not logged to {self.config.log_to.kind} any more ({reason})"}
            )


class _OfTensorboard:
    """One event file a call; what an earlier one wrote of the same epochs is purged."""

    def __init__(self, log_to: TensorboardLog, root: Path, first: int) -> None:
        self.writer = board_writer(board_folder(log_to, locate(str(root))), purge_step=first)

    def add(self, epoch: int, figures: Iterable[tuple[str, float]]) -> None:
        send_scalars(self.writer, figures, epoch, datetime.now(timezone.utc).timestamp())
        self.writer.flush()

    def close(self, status: str) -> None:
        self.writer.close()


class _OfMlflow:
    """One run a training, however often it was stopped."""

    def __init__(self, log_to: MlflowLog, config: TrainConfig, root: Path, state: Path) -> None:
        self.client, experiment = mlflow_client(log_to)
        kept = state / OF_MLFLOW
        self.done: set[int] = set()
        if kept.exists() and json.loads(kept.read_text(encoding="utf-8"))["experiment"] == experiment:
            self.run_id = str(json.loads(kept.read_text(encoding="utf-8"))["run_id"])
            self.done = {each.step for each in self.client.get_metric_history(self.run_id, "loss")}
            self.client.update_run(self.run_id, status="RUNNING")
            return
        tags = {"batchseg.training": str(root)}
        name = f"{root.parent.name}/{root.name}"
        self.run_id = self.client.create_run(experiment, run_name=name, tags=tags).info.run_id
        send_settings(self.client, self.run_id, flat_settings(config.model_dump(mode="json")))
        kept.write_text(json.dumps({"experiment": experiment, "run_id": self.run_id}), encoding="utf-8")

    def add(self, epoch: int, figures: Iterable[tuple[str, float]]) -> None:
        if epoch not in self.done:
            send_figures(self.client, self.run_id, figures, when=datetime.now(timezone.utc), step=epoch)

    def close(self, status: str) -> None:
        self.client.set_terminated(self.run_id, status)


def _figures(row: Row, classes: list[Row]) -> Iterator[tuple[str, float]]:
    """Of the epoch, then of each class, as gates name them: iou.road."""
    for name, value in row.items():
        if name != "epoch" and value is not None and math.isfinite(value):
            yield name, float(value)
    for each in classes:
        if each["iou"] is not None:
            yield f"iou.{each['class_name']}", float(each["iou"])
