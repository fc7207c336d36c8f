"""`batchseg config`: the configuration, whole, its JSON schemas, and its reference."""

from __future__ import annotations

import json
from typing import Any

import click
import yaml
from pydantic import BaseModel

from batchseg.cli.job import run_config, running
from batchseg.cli.options import reported_errors
from batchseg.config.compare import CompareConfig
from batchseg.config.doctor import DoctorConfig
from batchseg.config.evaluate import EvaluateConfig
from batchseg.config.reference import configuration_reference
from batchseg.config.report import ReportConfig
from batchseg.config.run import RunConfig
from batchseg.config.train import TrainConfig

_KINDS: dict[str, type[BaseModel]] = {
    "run": RunConfig,
    "evaluate": EvaluateConfig,
    "doctor": DoctorConfig,
    "train": TrainConfig,
    "compare": CompareConfig,
    "report": ReportConfig,
}
RECORD = "record"


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
@click.argument("command", type=click.Choice([*_KINDS, RECORD]), default="run")
def show_schema(command: str) -> None:
    """Print the JSON schema of the configuration file of COMMAND, by default that of run.

    `record` stands for run.json, which a run leaves.
    """
    if command == RECORD:
        from batchseg.results.record import RunRecord

        shown: type[BaseModel] = RunRecord
    else:
        shown = _KINDS[command]
    click.echo(json.dumps(shown.model_json_schema(), indent=2))


@config_group.command("reference")
def show_reference() -> None:
    """Print every setting of every command as Markdown, with its type, default and meaning."""
    click.echo(configuration_reference(), nl=False)
