"""What a person sees of suspects: a line an image, the worst first, and how many more there are."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from batchseg.cli.show.console import printable
from batchseg.cli.show.lines import columns

if TYPE_CHECKING:
    from batchseg.results.suspects import Suspects

_HEADS = ("image", "truth says", "looks like", "pixels", "of the image", "score")


def print_suspects(found: Suspects) -> None:
    """The images and, where not all are named, how many there are."""
    click.echo(
        f"{found.suspicious:,} of {found.probed:,} images have pixels in which the model is sure of another "
        "class than the truth"
    )
    if not found.images:
        return
    rows = [
        (
            each.id,
            printable(each.truth),
            printable(each.suspected),
            f"{each.pixels:,}",
            f"{each.share:.2%}",
            f"{each.score:.3f}",
        )
        for each in found.images
    ]
    for line in columns(_HEADS, rows, 0):
        click.echo(line)
    if more := found.suspicious - len(found.images):
        click.echo(f"and {more:,} more; --listed names more of them")
