"""Where a person reads: standard error for progress and tables, with nothing that steers a terminal."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

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


@contextmanager
def native_stderr(hidden: bool) -> Iterator[None]:
    """Hide what native code writes to descriptor 2: Ray's core reports there what no user can act on.

    Python's own sys.stderr keeps working.
    """
    if not hidden:
        yield
        return
    before, kept = sys.stderr, os.dup(2)
    with open(os.devnull, "wb") as nowhere, os.fdopen(kept, "w", buffering=1, closefd=False) as visible:
        os.dup2(nowhere.fileno(), 2)
        sys.stderr = visible
        try:
            yield
        finally:
            sys.stderr = before
            os.dup2(kept, 2)
            os.close(kept)


def printable(text: str) -> str:
    """A file's name may hold what steers a terminal."""
    return "".join(letter if letter.isprintable() else repr(letter)[1:-1] for letter in text)
