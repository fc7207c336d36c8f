"""The record of a run: run.json, and what the library call returns."""

from __future__ import annotations

import json
import os
import platform
import secrets
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from batchseg.config.base import Gates
from batchseg.config.evaluate import EvaluateConfig
from batchseg.config.run import RunConfig
from batchseg.metrics.confusion import ConfusionMatrix
from batchseg.results.tally import Tally

VERSIONED = ("batchseg", "torch", "torchvision", "transformers", "ray", "numpy", "pyarrow", "pillow")

SECOND = "%Y%m%dT%H%M%S"
EXIT_FINISHED, EXIT_TOO_MANY_FAILED, EXIT_GATE_FAILED = 0, 3, 4


@dataclass(frozen=True)
class RunResult:
    """What came out of a run.

    Attributes:
        output: the results folder.
        statuses: images computed in this run, by status.
        done_before: images that needed no work.
        metrics: of the whole data set (all committed images, earlier runs included), by name; None
            without ground truth.
        worst: (mean IoU, id) of the images of this run with the lowest mean IoU, ascending.
        faults: by status, the id and the error of the first image of this run that has it.
        gates: one sentence for each gate that failed.
        exit_code: 0 finished, 3 too many images failed, 4 a quality gate failed.
    """

    run_id: str
    output: str
    listed: int
    done_before: int
    statuses: dict[str, int]
    metrics: dict[str, float | None]
    worst: list[tuple[float, str]]
    faults: dict[str, str]
    elapsed_s: float
    images_per_s: float | None
    exit_code: int
    gates: list[str]
    record: dict[str, Any] = field(repr=False)

    @property
    def computed(self) -> int:
        """Images of this run."""
        return sum(self.statuses.values())

    @property
    def failed(self) -> int:
        """Images of this run that are not ok."""
        return self.computed - self.statuses.get("ok", 0)


def new_run_id(last: str) -> str:
    """Sorts by time, to the microsecond, and behind the `last` run of the folder whatever the clock says: the
    order of their names decides whose rows replace whose. A `last` that is no run's name says nothing."""
    now = datetime.now(timezone.utc)
    with suppress(ValueError):
        second = datetime.strptime(last[:15], SECOND).replace(tzinfo=timezone.utc)
        now = max(now, second + timedelta(microseconds=int(last[16:21], 16) + 1))
    return f"{now:{SECOND}}-{now.microsecond:05x}{secrets.token_hex(1)[0]}"


def judge(gates: Gates, tally: Tally, metrics: dict[str, float | None]) -> tuple[int, list[str]]:
    """The exit code of a finished run, and a sentence for every gate that failed."""
    sentences = []
    if not gates.allows(tally.failed, tally.total):
        sentences.append(f"{tally.failed} of {tally.total} images failed; max_failed is {gates.max_failed}")
    code = EXIT_TOO_MANY_FAILED if sentences else EXIT_FINISHED
    for name, lowest in gates.minimum.items():
        value = metrics[name]
        if value is None:
            sentences.append(f"{name} is unknown without ground truth; its minimum is {lowest}")
        elif value < lowest:
            sentences.append(f"{name} is {value:.4f}; its minimum is {lowest}")
    if code == EXIT_FINISHED and sentences:
        code = EXIT_GATE_FAILED
    return code, sentences


def run_record(
    run_id: str, status: str, config: RunConfig | EvaluateConfig, tally: Tally, facts: dict[str, Any]
) -> dict[str, Any]:
    """What run.json holds; `facts` are the parts that only the caller knows."""
    return {
        "run_id": run_id,
        "status": status,
        "finished_at": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "config": config.model_dump(mode="json"),
        "versions": package_versions(),
        "machine": {"host": platform.node(), "python": platform.python_version(), "cpus": os.cpu_count()},
        "computed": dict(sorted(tally.statuses.items())),
        **facts,
    }


def parse_record(data: bytes) -> dict[str, Any]:
    """What run.json holds. Raises ValueError where it is not the record of a run."""
    try:
        record = json.loads(data)
    except (ValueError, RecursionError) as exc:
        raise ValueError(f"cannot be read: {exc}") from exc
    if not isinstance(record, dict) or not isinstance(record.get("run_id"), str):
        raise ValueError("is not the record of a run: it has no run_id")
    for part in ("config", "model", "images", "computed"):
        if not isinstance(record.get(part, {}), dict):
            raise ValueError(f"is not the record of a run: its {part} is no object")
    if not all(isinstance(count, int) for count in record.get("computed", {}).values()):
        raise ValueError("is not the record of a run: its computed does not hold numbers of images")
    names = record.get("model", {}).get("classes", [])
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise ValueError("is not the record of a run: its model.classes are no names")
    return record


def package_versions() -> dict[str, str | None]:
    """What is installed of the packages that shape a result."""
    return {name: _version(name) for name in VERSIONED}


def result_of(record: dict[str, Any], output: str, tally: Tally) -> RunResult:
    """The library's view of a finished run's record."""
    return RunResult(
        run_id=record["run_id"],
        output=output,
        listed=record["images"]["listed"],
        done_before=record["images"]["done_before"],
        statuses=record["computed"],
        metrics=record["metrics"],
        worst=tally.worst,
        faults=tally.faults,
        elapsed_s=record["timings"]["elapsed_s"],
        images_per_s=record["timings"]["images_per_s"],
        exit_code=record["exit_code"],
        gates=record["gates"],
        record=record,
    )


def total_facts(total: ConfusionMatrix, gates: Gates, tally: Tally) -> dict[str, Any]:
    """Metrics over the data set, and the verdict on them."""
    metrics = total.summary()
    code, sentences = judge(gates, tally, metrics)
    return {"metrics": metrics, "truth_pixels": total.truth_pixels, "gates": sentences, "exit_code": code}


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
