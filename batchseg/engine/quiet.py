"""Standard error without what native code reports there: no user can act on what Ray's core says."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from contextvars import ContextVar

_decided: ContextVar[bool | None] = ContextVar("_decided", default=None)  # whether it is hidden


@contextmanager
def native_stderr(hidden: bool = True) -> Iterator[None]:
    """Hide what native code writes to descriptor 2. Within another such block, the outer one decides.

    Python's own sys.stderr keeps working, also for those who hold it already, such as handlers of logging.
    """
    if _decided.get() is not None:
        yield
        return
    decided = _decided.set(hidden)
    try:
        with _nowhere() if hidden else nullcontext():
            yield
    finally:
        _decided.reset(decided)


def is_quiet() -> bool:
    """Whether what others report is hidden just now."""
    return bool(_decided.get())


@contextmanager
def _nowhere() -> Iterator[None]:
    raw, kept = _raw_stderr(), os.dup(2)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    try:
        if raw is not None:
            # the same object, opened anew on the copy of the descriptor
            io.FileIO.__init__(raw, kept, "wb", closefd=False)
        os.dup2(nowhere, 2)
        yield
    finally:
        os.dup2(kept, 2)
        if raw is not None:
            io.FileIO.__init__(raw, 2, "wb", closefd=False)
        os.close(kept)
        os.close(nowhere)


def _raw_stderr() -> io.FileIO | None:
    """What sys.stderr writes to, if that is descriptor 2: not in a notebook, nor in a test."""
    buffer = getattr(sys.stderr, "buffer", None)
    raw = getattr(buffer, "raw", buffer)  # the same where Python is told not to buffer
    return raw if isinstance(raw, io.FileIO) and not raw.closed and raw.fileno() == 2 else None
