"""Take away what is broken in a results folder, so that the next run computes it again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from batchseg.errors import OutputError
from batchseg.inspect.parts import Part
from batchseg.labels.label_map import LabelMap
from batchseg.results.folder import Results
from batchseg.results.masks import delete_unnamed, file_paths, may_be_mask
from batchseg.results.part_names import NOT_OURS
from batchseg.results.rewrite import KINDS
from batchseg.storage.keys import KeySet
from batchseg.storage.location import output_errors
from batchseg.storage.lock import Lock


@dataclass(frozen=True)
class Repaired:
    """What was taken away: rows of images, whole parts that could not be read, and files below masks/."""

    rows: int
    parts: int
    masks: int


def repair_parts(
    results: Results, parts: Sequence[Part], names: Sequence[str] | None, lock: Lock
) -> Repaired:
    """Drop lost parts and broken rows, then masks that no row names, then sum up the classes anew.

    Raises OutputError; where a file is not ours, before anything is changed.
    """
    for part in parts:
        if part.foreign:
            raise OutputError(f"{part.foreign}: {NOT_OURS}; then repair again, nothing was changed")
    lost = [part for part in parts if part.lost]
    broken = KeySet(part.ids[part.broken] for part in parts if not part.lost)
    with output_errors(results.root):
        for part in lost:
            for kind in KINDS:
                (results.root / kind / part.name).delete()
    held = results.open(lock)
    ledger = held.ledger
    rows = ledger.drop(broken.contains(ledger.rows["id"]))
    with output_errors(results.root):
        masks = 0
        for paths in file_paths(results.root, "masks"):
            ours = [path.partition("/")[2] for path in paths if may_be_mask(results.root, path)]
            masks += delete_unnamed(results.root, ours, ledger.masks())
    if names:
        held.finish(LabelMap.from_names(names))
    with output_errors(results.root):
        results.work.delete_folder()
    return Repaired(rows + sum(len(part.ids) for part in lost), len(lost), masks)
