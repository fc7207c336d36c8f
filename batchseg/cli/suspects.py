"""`batchseg suspects`: ground truths that look wrong."""

from __future__ import annotations

import json
from dataclasses import asdict

import click

from batchseg.cli.options import from_file, given, reported_errors, reporting
from batchseg.config.load import read_config
from batchseg.config.suspects import SuspectsConfig


@click.command("suspects")
@click.argument("results", required=False)
@click.option("--listed", type=int, metavar="N", help="Images named, the worst first.  [20]")
@from_file
@reporting
def suspects_command(
    results: str | None,
    *,
    listed: int | None,
    config_path: str | None,
    settings: tuple[str, ...],
    as_json: bool,
    quiet: bool,
    debug: bool,
) -> None:
    """List the ground truths of RESULTS that look wrong: the model is sure of another class.

    RESULTS come from `run` with ground truth, by a model that has probabilities.

    Exit codes: 0 looked, 1 there is nothing to look at, 2 wrong usage.
    """
    with reported_errors(debug):
        config = read_config(
            SuspectsConfig, config_path, settings, given({"results": results, "listed": listed})
        )
        from batchseg.cli.show.suspects import print_suspects
        from batchseg.results.suspects import suspects

        found = suspects(config)
        if as_json:
            click.echo(json.dumps(asdict(found), indent=2))
        elif not quiet:
            print_suspects(found)
