"""Indices of palettes: which occur, and whether they can be ids."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from batchseg.labels.label_map import LabelMap

_PALETTE_SIZE, _PIECE = 256, 2**20


def contradiction(label_map: LabelMap, ids_HW: NDArray[Any], palette: NDArray[np.uint8]) -> str | None:
    """One sentence where a palette has the colour of a class at an id that means another."""
    used = used_indices(ids_HW)
    used = used[used < len(palette)]
    for index, (red, green, blue) in zip(used.tolist(), palette[used].tolist(), strict=True):
        by_colour = label_map.read_colours.get((red, green, blue))
        if by_colour is None:
            continue
        is_void = by_colour == label_map.ignore_index
        if label_map.known_ids.get(index) != (label_map.void if is_void else by_colour):
            named = "ignored" if is_void else repr(label_map.names[by_colour])
            return (
                f"its palette has the colour of {named} at index {index}, which means something else as an "
                "id; say which counts (truth.values: ids, or colours)"
            )
    return None


def used_indices(ids_HW: NDArray[Any]) -> NDArray[np.intp]:
    """The indices that occur, rising; in pieces, for bincount makes eight bytes of each pixel."""
    ids_N, seen = ids_HW.reshape(-1), np.zeros(_PALETTE_SIZE, bool)
    for start in range(0, len(ids_N), _PIECE):
        seen |= np.bincount(ids_N[start : start + _PIECE], minlength=_PALETTE_SIZE) > 0
    return np.flatnonzero(seen)
