"""What a person sees of overlays: a bar on a terminal, then what was drawn and what is lacking."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import click
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bar

from batchseg.cli.interrupts import interrupts
from batchseg.cli.show.console import console, printable

if TYPE_CHECKING:
    from batchseg.pipeline.drawing import OverlayReport


class CountProgress:
    """A callback of jobs that count pictures: draws how far one is while its `bar` is entered."""

    def __init__(self, doing: str, hidden: bool = False) -> None:
        self.bar = Bar(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            console=console,
            disable=hidden or not console.is_terminal,
        )
        self.task = self.bar.add_task(doing, total=None)

    def __call__(self, drawn: int, total: int) -> None:
        interrupts.raise_again()
        self.bar.update(self.task, completed=drawn, total=total)


def print_overlays(report: OverlayReport, results: str) -> None:
    """How many there are and where, and the sentences on what is lacking."""
    folder = f"{results.rstrip('/')}/overlays"
    click.echo(printable(f"{report.written:,} of {report.chosen:,} overlays in {folder}"))
    print_lacking(report.remarks, report.problems, report.troubled)


def print_lacking(remarks: Sequence[str], problems: Sequence[tuple[str, str]], count: int) -> None:
    """A sentence each, of which the problems are the first of so many."""
    for remark in remarks:
        click.echo(printable(remark))
    for name, problem in problems:
        click.echo(printable(f"{name}: {problem}"))
    if count > len(problems):
        click.echo(f"and {count - len(problems):,} more")
