"""`batchseg overlay`: pictures of masks that lie there."""

from __future__ import annotations

import sys
from functools import partial
from typing import Any

import click

from batchseg.cli.bar import under_bar
from batchseg.cli.options import from_file, given, options, reported_errors, reporting
from batchseg.config.load import read_config
from batchseg.config.overlay import OverlayConfig

MORE_FAILED = 3

drawing = options(
    click.option(
        "--kind",
        type=click.Choice(["blend", "contour", "triptych"]),
        help="Colours over the image, outlines alone, or image, truth and prediction.  [blend]",
    ),
    click.option("--which", metavar="WHICH", help="all, 'worst N' or 'sample N'.  [all]"),
    click.option("--format", type=click.Choice(["jpeg", "png"]), help="Of the files.  [jpeg]"),
    click.option("--longest", type=int, metavar="N", help="Pixels of an image's longer side.  [1024]"),
    click.option("--opacity", type=float, metavar="X", help="Of the colours, 0 to 1.  [0.5]"),
)


@click.command("overlay")
@click.argument("results", required=False)
@click.argument("ids", metavar="[ID]...", nargs=-1)
@drawing
@click.option("--address", metavar="RAY", help="Address of a running Ray cluster.")
@from_file
@reporting
def overlay_command(as_json: bool, quiet: bool, debug: bool, address: str | None, **flags: Any) -> None:
    """Draw the masks of RESULTS over their images: all of them, some, or those of the given IDs.

    The pictures are overlays/ID.jpg or .png in RESULTS. Exit codes: 0 everything that has a mask is drawn,
    3 something is not.
    """
    with reported_errors(debug):
        path, settings = flags.pop("config_path"), flags.pop("settings")
        config = read_config(OverlayConfig, path, settings, given({**flags, "ray": {"address": address}}))
        from batchseg.cli.show.overlay import print_overlays
        from batchseg.pipeline.overlay import overlay

        show = partial(print_overlays, results=config.results)
        report = under_bar(
            partial(overlay, config), show, "drawing", as_json=as_json, quiet=quiet, debug=debug
        )
    sys.exit(MORE_FAILED if report.lacking else 0)
