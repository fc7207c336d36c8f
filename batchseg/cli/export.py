"""`batchseg export`: masks for other tools."""

from __future__ import annotations

import sys
from functools import partial
from typing import Any, get_args

import click

from batchseg.cli.bar import under_bar
from batchseg.cli.options import from_file, given, options, reported_errors, reporting
from batchseg.config.export import ExportConfig
from batchseg.config.load import read_config

MASKS_LACKING = 3

_exporting = options(
    click.option(
        "--to", type=click.Choice(get_args(ExportConfig.model_fields["to"].annotation)), help="The format."
    ),
    click.option(
        "--where", metavar="CONDITION", help="Only images of which this holds, such as 'mean_iou < 0.5'."
    ),
    click.option("--images", type=int, metavar="N", help="At most so many, the worst first."),
    click.option(
        "--simplify", type=float, metavar="X",
        help="Polygons: move lines by at most this, in pixels or units of the CRS.",
    ),
    click.option("--crs", metavar="CRS", help="Polygons: the CRS, such as EPSG:4326.  [the images']"),
    click.option("--overwrite", is_flag=True, default=None, help="Replace what is there."),
)  # fmt: skip


@click.command("export")
@click.argument("results", required=False)
@click.argument("output", metavar="[OUT]", required=False)
@_exporting
@from_file
@reporting
def export_command(as_json: bool, quiet: bool, debug: bool, **flags: Any) -> None:
    """Write the masks of RESULTS to OUT as another tool reads them: all, some, or the worst.

    Exit codes: 0 everything chosen is written, 3 some masks cannot be read and are left out.
    """
    with reported_errors(debug):
        path, settings = flags.pop("config_path"), flags.pop("settings")
        config = read_config(ExportConfig, path, settings, given(flags))
        from batchseg.cli.show.export import print_export
        from batchseg.exports.export import export

        report = under_bar(
            partial(export, config), print_export, "exporting", as_json=as_json, quiet=quiet, debug=debug
        )
    sys.exit(MASKS_LACKING if report.lacking else 0)
