"""Some rows of a listing at random."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from batchseg.source.directory import ROWS_A_TABLE


def sampled(tables: Iterator[pa.Table], count: int, seed: int) -> Iterator[pa.Table]:
    """At most `count` rows, each as likely as any other, in the order of the listing.

    Every id has a number that follows from it and the seed; those with the smallest numbers are drawn. So
    the same listing and seed give the same sample, one that grew keeps most of it, and no more than the
    sample is held in memory.
    """
    kept: list[pa.Table] = []
    numbers: list[NDArray[np.uint64]] = []
    rows, bound = 0, np.iinfo(np.uint64).max
    for table in tables:
        drawn = numbers_by_chance(table["id"].to_pylist(), seed)
        chosen = np.flatnonzero(drawn <= bound)
        if len(chosen):
            kept.append(table.take(pa.array(chosen)))
            numbers.append(drawn[chosen])
            rows += len(chosen)
        if rows > 2 * count + ROWS_A_TABLE:
            best, left = _smallest(kept, numbers, count)
            kept, numbers, rows, bound = [best], [left], count, left.max()
    if kept:
        best, _ = _smallest(kept, numbers, count)
        for start in range(0, len(best), ROWS_A_TABLE):
            yield best.slice(start, ROWS_A_TABLE)


def numbers_by_chance(ids: list[str], seed: int = 0) -> NDArray[np.uint64]:
    """One an id as if it were drawn, but the same in every process."""
    key = str(seed).encode()
    digests = b"".join(hashlib.blake2b(name.encode(), digest_size=8, key=key).digest() for name in ids)
    return np.frombuffer(digests, np.uint64)


def _smallest(
    tables: list[pa.Table], numbers: list[NDArray[np.uint64]], count: int
) -> tuple[pa.Table, NDArray[np.uint64]]:
    table, drawn = pa.concat_tables(tables), np.concatenate(numbers)
    rows = np.sort(np.argsort(drawn, kind="stable")[:count])
    return table.take(pa.array(rows)).combine_chunks(), drawn[rows]
