"""What a person sees of an export: a bar on a terminal, then what was written and what is lacking."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from batchseg.cli.show.console import printable
from batchseg.cli.show.overlay import OverlayProgress

if TYPE_CHECKING:
    from batchseg.exports.export import ExportReport


class ExportProgress(OverlayProgress):
    """A callback for `export`: draws how far it is while its `bar` is entered."""

    task_name = "exporting"


def print_export(report: ExportReport) -> None:
    """How many there are and where, and the sentences on what is lacking."""
    counts = f"{report.written:,} of {report.chosen:,} images with {report.objects:,} objects"
    click.echo(printable(f"{counts} in {report.output}"))
    for remark in report.remarks:
        click.echo(printable(remark))
    for name, problem in report.problems:
        click.echo(printable(f"{name}: {problem}"))
    if report.lacking > len(report.problems):
        click.echo(f"and {report.lacking - len(report.problems):,} more")
