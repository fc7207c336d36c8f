"""The figures of a run that is over, logged to MLflow or TensorBoard."""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

from batchseg.config.base import GATED_FIGURES
from batchseg.config.log_to import LogTo, MlflowLog, TensorboardLog
from batchseg.config.places import without_secrets
from batchseg.config.report import PAGE
from batchseg.errors import ConfigError, OutputError
from batchseg.storage.location import Location, is_uri, locate

_NO_KEY = re.compile(r"[^\w\-. /]", re.ASCII)  # MLflow takes nothing else in the name of a metric
_LONGEST = 500  # of the value of an MLflow parameter


def refuse_unloggable(log_to: LogTo | None, results: Location) -> None:
    """Raises ConfigError where it could not be logged in the end, before anything is computed."""
    if log_to is None:
        return
    if isinstance(log_to, MlflowLog):
        _load_mlflow()
        return
    place = log_to.folder or str(results)
    if is_uri(place):
        raise ConfigError(f"log_to: TensorBoard's files are local, and {place} is not; set log_to.folder")
    _load_tensorboard()


def _load_mlflow() -> Any:
    """MLflow, which would tell its makers of every run. Raises ConfigError where it is not installed."""
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    try:
        import mlflow
    except ImportError as exc:
        raise ConfigError("log_to (--log-to) mlflow needs MLflow: pip install 'batchseg[mlflow]'") from exc
    return mlflow


def _load_tensorboard() -> Any:
    """Torch's writer of event files. Raises ConfigError where TensorBoard is not installed."""
    try:
        import tensorboard  # noqa: F401  # what torch writes with
        from torch.utils import tensorboard as writing
    except ImportError as exc:
        raise ConfigError(
            "log_to (--log-to) tensorboard needs TensorBoard: pip install 'batchseg[tensorboard]'"
        ) from exc
    return writing


def log_run(record: Mapping[str, Any], log_to: LogTo | None, results: Location, page: str | None) -> None:
    """Log a finished run.

    Args:
        record: what run.json holds.
        page: where its report page lies; None: there is none.

    Raises OutputError where it cannot be logged; the results stay as they are.
    """
    if log_to is None:
        return
    try:
        if isinstance(log_to, MlflowLog):
            _to_mlflow(record, log_to, results, page)
        else:
            _to_tensorboard(record, board_folder(log_to, results))
    except Exception as exc:  # of a server, of a disk, of either library: the run itself is over
        reason = without_secrets(str(exc).partition("\n")[0] or type(exc).__name__)
        raise OutputError(
            f"{results}: the run has finished, but could not be logged to {log_to.kind} ({reason}); the same "
            "command logs it again"
        ) from exc


def _to_mlflow(record: Mapping[str, Any], log_to: MlflowLog, results: Location, page: str | None) -> None:
    client, where = mlflow_client(log_to)
    tags = {"batchseg.results": str(results), "batchseg.fingerprint": str(record["model"]["fingerprint"])}
    made = client.create_run(where, run_name=record["run_id"], tags=tags)
    send_figures(client, made.info.run_id, _figures(record), when=_finished(record), step=0)
    send_settings(client, made.info.run_id, _settings(record))
    # the form of mlflow.log_table, which its pages show as a table
    columns = list(record["classes"][0]) if record["classes"] else []
    rows = [[row[name] for name in columns] for row in record["classes"]]
    client.log_dict(made.info.run_id, {"columns": columns, "data": rows}, "classes.json")
    if page is not None:
        with tempfile.TemporaryDirectory(prefix="batchseg-") as folder:
            copy = os.path.join(folder, PAGE)
            locate(page).download(copy)
            client.log_artifact(made.info.run_id, copy)
    client.set_terminated(made.info.run_id, "FINISHED")


def mlflow_client(log_to: MlflowLog) -> tuple[Any, str]:
    """The client and the id of the experiment, which is made where it is not there."""
    client = _load_mlflow().MlflowClient(tracking_uri=log_to.tracking_uri)
    experiment = client.get_experiment_by_name(log_to.experiment)
    return client, experiment.experiment_id if experiment else client.create_experiment(log_to.experiment)


def send_figures(
    client: Any, run_id: str, figures: Iterable[tuple[str, float]], *, when: datetime, step: int
) -> None:
    """Of one step, under names that MLflow takes."""
    entities, some = _load_mlflow().entities, [*figures]
    when_ms = int(when.timestamp() * 1000)
    named = _distinct(_NO_KEY.sub("_", name) for name, _ in some)
    metrics = [
        entities.Metric(name, value, when_ms, step) for name, (_, value) in zip(named, some, strict=True)
    ]
    for batch in _batches(metrics, 1000):
        client.log_batch(run_id, metrics=batch)


def send_settings(client: Any, run_id: str, settings: Iterable[tuple[str, str]]) -> None:
    """Those that are there already must be the same."""
    entities = _load_mlflow().entities
    params = [entities.Param(name, value[:_LONGEST]) for name, value in settings]
    for batch in _batches(params, 100):
        client.log_batch(run_id, params=batch)


def board_writer(folder: Location, **settings: Any) -> Any:
    """What writes an event file of TensorBoard."""
    return _load_tensorboard().SummaryWriter(folder.path, **settings)


def send_scalars(writer: Any, figures: Iterable[tuple[str, float]], step: int, seconds: float) -> None:
    """Figures such as iou.road, of which TensorBoard makes a group iou.

    Args:
        seconds: when, as `time` says.
    """
    for name, value in figures:
        writer.add_scalar(name.replace(".", "/", 1), value, step, seconds)


def _to_tensorboard(record: Mapping[str, Any], folder: Location) -> None:
    step, seconds = len(folder.files()), _finished(record).timestamp()
    writer = board_writer(folder)
    send_scalars(writer, _figures(record), step, seconds)
    writer.add_text("classes", _markdown(record["classes"]), step, seconds)
    writer.add_text("run", f"{record['run_id']}: {record['model']['name']}", step, seconds)
    writer.close()


def board_folder(log_to: TensorboardLog, results: Location) -> Location:
    """Where TensorBoard looks."""
    return results / "tensorboard" if log_to.folder is None else locate(log_to.folder)


def _figures(record: Mapping[str, Any]) -> Iterator[tuple[str, float]]:
    """What is known of the whole data set, then of each class, as gates name them: iou.road."""
    timings = {name: record["timings"].get(name) for name in ("elapsed_s", "images_per_s")}
    counts = {f"images.{name}": count for name, count in record["computed"].items()}
    for name, value in {**record["metrics"], **counts, **timings}.items():
        if value is not None:
            yield name, float(value)
    for row in record["classes"]:
        for figure in GATED_FIGURES:
            if row[figure] is not None:
                yield f"{figure}.{row['class_name']}", float(row[figure])


def _settings(record: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """The configuration, flat."""
    yield "model", str(record["model"]["name"])
    yield "precision", str(record.get("precision"))
    yield "engine", str(record.get("engine"))
    yield from flat_settings(record["config"])


def flat_settings(config: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Those of a configuration, as config.NAME, without the cluster's, which may hold secrets."""

    def flat(value: Any, name: str) -> Iterator[tuple[str, str]]:
        if isinstance(value, Mapping):
            for key, item in value.items():
                yield from flat(item, f"{name}.{_NO_KEY.sub('_', str(key))}" if name else str(key))
        elif value is not None:
            yield name, str(value)

    shown = {name: value for name, value in config.items() if name != "ray"}
    yield from ((f"config.{name}", value) for name, value in flat(shown, ""))


def _markdown(rows: Sequence[Mapping[str, Any]]) -> str:
    if not rows:
        return ""

    def line(cells: Iterator[Any], show: Callable[[Any], str] = str) -> str:
        return "| " + " | ".join(show(cell).replace("|", "\\|") for cell in cells) + " |"

    def shown(cell: Any) -> str:
        return "" if cell is None else f"{cell:.4f}" if isinstance(cell, float) else str(cell)

    head = [line(iter(rows[0])), line(iter(["---"] * len(rows[0])))]
    return "\n".join([*head, *(line(iter(row.values()), shown) for row in rows)])


def _distinct(names: Iterator[str]) -> list[str]:
    """A name that was there before gets a number: two classes may differ in a sign that MLflow refuses."""
    seen: dict[str, int] = {}
    found = []
    for name in names:
        seen[name] = seen.get(name, 0) + 1
        found.append(name if seen[name] == 1 else f"{name}_{seen[name]}")
    return found


def _batches(values: list[Any], size: int) -> Iterator[list[Any]]:
    return (values[start : start + size] for start in range(0, len(values), size))


def _finished(record: Mapping[str, Any]) -> datetime:
    return datetime.fromisoformat(record["finished_at"])
