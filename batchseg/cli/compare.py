"""The command that holds new results against old ones."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from typing import Any

import click

from batchseg.cli.options import given, named_values, options, reported_errors, reporting
from batchseg.config.base import METRICS, PROMPT_METRICS
from batchseg.config.compare import CLASS_FIGURES, CompareConfig
from batchseg.config.load import read_config

_judging = options(
    click.option(
        "--max-drop", multiple=True, metavar="METRIC=VALUE",
        help=f"Exit with 4 when it fell further over the images of both; one of {', '.join(METRICS)}; "
        f"or, with prompts, one of {', '.join(PROMPT_METRICS)}.",
    ),
    click.option(
        "--max-class-drop", multiple=True, metavar="FIGURE=VALUE",
        help=f"Exit with 4 when it fell further in any class; one of {', '.join(CLASS_FIGURES)}; "
        "or in one class, such as iou.lesion=0.02.",
    ),
    click.option(
        "--max-drift", type=float, metavar="SHARE",
        help="Exit with 4 when more of the predicted area changed class.",
    ),
    click.option("--bootstrap", type=int, metavar="N", help="Resamplings for intervals; 0: none.  [1000]"),
    click.option("--confidence", type=float, metavar="P", help="What an interval covers.  [0.95]"),
    click.option("--seed", type=int, metavar="S", help="The same seed gives the same intervals.  [0]"),
    click.option("--by", type=click.Choice(["mean_iou", "accuracy"]), help="Orders what changed most."),
    click.option("--listed", type=int, metavar="N", help="Images named of each kind.  [10]"),
)  # fmt: skip


@click.command("compare")
@click.argument("old", required=False)
@click.argument("new", required=False)
@click.option("--config", "config_path", metavar="FILE", help="YAML file; options on the command line win.")
@click.option("--set", "settings", multiple=True, metavar="KEY=VALUE", help="Any setting of the file.")
@_judging
@reporting
def compare_command(as_json: bool, quiet: bool, debug: bool, **flags: Any) -> None:
    """Hold the results NEW against OLD: better or worse, what came and went, what drifted.

    Each is a results folder, or the record of a run (runs/ID.json), which stands for the rows of that run.

    Exit codes: 0 compared, 1 cannot be read, 2 wrong usage or other classes, 4 a gate failed.
    """
    with reported_errors(debug):
        config = _config(flags)
        from batchseg.cli.show.compare import print_compare
        from batchseg.comparison.compare import compare as look

        report = look(config)
        if as_json:
            click.echo(json.dumps({"exit_code": report.exit_code, **asdict(report)}, indent=2))
        elif not quiet:
            print_compare(report)
    for sentence in report.gates:
        click.echo(f"batchseg: {sentence}", err=True)
    sys.exit(report.exit_code)


def _config(flags: dict[str, Any]) -> CompareConfig:
    path, settings = flags.pop("config_path"), flags.pop("settings")
    for name in ("max_drop", "max_class_drop"):
        flags[name] = named_values(f"--{name.replace('_', '-')}", flags[name])
    return read_config(CompareConfig, path, settings, given(flags))
