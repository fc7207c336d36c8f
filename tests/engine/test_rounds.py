"""Work in time: what is begun, what is left over, and in which rounds; with a clock of its own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pytest

from batchseg.engine import graph
from batchseg.engine.graph import Work, Worker
from batchseg.engine.journal import Journal
from batchseg.stages.item import Item, Stage

IMAGES = 64


class Slow:
    """A stage that takes seconds of a clock that only it moves; it holds all back until no more come."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, image_s: float, holds: bool) -> None:
        self.now, self.image_s, self.holds = 0.0, image_s, holds
        monkeypatch.setattr(graph, "monotonic", lambda: self.now)

    def __call__(self, items: Iterator[Item]) -> Iterator[Item]:
        for item in list(items) if self.holds else items:
            self.now += self.image_s
            yield item


def work(folder: Path, stage: Stage, rows: list[tuple[str, bool]], left: tuple[str, ...] = ()) -> Worker:
    def enter(batch: pa.Table) -> Iterator[Item]:
        yield from (Item({"id": f"{index}"}, left_over=f"{index}" in left) for index in range(IMAGES))

    def leave(items: Iterator[Item]) -> Iterator[pa.Table]:
        rows.extend((item.row["id"], item.left_over) for item in items)
        yield pa.table({})

    return Worker(Work("all", (lambda: [stage],), enter, leave, Journal(str(folder)), 15.0, 4))


@pytest.mark.parametrize("holds", [False, True])
def test_slow_images_come_out_in_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, holds: bool) -> None:
    slow = Slow(monkeypatch, 10.0, holds)
    rows: list[tuple[str, bool]] = []
    list(work(tmp_path, slow, rows)(pa.table({})))
    assert [name for name, _ in rows] == [str(index) for index in range(IMAGES)]  # none is lost
    begun = sum(not left for _, left in rows)
    assert (begun, slow.now) == ((4, 40.0) if holds else (2, 20.0))


def test_fast_images_are_all_begun_and_soon_in_one_round(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow = Slow(monkeypatch, 0.1, True)
    rounds: list[int] = []

    def counted(items: Iterator[Item]) -> Iterator[Item]:
        here = list(items)
        rounds.append(len(here))
        yield from slow(iter(here))

    rows: list[tuple[str, bool]] = []
    worker = work(tmp_path, counted, rows)
    list(worker(pa.table({})))
    list(worker(pa.table({})))
    assert not any(left for _, left in rows)
    assert [count for count in rounds if count] == [4, IMAGES - 4, IMAGES]


def test_every_round_is_of_whole_batches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    slow = Slow(monkeypatch, 0.5, True)
    rounds: list[int] = []

    def counted(items: Iterator[Item]) -> Iterator[Item]:
        here = list(items)
        rounds.append(len(here))
        yield from slow(iter(here))

    list(work(tmp_path, counted, [])(pa.table({})))
    assert rounds == [4, 24, 4]  # there is time for 4, for 26, and for 2


def test_what_was_left_over_before_passes_untouched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[str] = []

    def noted(items: Iterator[Item]) -> Iterator[Item]:
        for item in items:
            seen.append(item.row["id"])
            yield item

    rows: list[tuple[str, bool]] = []
    list(work(tmp_path, noted, rows, left=("7", "9"))(pa.table({})))
    assert len(seen) == IMAGES - 2 and not {"7", "9"} & {*seen}
    assert [name for name, left in rows if left] == ["7", "9"]
