"""What ran, on what, how long, and where the time went, from the record of the run."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import yaml
from pydantic import ValidationError

from batchseg.config.base import Model
from batchseg.config.compare import NightConfig
from batchseg.config.evaluate import EvaluateConfig
from batchseg.config.places import redacted
from batchseg.results.progress import duration
from batchseg.results.recorded import is_evaluation

Record = dict[str, Any]


@dataclass(frozen=True)
class StageTime:
    """Seconds of all workers together, and their share of what all stages took."""

    name: str
    seconds: float
    share: float


@dataclass(frozen=True)
class Timing:
    """Where the time of the last run went: some figures by name, and the stages, the longest first."""

    figures: tuple[tuple[str, str], ...]
    stages: tuple[StageTime, ...]


def facts_of(record: Record | None) -> list[tuple[str, str]]:
    """What ran, each as a name and a text. Empty without a record."""
    return [(name, text) for name, text in _facts(record or {}) if text]


def settings_of(record: Record | None) -> str:
    """The settings that are not as by default, as YAML; the cluster's may hold secrets and stay out."""
    config = (record or {}).get("config") or {}
    return changed_settings(config, EvaluateConfig if is_evaluation(record) else NightConfig)


def changed_settings(config: Record, kind: type[Model]) -> str:
    """The same of any job, by what its configuration is."""
    with suppress(ValidationError):  # of another version: then all of them
        config = kind.model_validate(config).model_dump(mode="json", exclude_defaults=True)
    config = {name: value for name, value in config.items() if name != "ray"}
    return yaml.safe_dump(redacted(config), sort_keys=False, allow_unicode=True) if config else ""


def timing_of(record: Record | None) -> Timing | None:
    """None where the last run did nothing, or is of a version that did not tell."""
    timings = (record or {}).get("timings") or {}
    spent = sorted((timings.get("stage_s") or {}).items(), key=lambda cost: -cost[1])
    total = sum(seconds for _, seconds in spent)
    if not total:
        return None
    return Timing(
        tuple(_rates(record or {}, timings)),
        tuple(StageTime(name, seconds, seconds / total) for name, seconds in spent),
    )


def _facts(record: Record) -> Iterator[tuple[str, str]]:
    config, machine = record.get("config") or {}, record.get("machine") or {}
    yield "Model", str((record.get("model") or {}).get("name") or "")
    yield "Masks", str(config.get("masks") or "")
    yield "Images", str((config.get("source") or {}).get("path") or "")
    yield "Truth", _truth(record)
    yield "Finished", str(record.get("finished_at") or "").replace("T", " ").replace("+00:00", " UTC")
    yield "Took", _took(record)
    yield "Computed in", _computed_in(record)
    named = [machine.get("host"), f"{machine['cpus']} CPUs" if machine.get("cpus") else None]
    yield "Machine", ", ".join(each for each in named if each)
    versions = record.get("versions") or {}
    shown = (f"{name} {versions[name]}" for name in ("batchseg", "torch", "ray") if versions.get(name))
    yield "Versions", ", ".join(shown)
    yield "Run", str(record.get("run_id") or "")


def _truth(record: Record) -> str:
    config = record.get("config") or {}
    given = config.get("truth") if is_evaluation(record) else (config.get("source") or {}).get("truth")
    path = given.get("path") if isinstance(given, dict) else given
    read = record.get("truth_read")
    return ", ".join(each for each in (path, f"read {read}" if read else None) if each)


def _took(record: Record) -> str:
    timings = record.get("timings") or {}
    if timings.get("elapsed_s") is None:
        return ""
    images = sum((record.get("computed") or {}).values())
    rate = f" ({timings['images_per_s']:.1f} a second)" if timings.get("images_per_s") else ""
    return f"{duration(timings['elapsed_s'])} for {images:,} images{rate}"


def _computed_in(record: Record) -> str:
    placement = record.get("placement") or {}
    copies = placement.get("actors")
    parts = [record.get("precision"), f"on {placement['device']}" if placement.get("device") else None]
    parts.append(f"{copies} copies of the model" if copies and copies > 1 else None)
    return ", ".join(each for each in parts if each)


def _rates(record: Record, timings: Record) -> Iterator[tuple[str, str]]:
    yield "Whole run", duration(timings["elapsed_s"])
    for key, name in (
        ("startup_s", "Until the first image was begun"),
        ("first_row_s", "Until the first row"),
    ):
        if timings.get(key) is not None:
            yield name, f"{timings[key]:.1f} s"
    if timings.get("steady_images_per_s") is not None:
        yield "Steady state", f"{timings['steady_images_per_s']:.1f} images a second"
    if timings.get("actor_utilisation") is not None:
        yield "Actors busy", f"{timings['actor_utilisation']:.0%}"
    computed = sum((record.get("computed") or {}).values())
    if computed:
        work = sum(timings["stage_s"].values())
        yield "Work an image", f"{1000 * work / computed:.0f} ms"
