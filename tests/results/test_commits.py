"""What workers tell of, held and committed: once, whatever Ray starts anew."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.dataset as pads
import pytest
from written_results import row_of

from batchseg.errors import BatchsegError
from batchseg.results.commits import Commits
from batchseg.results.folder import Results
from batchseg.results.tally import Tally
from batchseg.stages.write import row_schema

IMAGES = 6


def rows(numbers: Sequence[int], status: str | None = None, error: str = "", **more: Any) -> pa.Table:
    labels = np.zeros((2, 3), np.uint8)
    told = [
        row_of(f"{number}.png", status or (labels, None), "run", 2, _row=number, **more) for number in numbers
    ]
    for row in told:
        row |= {"error": f"{error} {row['_row']}", "_seconds": [("segment", 0.1)]}
        row.setdefault("_left_over", False)
    return pa.Table.from_pylist(told, schema=row_schema(pa.schema([])))


def commits(folder: Path, **more: Any) -> Commits:
    return Commits(Results(str(folder)).open(), "20260101T000000-00000a", Tally(IMAGES, **more))


def committed(folder: Path) -> list[str]:
    table = pads.dataset(folder / "images", format="parquet").to_table()
    return sorted(table["id"].to_pylist())


def test_an_image_that_is_told_twice_counts_once(tmp_path: Path) -> None:
    held = commits(tmp_path)
    held.take(rows([0, 1]))
    held.take(rows([1, 2]))  # by a worker that was started anew
    held.take(rows([0, 0]))
    held.close()
    assert held.tally.statuses == {"ok": 3}
    assert held.tally.segmented == 3
    assert committed(tmp_path) == ["0.png", "1.png", "2.png"]


def test_what_was_left_over_is_no_row(tmp_path: Path) -> None:
    held = commits(tmp_path)
    held.take(rows([0]))
    held.take(rows([1, 2], _left_over=True))
    held.close()
    assert committed(tmp_path) == ["0.png"]
    assert held.untold(0, IMAGES).tolist() == [1, 2, 3, 4, 5]
    assert held.untold(2, 4).tolist() == [2, 3]


def test_many_passes_count_on(tmp_path: Path) -> None:
    held = commits(tmp_path)
    for number in range(IMAGES):
        held.take(rows([number]))
        held.close()
    assert held.tally.statuses == {"ok": IMAGES}


@pytest.mark.parametrize(("stop_after", "ends"), [(2, True), (IMAGES + 1, False), (0, False)])
def test_failures_of_one_cause_end_the_run(tmp_path: Path, stop_after: int, ends: bool) -> None:
    held = commits(tmp_path, stop_after=stop_after)
    held.take(rows([0], "denied", "no permission for"))
    if ends:
        with pytest.raises(BatchsegError, match=r"the first 2 images all failed alike \(denied; 0\.png: no"):
            held.take(rows([1], "denied", "no permission for"))
    else:
        held.take(rows([1], "denied", "no permission for"))
    held.close()
    assert committed(tmp_path) == ["0.png", "1.png"]  # what came in is kept either way


@pytest.mark.parametrize(
    "between", [rows([1]), rows([1], "denied", "another cause"), rows([1], "missing", "no permission for")]
)
def test_failures_of_several_causes_do_not(tmp_path: Path, between: pa.Table) -> None:
    held = commits(tmp_path, stop_after=2)
    held.take(rows([0], "denied", "no permission for"))
    held.take(between)
    for number in range(2, IMAGES):
        held.take(rows([number], "denied", "no permission for"))
    held.close()
    assert held.tally.done == IMAGES
