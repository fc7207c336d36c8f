"""What a person sees of a page that was made."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from batchseg.cli.show.console import printable

if TYPE_CHECKING:
    from batchseg.reporting.make import PageReport


def print_page(page: PageReport) -> None:
    """The verdict, where the page lies, and what is lacking on it."""
    click.echo(printable(page.verdict))
    images = "1 image" if page.pictures == 1 else f"{page.pictures:,} images"
    click.echo(printable(f"{page.path}: {page.size_bytes / 1e6:.1f} MB, with {images}"))
    for note in page.notes:
        click.echo(printable(note))
