"""Where a person reads: standard error for progress and tables, with nothing that steers a terminal."""

from __future__ import annotations

import os

from rich.console import Console

LOG_WIDTH = 100


def open_console(stderr: bool = False) -> Console:
    """As wide as its terminal; where there is none to ask, as wide as a log is read."""
    opened = Console(stderr=stderr, highlight=False)
    if not opened.is_terminal and "COLUMNS" not in os.environ:
        opened.width = LOG_WIDTH
    return opened


# progress and tables are for people, so they go to standard error; --json owns standard output
console = open_console(stderr=True)


def printable(text: str) -> str:
    """A file's name may hold what steers a terminal."""
    return "".join(letter if letter.isprintable() else repr(letter)[1:-1] for letter in text)
