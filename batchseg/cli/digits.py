"""`batchseg digits`: sample scenes with exact ground truth."""

from __future__ import annotations

from typing import Any

import click

from batchseg.cli.options import given, reported_errors
from batchseg.config.load import validate
from batchseg.config.scenes import DigitsConfig


@click.command("digits")
@click.argument("output")
@click.option("--count", type=int, metavar="N", help="Scenes.  [1000]")
@click.option("--seed", type=int, metavar="S", help="The same seed gives the same scenes.  [0]")
@click.option("--size", type=int, metavar="PX", help="Width and height of a scene.  [224]")
@click.option(
    "--source", type=click.Choice(["sklearn", "mnist"]), help="Where the digits come from.  [sklearn]"
)
@click.option("--mnist", metavar="DIR", help="Folder with MNIST's files; downloaded there if it has none.")
@click.option("--quiet", is_flag=True, help="Print nothing but errors.")
@click.option("--debug", is_flag=True, help="Show the traceback of an error.")
def digits_command(quiet: bool, debug: bool, **flags: Any) -> None:
    """Make scenes of handwritten digits with exact ground truth, to train and to try things out on.

    OUTPUT gets images/, masks/ and manifest.parquet, whose column `split` says train, validation or test.
    """
    with reported_errors(debug):
        config = validate(DigitsConfig, given(flags), "the command line")
        from batchseg.scenes.data_set import make_digits

        with click.progressbar(length=config.count, label="scenes", hidden=quiet) as bar:
            manifest = make_digits(config, lambda done: bar.update(1))
        if not quiet:
            click.echo(f"{config.count} scenes, listed in {manifest}")
