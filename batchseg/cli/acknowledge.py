"""`batchseg acknowledge`: files that are broken for good."""

from __future__ import annotations

import json
from dataclasses import asdict

import click

from batchseg.cli.options import reported_errors, reporting


@click.command("acknowledge")
@click.argument("results")
@click.argument("ids", nargs=-1, metavar="[ID]...")
@click.option(
    "--status",
    multiple=True,
    metavar="STATUS",
    help="All images that failed like this, such as unreadable or truth_unreadable.",
)
@click.option("--undo", is_flag=True, help="Take it back; the next run tries these images again.")
@reporting
def acknowledge_command(
    results: str,
    ids: tuple[str, ...],
    *,
    status: tuple[str, ...],
    undo: bool,
    as_json: bool,
    quiet: bool,
    debug: bool,
) -> None:
    """Accept that images of RESULTS, or their ground truths, are broken for good.

    Their rows stay. Runs do not try them again and do not count them as failed, until their files change.

    Exit codes: 0 done, 1 the results cannot be written, 2 an id or a status is not there.
    """
    with reported_errors(debug):
        from batchseg.cli.show.inspect import print_acknowledged
        from batchseg.results.acknowledge import acknowledge

        done = acknowledge(results, ids, status, undo)
        if as_json:
            click.echo(json.dumps(asdict(done), indent=2))
        elif not quiet:
            print_acknowledged(done)
