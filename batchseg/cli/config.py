"""`batchseg config`: the configuration, whole, and its JSON schemas."""

from __future__ import annotations

import json
from typing import Any

import click
import yaml

from batchseg.cli.job import run_config, running
from batchseg.cli.options import reported_errors
from batchseg.config.base import Model
from batchseg.config.compare import CompareConfig
from batchseg.config.doctor import DoctorConfig
from batchseg.config.evaluate import EvaluateConfig
from batchseg.config.run import RunConfig
from batchseg.config.train import TrainConfig

_KINDS: dict[str, type[Model]] = {
    "run": RunConfig,
    "evaluate": EvaluateConfig,
    "doctor": DoctorConfig,
    "train": TrainConfig,
    "compare": CompareConfig,
}


@click.group("config")
def config_group() -> None:
    """Look at the configuration."""


@config_group.command("show")
@click.argument("source", required=False)
@running
@click.option("--debug", is_flag=True, help="Show the traceback of an error.")
def show_config(source: str | None, debug: bool, **flags: Any) -> None:
    """Print the whole effective configuration as YAML."""
    with reported_errors(debug):
        click.echo(
            yaml.safe_dump(run_config(source, flags).model_dump(mode="json"), sort_keys=False), nl=False
        )


@config_group.command("schema")
@click.argument("command", type=click.Choice(list(_KINDS)), default="run")
def show_schema(command: str) -> None:
    """Print the JSON schema of the configuration file of COMMAND, by default that of run."""
    click.echo(json.dumps(_KINDS[command].model_json_schema(), indent=2))
