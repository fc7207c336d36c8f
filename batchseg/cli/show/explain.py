"""What a person sees of explanations: a line a picture, and what could not be explained."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from batchseg.cli.show.console import printable
from batchseg.cli.show.lines import columns
from batchseg.cli.show.overlay import print_lacking

if TYPE_CHECKING:
    from batchseg.pipeline.explain import ExplainReport

LISTED_PROBLEMS = 20
_HEADS = ("image", "class", "method", "probability", "inside", "by chance", "changes without language")


def print_explanations(report: ExplainReport) -> None:
    """How many there are and where, the figures of each, and the sentences on the others."""
    folder = f"{report.results.rstrip('/')}/explanations"
    click.echo(printable(f"{report.explained:,} of {report.chosen:,} images explained in {folder}"))
    if report.rows:
        rows = [
            (
                row["id"],
                printable(row["class_name"]),
                row["method"],
                f"{row['target']:.3f}",
                _share(row["inside_share"]),
                _share(row["area_share"]),
                _share(row.get("language_off_changed")),
            )
            for row in report.rows
        ]
        for line in columns(_HEADS, rows, 0):
            click.echo(line)
    print_lacking((), report.problems[:LISTED_PROBLEMS], len(report.problems))


def _share(value: float | None) -> str:
    return "" if value is None else f"{value:.1%}"
