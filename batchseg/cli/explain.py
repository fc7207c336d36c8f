"""`batchseg explain`: what the masks of a run rest on."""

from __future__ import annotations

import sys
from functools import partial
from typing import Any

import click

from batchseg.cli.bar import under_bar
from batchseg.cli.options import from_file, given, options, reported_errors, reporting
from batchseg.config.explain import METHODS, ExplainConfig
from batchseg.config.load import read_config

SOME_NOT = 3

explaining = options(
    click.option(
        "--worst", type=int, metavar="N", help="So many images, by mean IoU or else confidence.  [10]"
    ),
    click.option(
        "--method",
        "methods",
        multiple=True,
        type=click.Choice(METHODS),
        help="May be given several times.  [occlusion, and language for an LLM segmentor]",
    ),
    click.option(
        "--class", "class_name", metavar="NAME", help="The class.  [the largest that is no background]"
    ),
    click.option("--grid", type=int, metavar="N", help="Squares of the occlusion along a side.  [14]"),
    click.option(
        "--device", type=click.Choice(["auto", "cpu", "cuda"]), help="Where the model runs.  [auto]"
    ),
)


@click.command("explain")
@click.argument("results", required=False)
@click.argument("ids", metavar="[ID]...", nargs=-1)
@explaining
@from_file
@reporting
def explain_command(as_json: bool, quiet: bool, debug: bool, **flags: Any) -> None:
    """Show what the masks of RESULTS rest on: of the worst images, or of those of the given IDs.

    The model of the run is asked again, in this process. The pictures are explanations/ID.METHOD.png in
    RESULTS, the figures explanations/explanations.parquet. Exit codes: 0 all is explained, 3 some is not.
    """
    with reported_errors(debug):
        path, settings = flags.pop("config_path"), flags.pop("settings")
        config = read_config(ExplainConfig, path, settings, given(flags))
        from batchseg.cli.show.explain import print_explanations
        from batchseg.pipeline.explain import explain

        report = under_bar(
            partial(explain, config),
            print_explanations,
            "explaining",
            as_json=as_json,
            quiet=quiet,
            debug=debug,
        )
    sys.exit(SOME_NOT if report.problems else 0)
