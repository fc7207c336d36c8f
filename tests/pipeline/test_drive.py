"""Rows on their way into the tables, and an interrupt at any step of counting and committing them."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from types import FrameType, SimpleNamespace
from typing import Any

import numpy as np
import pyarrow as pa
from written_results import row_of

from batchseg.engine.drive import drive
from batchseg.pipeline.collect import collect
from batchseg.results.commits import Commits
from batchseg.results.folder import Held, Results
from batchseg.results.ledger import Ledger
from batchseg.results.tables import read_part
from batchseg.results.tally import Tally
from batchseg.stages.write import row_schema

GROUPS, ROWS = 3, 2


def groups() -> Iterator[pa.Table]:
    """What comes out of Ray: three tables of two rows."""
    labels = np.zeros((2, 3), np.uint8)
    for group in range(GROUPS):
        rows = [
            row_of(
                f"{group}-{index}.png",
                (labels, None),
                "run",
                2,
                _seconds=[],
                _left_over=False,
                _row=group * ROWS + index,
            )
            for index in range(ROWS)
        ]
        yield pa.Table.from_pylist(rows, schema=row_schema(pa.schema([])))


class Interrupt:
    """Raises KeyboardInterrupt before the n-th line that is executed of what counts and commits.

    The lines around the commit at the very end are let through, for nothing is after them.
    """

    FILES = tuple(
        sys.modules[part.__module__].__file__ for part in (drive, collect, Commits, Held, Ledger, Tally)
    )

    def __init__(self, line: int) -> None:
        self.left = line

    def __call__(self, frame: FrameType, event: str, arg: Any) -> Callable[..., Any] | None:
        last = frame.f_code is Commits.close.__code__
        if (
            frame.f_code.co_filename not in self.FILES
            or frame.f_code in (drive.__code__, collect.__code__)
            or last
        ):
            return None
        if event == "line":
            self.left -= 1
            if self.left == 0:
                raise KeyboardInterrupt
        return self


def run(results: Results, tally: Tally, interrupt: Interrupt) -> None:
    held = results.open()
    dataset = SimpleNamespace(iter_batches=lambda **options: groups())
    before = sys.gettrace()
    sys.settrace(interrupt)
    try:
        collect(dataset, Commits(held, "run", tally), lambda tally: None)
    finally:
        sys.settrace(before)


def counts(results: Results) -> dict[str, int]:
    """Committed rows by what became of them."""
    tables = [read_part(part, ["status"]) for part in results.images.files(".parquet")]
    return dict(Counter(status for rows in tables for status in rows["status"].to_pylist()))


def test_what_is_counted_is_what_is_committed_wherever_it_is_interrupted(tmp_path: Path) -> None:
    counted = []
    for line in count(1):
        results, tally = Results(str(tmp_path / str(line))), Tally(GROUPS * ROWS)
        try:
            run(results, tally, Interrupt(line))
        except KeyboardInterrupt:
            counted.append(tally.done)
            assert counts(results) == tally.statuses
        else:
            break  # so many lines there are not
    assert set(counted) == {0, 2, 4, 6} and counted == sorted(counted)  # what has come is never lost
    assert counts(results) == tally.statuses == {"ok": GROUPS * ROWS}
