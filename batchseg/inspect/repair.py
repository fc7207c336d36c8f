"""Take away what is broken in a results folder, so that the next run computes it again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from batchseg.errors import OutputError
from batchseg.inspect.mask_files import mask_paths
from batchseg.inspect.parts import Part
from batchseg.labels.label_map import LabelMap
from batchseg.results.folder import Results
from batchseg.storage.keys import KeySet, keys


@dataclass(frozen=True)
class Repaired:
    """What was taken away: rows of images, whole parts that could not be read, and files below masks/."""

    rows: int
    parts: int
    masks: int


def repair_parts(results: Results, parts: Sequence[Part], names: Sequence[str] | None) -> Repaired:
    """Drop broken rows and lost parts, then masks that no row names, then sum up the classes anew.

    The rows go first: stopped half-way, this leaves masks without a row, which the next repair finds.
    Raises OutputError.
    """
    try:
        rows = sum(_drop(results, part) for part in parts)
        masks = _sweep(
            results, KeySet(part.masks[part.named & ~part.broken] for part in parts if not part.lost)
        )
    except OSError as exc:
        raise OutputError(f"{results.root}: cannot be written: {exc.strerror or exc}") from exc
    if names:
        results.finish(LabelMap.from_names(names))
    return Repaired(rows, sum(part.lost for part in parts), masks)


def _drop(results: Results, part: Part) -> int:
    place = results.images / part.name
    if part.lost:
        place.delete()
        (results.pixels / part.name).delete()
        return len(part.ids)
    if part.broken.any():
        results._drop(place, part.broken)
    return int(part.broken.sum())


def _sweep(results: Results, kept: KeySet) -> int:
    swept = 0
    for paths in mask_paths(results):
        for index in np.flatnonzero(~kept.contains(keys(paths))):
            (results.root / paths[index]).delete()
            swept += 1
    return swept
