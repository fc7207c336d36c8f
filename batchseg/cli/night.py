"""`batchseg night`: a run, verified and compared with the last good night."""

from __future__ import annotations

import json
import sys

import click

from batchseg.cli.options import GOES_ON, reported_errors
from batchseg.config.compare import NightConfig
from batchseg.config.load import read_config


@click.command("night")
@click.argument("config")
@click.option("--set", "settings", multiple=True, metavar="KEY=VALUE", help="Any setting, over the file's.")
@click.option("--recompute", is_flag=True, help="Compute again what another model computed.")
@click.option("--summary", is_flag=True, help="Print nothing but the last line.")
@click.option("--json", "as_json", is_flag=True, help="Print run.json on standard output.")
@click.option("--debug", is_flag=True, help="Show the traceback of an error.")
def night_command(
    config: str, settings: tuple[str, ...], *, recompute: bool, summary: bool, as_json: bool, debug: bool
) -> None:
    """Run the job of the YAML file CONFIG as a night: a run's settings, and a section `night`.

    What is new is computed, the results are verified and compared with the last good night, and the tables of
    a good night are kept.

    Exit codes: 0 good, 1 failed or the results are not whole, 2 wrong configuration, 3 too many images
    failed, 4 a gate of the run or of the comparison failed, 130 interrupted.
    """
    with reported_errors(debug, GOES_ON):
        job = read_config(NightConfig, config, settings, {"recompute": True} if recompute else {})
        from batchseg.cli.show.night import print_night
        from batchseg.cli.show.run import Progress
        from batchseg.engine.quiet import native_stderr
        from batchseg.pipeline.night import failure, night

        try:
            progress = Progress(hidden=summary or as_json)
            with native_stderr(hidden=not debug), progress.bar:
                result = night(job, progress)
        except BaseException as exc:
            click.echo(failure(exc), err=as_json)
            raise
    if as_json:
        click.echo(json.dumps(result.record, indent=2))
    elif summary:
        click.echo(result.summary)
    else:
        print_night(result)
    sys.exit(result.exit_code)
