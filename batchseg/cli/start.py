"""From the shell to a command and back: signals, and the exit code."""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING

from batchseg.cli.interrupts import INTERRUPTED, interrupts

if TYPE_CHECKING:
    import click

# new objects, after which Python looks for garbage; modules make so many that at its own 700 it spends an
# eighth of the time to load them on that
GARBAGE = 100_000


def start(load: Callable[[], click.Command], words: list[str] | None = None) -> None:
    """Run the command that is loaded with these words (or those of the shell), and exit.

    An interrupt at any moment, also while modules are loaded, ends with 130 and one line.
    """
    gc.set_threshold(GARBAGE)
    try:
        interrupts.listen()
        code = _exit_code(load, words)
    except KeyboardInterrupt:
        code = _interrupted()
    except SystemExit as exc:
        code = exc.code if isinstance(exc.code, int) else 1
    if interrupts.close():
        # what Python does at its end would be open to one more, and nothing is left to do
        for stream in (sys.stdout, sys.stderr):
            with suppress(OSError, ValueError):
                stream.flush()
        os._exit(code)
    gc.freeze()  # Python would look through all objects of all libraries again, for a process that ends
    sys.exit(code)


def _exit_code(load: Callable[[], click.Command], words: list[str] | None) -> int:
    import click

    try:
        value = load().main(words, prog_name="batchseg", standalone_mode=False)
    except click.ClickException as exc:
        exc.show()
        return exc.exit_code
    except click.Abort:  # what click makes of an interrupt
        return _interrupted()
    return value if isinstance(value, int) else 0


def _interrupted() -> int:
    print("interrupted", file=sys.stderr)
    return INTERRUPTED
