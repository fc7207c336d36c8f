"""`batchseg run`."""

from __future__ import annotations

import json
from typing import Any

import click
import yaml

from batchseg.cli.job import follow, run_config, running
from batchseg.cli.options import GOES_ON, reported_errors, reporting


@click.command("run")
@click.argument("source", required=False)
@running
@click.option("--dry-run", is_flag=True, help="Resolve everything, count the images, start nothing.")
@reporting
def run_command(
    source: str | None, dry_run: bool, as_json: bool, quiet: bool, debug: bool, **flags: Any
) -> None:
    """Segment the images of SOURCE, a folder or a Parquet manifest.

    What is done already is not computed again: a killed run resumes, a growing folder costs what is new.

    Exit codes: 0 finished, 1 failed, 2 wrong usage, 3 too many images failed, 4 a quality gate failed,
    130 interrupted.
    """
    with reported_errors(debug, GOES_ON):
        config = run_config(source, flags)
        from batchseg.pipeline.run import dry_run as resolve
        from batchseg.pipeline.run import run

        if dry_run:
            _print_data(resolve(config), as_json)
        else:
            from batchseg.cli.show.candidate import print_trial

            show = print_trial if config.candidate else None
            follow(lambda on_progress: run(config, on_progress), as_json, quiet, debug, show=show)


def _print_data(data: dict[str, Any], as_json: bool) -> None:
    click.echo(json.dumps(data, indent=2) if as_json else yaml.safe_dump(data, sort_keys=False), nl=as_json)
