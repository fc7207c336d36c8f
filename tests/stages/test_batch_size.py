"""How batches grow, by the time that batches of each size would take."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from batchseg.stages.batch_size import TRIES, BatchSize


def settled(seconds: Callable[[int], float], share: Callable[[int], float] = lambda size: 0.0) -> int:
    """The size after many batches that take `seconds(size)` and fill `share(size)` of the memory."""
    batch = BatchSize(4, most=64, used=lambda: share(batch.size))
    for _ in range(20 * TRIES):
        batch.note(batch.size, seconds(batch.size))
    return batch.size


def test_batches_grow_while_that_is_faster() -> None:
    # a second for the call, and a tenth for each image: images a second gain 43, 27, 16 and 9 per cent
    assert settled(lambda size: 1 + size / 10) == 64
    # half as much for the call: the last doubling, from 32, would gain 8 per cent; from 16 on, a fixed rate
    assert settled(lambda size: max(1.0, size / 16)) == 16
    # no gain at all
    assert settled(lambda size: size / 10) == 4


def test_batches_stop_where_twice_as_many_would_fill_the_memory() -> None:
    assert settled(lambda size: 1.0, lambda size: 0.1 + size / 64) == 32  # it fills 0.6; 64 would fill 1.1


def test_the_first_batch_of_a_size_may_be_slow() -> None:
    batch = BatchSize(4, most=8)
    for seconds in (9.0, 1.0, 1.0):
        batch.note(4, seconds)
    assert batch.size == 8


def test_a_part_of_a_batch_says_nothing() -> None:
    batch = BatchSize(4, most=8)
    for _ in range(10):
        batch.note(3, 0.001)
    assert batch.size == 4


@pytest.mark.parametrize("size", [1, 3, 16])
def test_a_chosen_size_stays(size: int) -> None:
    batch = BatchSize(size)
    for _ in range(10):
        batch.note(size, 0.001)
    assert batch.size == size


def test_after_memory_ran_out_batches_stay_small() -> None:
    batch = BatchSize(16, most=64)
    batch.settle(8)
    for _ in range(10):
        batch.note(8, 1.0)
    batch.settle(12)
    assert batch.size == 8
