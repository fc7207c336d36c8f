"""Large sets of strings in eight bytes each, for the lifetime of a process."""

from __future__ import annotations

from collections.abc import Hashable, Iterable

import numpy as np
from numpy.typing import NDArray


def keys(values: Iterable[Hashable]) -> NDArray[np.int64]:
    """Python's 64-bit hashes: seeded anew in each process, so never to be stored."""
    return np.fromiter(map(hash, values), dtype=np.int64)


class KeySet:
    """A frozen set of keys. Ten million take 80 MB; two of them share a key with probability 3e-6."""

    def __init__(self, parts: Iterable[NDArray[np.int64]] = ()) -> None:
        collected = list(parts)
        self._sorted = np.unique(np.concatenate(collected)) if collected else np.empty(0, np.int64)

    def __len__(self) -> int:
        return len(self._sorted)

    def contains(self, wanted: NDArray[np.int64]) -> NDArray[np.bool_]:
        """For each key whether it is in the set."""
        if not len(self._sorted):
            return np.zeros(len(wanted), dtype=bool)
        places = np.minimum(np.searchsorted(self._sorted, wanted), len(self._sorted) - 1)
        found: NDArray[np.bool_] = self._sorted[places] == wanted
        return found


def superseded(parts: Iterable[NDArray[np.int64]]) -> list[NDArray[np.bool_]]:
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


def repeated(parts: Iterable[NDArray[np.int64]]) -> KeySet:
    """The keys that occur more than once."""
    collected = list(parts)
    if not collected:
        return KeySet()
    everything = np.sort(np.concatenate(collected))
    return KeySet([everything[1:][everything[1:] == everything[:-1]]])
