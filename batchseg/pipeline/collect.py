"""Rows that come in from the workers, and where they go."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import pyarrow as pa

from batchseg.engine.drive import drive
from batchseg.results.tally import Tally

OnProgress = Callable[[Tally], None]


class Sink(Protocol):
    """What takes rows."""

    tally: Tally

    def take(self, rows: pa.Table) -> None: ...

    def close(self) -> None:
        """No more will come."""
        ...


def collect(dataset: Any, sink: Sink, report: OnProgress) -> None:
    """Take every row of a dataset; whatever ends it, the sink is closed."""

    def take(rows: pa.Table) -> None:
        sink.take(rows)
        report(sink.tally)

    try:
        drive(dataset, take)
    finally:
        sink.close()
