"""What a person sees of a night: the run, the comparison, and the night in one line."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from rich.text import Text

from batchseg.cli.show.compare import Row, print_compare, text_table
from batchseg.cli.show.console import open_console, printable
from batchseg.cli.show.lines import print_lines
from batchseg.cli.show.run import print_result

if TYPE_CHECKING:
    from batchseg.pipeline.night import NightResult


def print_night(result: NightResult) -> None:
    """The run, the comparison, where everything lies, and the night in one line."""
    print_result(result.run)
    if result.compared:
        print_compare(result.compared)
    console = open_console()
    print_lines(console, text_table(("", ""), _paths(result)))
    console.print(Text(printable(result.summary)), soft_wrap=True)


def _paths(result: NightResult) -> Iterator[Row]:
    yield "results", result.run.output
    yield "record", f"runs/{result.run.run_id}.json"
    yield "compared with", result.reference or "nothing: no good night is kept yet"
    if result.page:
        yield "page", result.page
    for what, why in result.lacking.items():
        yield what, f"none: {why}"
    yield "kept", f"as {result.kept}" if result.kept else "no, this was no good night"
