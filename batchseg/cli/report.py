"""`batchseg report`: one page to look at."""

from __future__ import annotations

from functools import partial
from typing import Any

import click

from batchseg.cli.bar import under_bar
from batchseg.cli.options import from_file, given, reported_errors, reporting
from batchseg.config.load import read_config
from batchseg.config.report import ReportConfig


@click.command("report")
@click.argument("results", required=False)
@click.option("--against", metavar="OLD", help="Older results, or a run's record.  [the last good night]")
@click.option("--output", metavar="FILE", help="The page.  [report.html in RESULTS]")
@click.option("--images", type=int, metavar="N", help="Images of each kind, such as the worst; 0: none.  [6]")
@click.option("--address", metavar="RAY", help="Address of a running Ray cluster.")
@from_file
@reporting
def report_command(as_json: bool, quiet: bool, debug: bool, address: str | None, **flags: Any) -> None:
    """Make a page of RESULTS: one HTML file of at most 8 MB, which a mail can carry and a phone can show.

    It has the figures, the images that stand out with what was predicted, and the SQL of every figure. What
    it says does not change the exit code; see `batchseg compare` for that. Of the folder of a training it has
    the learning curves, every class over the epochs, and some validation images.
    """
    with reported_errors(debug):
        path, settings = flags.pop("config_path"), flags.pop("settings")
        config = read_config(ReportConfig, path, settings, given({**flags, "ray": {"address": address}}))
        from batchseg.cli.show.report import print_page
        from batchseg.reporting.make import make_page

        under_bar(
            partial(make_page, config), print_page, "drawing", as_json=as_json, quiet=quiet, debug=debug
        )
