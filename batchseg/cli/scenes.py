"""`batchseg scenes`: sample data with exact ground truth."""

from __future__ import annotations

from typing import Any

import click

from batchseg.cli.options import given, reported_errors
from batchseg.config.load import validate
from batchseg.config.scenes import DigitsConfig, PhrasesConfig


@click.group("scenes")
def scenes_group() -> None:
    """Make sample data with exact ground truth."""


@scenes_group.command("digits")
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
    `batchseg digits` is the same under its old name.
    """
    with reported_errors(debug):
        config = validate(DigitsConfig, given(flags), "the command line")
        from batchseg.scenes.data_set import make_digits

        with click.progressbar(length=config.count, label="scenes", hidden=quiet) as bar:
            manifest = make_digits(config, lambda done: bar.update(1))
        if not quiet:
            click.echo(f"{config.count} scenes, listed in {manifest}")


@scenes_group.command("phrases")
@click.argument("output")
@click.option("--count", type=int, metavar="N", help="Scenes.  [1000]")
@click.option("--seed", type=int, metavar="S", help="The same seed gives the same scenes and prompts.  [0]")
@click.option("--size", type=int, metavar="PX", help="Width and height of a scene.  [96]")
@click.option("--prompts", type=int, metavar="N", help="Prompts for each scene; each is a row.  [3]")
@click.option(
    "--words", type=int, metavar="N", help="Words for each concept that training and validation use.  [6]"
)
@click.option("--digits", type=float, metavar="SHARE", help="Of the scenes that show digits.  [0.2]")
@click.option("--quiet", is_flag=True, help="Print nothing but errors.")
@click.option("--debug", is_flag=True, help="Show the traceback of an error.")
def phrases_command(quiet: bool, debug: bool, **flags: Any) -> None:
    """Make scenes of things and prompts that name some of them, to train and to test prompted models on.

    OUTPUT gets images/, masks/ and manifest.parquet: a row a prompt, with a mask of what it means. The column
    `split` says train, validation or test. `novel` says what of a test row is new to the training: none,
    word, template or combination.
    """
    with reported_errors(debug):
        config = validate(PhrasesConfig, given(flags), "the command line")
        from batchseg.scenes.data_set import make_phrases

        with click.progressbar(length=config.count, label="scenes", hidden=quiet) as bar:
            manifest = make_phrases(config, lambda done: bar.update(1))
        if not quiet:
            rows = config.count * config.prompts
            click.echo(f"{config.count} scenes and {rows} prompts, listed in {manifest}")
