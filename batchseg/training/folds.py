"""Cross-validation: a training a fold, and every image predicted by the one model that never saw it.

source ──> folds.parquet ──> [ fold-N/: a training ──> fold-N/results/ ] ──> results/, folds/
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from batchseg.config.base import METRICS, PROMPT_METRICS
from batchseg.config.load import read_config
from batchseg.config.log_to import TensorboardLog
from batchseg.config.run import RunConfig
from batchseg.config.train import TrainConfig
from batchseg.engine.session import ray_kept
from batchseg.errors import OutputError
from batchseg.pipeline.gather import gather, link_or_copy
from batchseg.pipeline.log_to import refuse_unloggable
from batchseg.pipeline.run import run
from batchseg.results.learning import CLASSES_FILE, HISTORY
from batchseg.results.record import package_versions
from batchseg.results.result import RunResult
from batchseg.source.annotations.spool import notes_of
from batchseg.source.folder import Folder
from batchseg.source.manifest import Manifest
from batchseg.source.open import open_source
from batchseg.storage.location import locate
from batchseg.storage.lock import exclusive
from batchseg.training.begin import listed
from batchseg.training.fit import OnNews
from batchseg.training.fold_rows import Folds, part_folds
from batchseg.training.kept import writing
from batchseg.training.one import (
    TrainResult,
    earlier_record,
    refuse_lost,
    train_one,
    training_folder,
    write_record,
)

FOLDS_FILE, FOLDS, RESULTS, HELD_OUT = "folds.parquet", "folds", "results", "held_out.parquet"


@dataclass(frozen=True)
class FoldsResult(TrainResult):
    """What came out of a cross-validation.

    Attributes:
        model: the folder of the folds' models, which `batchseg run` takes as an ensemble.
        epochs, steps: of all trainings together.
        best_epoch: 0: each training has its own, in `folds`.
        metrics: over all images, each predicted by the model that had not seen it.
        temperature: 1: each model has its own.
        results: the results folder with these predictions.
        folds: of each its number, images, best epoch, and metrics on what it predicted.
    """

    results: str = ""
    folds: list[dict[str, Any]] = field(default_factory=list)


def cross_validate(config: TrainConfig, on_news: OnNews) -> FoldsResult:
    """Train `config.folds` models, have each predict what it left out, and put all of it together.

    Stopped anywhere, the same call goes on there. Raises as `train` does.
    """
    root = training_folder(config.output)
    with exclusive(locate(str(root))):
        earlier = earlier_record(config, root)
        if earlier is not None and earlier["status"] == "finished":
            refuse_lost(root / FOLDS)
            return _result(root, earlier)
        refuse_unloggable(config.log_to, locate(str(root)))
        source = open_source(config.source, (config.output,))
        folds, notes = _folds(config, source, root, goes_on=earlier is not None)
        started = {"status": "started", "config": config.model_dump(mode="json"), "notes": notes}
        write_record(root, started)
        done = []
        with ray_kept():
            for fold in range(1, folds.count + 1):
                held_out = folds.held_out(fold)
                on_news({"fold": fold, "folds": folds.count, "held_out": len(held_out)})
                with _named(fold, folds.count):
                    done.append(_fold(config, root, fold, folds, on_news))
        return _finish(config, root, started, done)


def _folds(
    config: TrainConfig, source: Folder | Manifest, root: Path, goes_on: bool
) -> tuple[Folds, list[str]]:
    """Which fold predicts which image; a cross-validation that goes on keeps to it. Raises SourceError."""
    if goes_on and (root / FOLDS_FILE).exists():
        return Folds.read(root / FOLDS_FILE), []
    with listed(source, root) as listing:
        folds, notes = part_folds(config, listing), [*notes_of(listing)]
    with writing(root):
        folds.write(root / FOLDS_FILE)
    return folds, notes


@contextmanager
def _named(fold: int, folds: int) -> Iterator[None]:
    """An interrupt says in which fold it came."""
    try:
        yield
    except KeyboardInterrupt as exc:
        raise KeyboardInterrupt(
            f"fold {fold} of {folds}: {exc or 'interrupted; the same command goes on'}"
        ) from exc


@dataclass(frozen=True)
class _Fold:
    trained: TrainResult
    predicted: RunResult
    facts: dict[str, Any]


def _fold(config: TrainConfig, root: Path, fold: int, folds: Folds, on_news: OnNews) -> _Fold:
    place = root / f"fold-{fold}"
    minutes = config.minutes / folds.count if config.minutes is not None else None
    log_to = config.log_to
    if isinstance(log_to, TensorboardLog) and log_to.folder is not None:
        log_to = log_to.model_copy(update={"folder": str(Path(log_to.folder) / place.name)})
    alone = {"output": str(place), "folds": None, "group": None, "minutes": minutes, "log_to": log_to}
    trained = train_one(config.model_copy(update=alone), on_news, folds.rows(fold, config))
    held_out = folds.held_out(fold)
    with writing(place):
        locate(str(place / HELD_OUT)).write_by(lambda path: pq.write_table(held_out, path))
    predicted = run(_run_config(config, trained.model, place / RESULTS, str(place / HELD_OUT)))
    support = {row["class_name"]: row["support"] for row in predicted.classes}
    facts = {
        "fold": fold,
        "images": len(held_out),
        "learnt_from": trained.record["images"]["train"],
        "best_epoch": trained.best_epoch,
        "metrics": _figures(predicted.metrics),
        "without": [name for name, pixels in support.items() if not pixels],
    }
    on_news({"predicted": facts})
    return _Fold(trained, predicted, facts)


def _run_config(config: TrainConfig, model: Any, output: Path, split_file: str | None = None) -> RunConfig:
    """Of a run over the training's source, which reads images and truths as the training did."""
    same = config.model_dump(
        mode="json", include={"source", "labels", "tiling", "truth", "accept", "limits", "ray"}
    )
    split = {} if split_file is None else {"split": "validation", "split_file": split_file}
    segmentor = {"model": model, "device": config.device}
    if isinstance(model, list):
        segmentor = {"members": model}
    output_and_model = {"output": {"path": str(output)}, "segmentor": segmentor}
    return read_config(RunConfig, overrides={**same, **output_and_model, **split})


def _finish(config: TrainConfig, root: Path, started: dict[str, Any], done: list[_Fold]) -> FoldsResult:
    models = _keep_models(root, [each.trained.model for each in done])
    folders = [Path(each.predicted.output) for each in done]
    whole = gather(
        folders,
        _run_config(config, models, root / RESULTS),
        f"{len(done)} folds, each on the images that it left out",
    )
    _write_history(root, [each.trained for each in done])
    absent = {name for row in whole["classes"] if not row["support"] for name in [row["class_name"]]}
    notes = [*started["notes"], *_lacking(done, absent)]
    facts = {
        "status": "finished",
        "versions": package_versions(),
        "epochs": sum(each.trained.epochs for each in done),
        "steps": sum(each.trained.steps for each in done),
        "metrics": _figures(whole["metrics"]),
        "folds": [each.facts for each in done],
        "faults": [fault for each in done for fault in each.trained.faults],
        "notes": notes,
    }
    record = {**started, **facts}
    write_record(root, record)
    return _result(root, record)


def _lacking(done: list[_Fold], absent: set[str]) -> Iterator[str]:
    """A sentence on each fold that has none of a class which others have."""
    for each in done:
        names = [name for name in each.facts["without"] if name not in absent]
        if names:
            yield f"no image of fold {each.facts['fold']} shows {', '.join(names)}, so it has no figure of it"


def _figures(metrics: Mapping[str, float | None]) -> dict[str, float | None]:
    return {name: metrics[name] for name in (*METRICS, *PROMPT_METRICS) if name in metrics}


def _keep_models(root: Path, models: list[str]) -> list[str]:
    """folds/1, folds/2 and so on: the models by number, whole or not at all. Raises OutputError."""
    folder, unfinished = root / FOLDS, root / f".{FOLDS}.unfinished"
    try:
        shutil.rmtree(unfinished, ignore_errors=True)
        for number, model in enumerate(models, 1):
            shutil.copytree(model, unfinished / str(number), copy_function=link_or_copy)
        shutil.rmtree(folder, ignore_errors=True)
        os.replace(unfinished, folder)
    except OSError as exc:
        raise OutputError(f"{folder}: cannot be written: {exc.strerror or exc}") from exc
    return [str(folder / str(number)) for number in range(1, len(models) + 1)]


def _write_history(root: Path, trainings: list[TrainResult]) -> None:
    for name in (HISTORY, CLASSES_FILE):
        tables = []
        for number, each in enumerate(trainings, 1):
            place = Path(each.output) / name
            if place.exists():  # that of classes is not, of a fold that an earlier version finished
                table = pq.read_table(place)
                tables.append(table.add_column(0, "fold", pa.array([number] * len(table), pa.int32())))
        table = pa.concat_tables(tables, promote_options="permissive")
        with writing(root):
            locate(str(root / name)).write_by(partial(pq.write_table, table))


def _result(root: Path, record: dict[str, Any]) -> FoldsResult:
    same = ("epochs", "steps", "metrics", "faults", "folds")
    return FoldsResult(
        output=str(root),
        model=str(root / FOLDS),
        best_epoch=0,
        temperature=1.0,
        history=str(root / HISTORY),
        results=str(root / RESULTS),
        record=record,
        **{name: record[name] for name in same},
    )
