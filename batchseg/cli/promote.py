"""`batchseg promote`: a candidate takes the place of the good results, or goes."""

from __future__ import annotations

import json
from dataclasses import asdict

import click

from batchseg.cli.options import reported_errors, reporting


@click.command("promote")
@click.argument("results")
@click.option("--drop", is_flag=True, help="Remove the candidate instead; the good results stay.")
@reporting
def promote_command(results: str, *, drop: bool, as_json: bool, quiet: bool, debug: bool) -> None:
    """Let the candidate of RESULTS, computed by `run --candidate`, take the place of the results there.

    Only a candidate whose run finished and whose gates passed does so. Killed in between, the next command
    that opens the folder finishes it.

    Exit codes: 0 done, 1 there is no candidate, or none that may be promoted.
    """
    with reported_errors(debug):
        from batchseg.cli.show.candidate import print_promotion
        from batchseg.pipeline.promote import drop_candidate, promote

        done = drop_candidate(results) if drop else promote(results)
        if as_json:
            click.echo(json.dumps(asdict(done), indent=2))
        elif not quiet:
            print_promotion(done)
