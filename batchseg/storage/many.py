"""Many small files at once: what costs a round trip each is waited for together."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import TypeVar

AT_ONCE = 16
QUEUED = 1024  # items that are handed out at a time, however many there are

Item = TypeVar("Item")
Made = TypeVar("Made")


def for_many(work: Callable[[Item], Made], items: Iterable[Item]) -> Iterator[Made]:
    """What `work` makes of each item, in their order; the first error ends it.

    For upkeep of files that no image passes through: those are Ray's.
    """
    waiting = iter(items)
    with ThreadPoolExecutor(AT_ONCE) as pool:
        while some := list(islice(waiting, QUEUED)):
            yield from pool.map(work, some)
