"""Drive a dataset of result rows to its end; what a worker raised on purpose comes out as it was raised."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pyarrow as pa

from batchseg.errors import BatchsegError


def drive(dataset: Any, on_rows: Callable[[pa.Table], None]) -> None:
    """Hand every table of rows to `on_rows` as soon as it has come in.

    Raises BatchsegError for what a worker raised on purpose, and Ray's own errors else.
    """
    with unwrapped_errors():
        for rows in dataset.iter_batches(batch_size=None, batch_format="pyarrow", prefetch_batches=0):
            on_rows(rows)


@contextmanager
def unwrapped_errors() -> Iterator[None]:
    """Ray wraps what a worker raises, once a layer; what was raised on purpose comes out as it was."""
    try:
        yield
    except Exception as exc:
        ours = _ours_within(exc)
        if ours is None or ours is exc:
            raise
        raise ours from exc


def _ours_within(exc: BaseException | None) -> BatchsegError | None:
    seen: set[int] = set()
    while exc is not None and id(exc) not in seen:
        seen.add(id(exc))
        # Ray's wrapper also inherits from the class of what it wraps, and has that in `cause`
        wrapped = getattr(exc, "cause", None)
        if isinstance(exc, BatchsegError) and wrapped is None:
            return exc
        exc = wrapped or exc.__cause__ or exc.__context__
    return None
