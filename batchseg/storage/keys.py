"""Large sets of strings in eight bytes each, for the lifetime of a process."""

from __future__ import annotations

from collections.abc import Hashable, Iterable

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

Keys = NDArray[np.int64]


def keys(values: Iterable[Hashable] | pa.Array | pa.ChunkedArray) -> Keys:
    """Python's 64-bit hashes: seeded anew in each process, so never to be stored."""
    if isinstance(values, pa.ChunkedArray):
        values = values.to_numpy()
    elif isinstance(values, pa.Array):
        values = values.to_numpy(zero_copy_only=False)
    return np.fromiter(map(hash, values), dtype=np.int64)


NULL = int(keys([None])[0])  # the key of what is not there


class KeySet:
    """A frozen set of keys. Ten million take 80 MB; two of them share a key with probability 3e-6."""

    def __init__(self, parts: Iterable[Keys] = ()) -> None:
        collected = list(parts)
        self._sorted = np.unique(np.concatenate(collected)) if collected else np.empty(0, np.int64)

    def __len__(self) -> int:
        return len(self._sorted)

    def contains(self, wanted: Keys) -> NDArray[np.bool_]:
        """For each key whether it is in the set."""
        if not len(self._sorted):
            return np.zeros(len(wanted), dtype=bool)
        places = np.minimum(np.searchsorted(self._sorted, wanted), len(self._sorted) - 1)
        found: NDArray[np.bool_] = self._sorted[places] == wanted
        return found


class KeyIndex:
    """Where each key of a list stands in it; of equal ones the last."""

    def __init__(self, listed: Keys) -> None:
        self._order = np.argsort(listed, kind="stable")
        self._sorted = listed[self._order]

    def find(self, wanted: Keys) -> NDArray[np.intp]:
        """The place of each key, or -1."""
        if not len(self._sorted):
            return np.full(len(wanted), -1, np.intp)
        places = np.searchsorted(self._sorted, wanted, side="right") - 1
        there = (places >= 0) & (self._sorted[places] == wanted)
        return np.where(there, self._order[places], -1)


def superseded(parts: Iterable[Keys]) -> list[NDArray[np.bool_]]:
    """For each key of each part whether it occurs again later."""
    collected = list(parts)
    if not collected:
        return []
    everything = np.concatenate(collected)
    order = np.argsort(everything, kind="stable")  # equal keys stay in the order of their parts
    ordered = everything[order]
    again = np.zeros(len(everything), dtype=bool)
    again[order[:-1]] = ordered[:-1] == ordered[1:]
    return np.split(again, np.cumsum([len(part) for part in collected])[:-1])


def repeated(parts: Iterable[Keys]) -> KeySet:
    """The keys that occur more than once."""
    collected = list(parts)
    if not collected:
        return KeySet()
    everything = np.sort(np.concatenate(collected))
    return KeySet([everything[1:][everything[1:] == everything[:-1]]])
