"""Is it the language model that helps? The same training with and without it, seed by seed.

arms x label fractions x seeds ──train──> checkpoints ──test──> ablation.parquet ──> ablation.md
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from batchseg.config.load import read_config
from batchseg.config.train import NewModel, TrainConfig
from batchseg.errors import ConfigError
from batchseg.storage.location import locate
from batchseg.training.train import train
from tests.bench.ablation.controls import with_control
from tests.bench.ablation.judge import costs, judge
from tests.bench.ablation.report import write_report

TABLE, REPORT, ROW, STARTS = "ablation.parquet", "ablation.md", "test.json", "starts"

OnRun = Callable[[dict[str, Any]], None]


@dataclass(frozen=True)
class Run:
    """One training of the ablation."""

    arm: str
    fraction: float
    seed: int

    def config(self, base: TrainConfig, root: Path) -> TrainConfig:
        """As many steps as with all labels, and as many validations."""
        times = round(1 / self.fraction)
        changes = {
            "output": str(root / self.arm / f"{self.fraction:g}" / f"{self.seed}"),
            "seed": self.seed,
            "train_fraction": self.fraction,
            "epochs": base.epochs * times,
            "validate_every": base.validate_every * times,
        }
        return base.model_copy(update=changes)


def read_arms(
    paths: Sequence[str], source: str, language_model: str | None = None, address: str | None = None
) -> dict[str, TrainConfig]:
    """Configurations by the stems of their files, all on one source. Raises ConfigError."""
    common = {"source": {"path": source}, "output": "unused", "ray": {"address": address}}
    arms = {Path(path).stem: read_config(TrainConfig, path, (), common) for path in paths}
    if language_model is not None:
        arms = {name: _around(language_model, arm) for name, arm in arms.items()}
    return arms


def _around(language_model: str, config: TrainConfig) -> TrainConfig:
    model = config.model
    if not isinstance(model, NewModel) or model.language_model is None:
        return config
    return config.model_copy(update={"model": model.model_copy(update={"language_model": language_model})})


def ablation(
    arms: Mapping[str, TrainConfig],
    output: str,
    seeds: Sequence[int] = (0, 1, 2),
    fractions: Sequence[float] = (1.0, 0.05),
    on_run: OnRun = lambda row: None,
) -> Path:
    """Train every arm with every share of the labels and every seed, and test each once.

    What is finished is not done again, so that several calls may share the work, each with seeds of its own,
    and a last one with all of them makes the tables.

    Args:
        arms: configurations by name; the first is what the others are compared with. Their manifests have a
            column `split`, whose part `test` judges. An arm called random or shuffled is a control.
        output: folder for the runs, ablation.parquet (a row a run) and ablation.md.
        fractions: shares of the training labels; the steps are the same with each.
        on_run: called with the row of every run.

    Returns:
        the path of ablation.md.

    Raises:
        BatchsegError: a run cannot be done.
    """
    if len(arms) < 2 or len(seeds) < 2:
        raise ConfigError("an ablation compares at least two configurations over at least two seeds")
    root = Path(output).expanduser().absolute()
    runs = [Run(*each) for each in product(arms, fractions, seeds)]
    rows = []
    # seed by seed, so that a comparison that is cut short is still paired
    for run in sorted(runs, key=lambda run: run.seed):
        rows.append(_row(run, run.config(arms[run.arm], root), root / STARTS / run.arm / str(run.seed)))
        on_run(rows[-1])
    table = pa.Table.from_pylist(rows)
    pq.write_table(table, root / TABLE)
    models = {arm: f"{Run(arm, fractions[0], seeds[0]).config(arms[arm], root).output}/model" for arm in arms}
    return write_report(table, costs(models, next(iter(arms.values()))), root / REPORT)


def _row(run: Run, config: TrainConfig, start: Path) -> dict[str, Any]:
    """Train and test, unless both are done. A control starts from what is in `start`."""
    place = Path(config.output) / ROW
    if not place.exists():
        result = train(with_control(run.arm, config, start))
        row = {
            "arm": run.arm,
            "fraction": run.fraction,
            "seed": run.seed,
            "steps": result.steps,
            "best_epoch": result.best_epoch,
            "step_s": result.record["train_s"] / result.steps,
            **judge(result.model, config),
        }
        locate(str(place)).write(json.dumps(row).encode())
    loaded: dict[str, Any] = json.loads(place.read_text(encoding="utf-8"))
    return loaded
