"""What a person sees of an export: what was written and what is lacking."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from batchseg.cli.show.console import printable
from batchseg.cli.show.overlay import print_lacking

if TYPE_CHECKING:
    from batchseg.exports.export import ExportReport


def print_export(report: ExportReport) -> None:
    """How many there are and where, and the sentences on what is lacking."""
    counts = f"{report.written:,} of {report.chosen:,} images with {report.objects:,} objects"
    click.echo(printable(f"{counts} in {report.output}"))
    print_lacking(report.remarks, report.problems, report.lacking)
