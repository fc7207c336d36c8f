"""What a person sees of overlays: a bar on a terminal, then what was drawn and what is lacking."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bar

from batchseg.cli.interrupts import interrupts
from batchseg.cli.show.console import console, printable

if TYPE_CHECKING:
    from batchseg.pipeline.drawing import OverlayReport


class OverlayProgress:
    """A callback for `overlay`: draws how far it is while its `bar` is entered."""

    task_name = "drawing"

    def __init__(self, hidden: bool = False) -> None:
        self.bar = Bar(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            console=console,
            disable=hidden or not console.is_terminal,
        )
        self.task = self.bar.add_task(self.task_name, total=None)

    def __call__(self, drawn: int, total: int) -> None:
        interrupts.raise_again()
        self.bar.update(self.task, completed=drawn, total=total)


def print_overlays(report: OverlayReport, results: str) -> None:
    """How many there are and where, and the sentences on what is lacking."""
    folder = f"{results.rstrip('/')}/overlays"
    click.echo(printable(f"{report.written:,} of {report.chosen:,} overlays in {folder}"))
    for remark in report.remarks:
        click.echo(printable(remark))
    for name, problem in report.problems:
        click.echo(printable(f"{name}: {problem}"))
    if report.troubled > len(report.problems):
        click.echo(f"and {report.troubled - len(report.problems):,} more")
