"""Take away what is broken in a results folder, so that the next run computes it again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from batchseg.errors import OutputError
from batchseg.inspect.parts import Part
from batchseg.inspect.side_tables import FROM_MASKS, look_beside
from batchseg.labels.label_map import LabelMap
from batchseg.results.folder import Results
from batchseg.results.masks import delete_unnamed, file_paths, may_be_mask
from batchseg.results.part_names import NOT_OURS
from batchseg.results.rewrite import KINDS, replace_parts
from batchseg.results.tables import read_beside, read_images
from batchseg.storage.keys import KeySet
from batchseg.storage.location import Location, output_errors
from batchseg.storage.lock import Lock


@dataclass(frozen=True)
class Repaired:
    """What was taken away: rows of images, whole parts that could not be read, and files below masks/.

    Attributes:
        rows: also those that lost only their boundaries, objects and the key of their score.
    """

    rows: int
    parts: int
    masks: int


def repair_parts(
    results: Results, parts: Sequence[Part], names: Sequence[str] | None, lock: Lock
) -> Repaired:
    """Drop lost parts and broken rows, then masks that no row names, then sum up the classes anew.

    Rows whose boundaries or objects cannot be right lose the key of their score: the next run scores their
    masks anew, without the model.

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
        unscored = sum(_take_beside(results.root, part) for part in parts if not part.lost)
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
    return Repaired(rows + unscored + sum(len(part.ids) for part in lost), len(lost), masks)


def _take_beside(root: Location, part: Part) -> int:
    """Leave of what lies beside a part the rows of its images that can be right; how many must be scored
    anew."""
    chosen = part.unscored & ~part.broken
    if not chosen.any() and not part.strays:
        return 0
    images = read_images(root / "images" / part.name)
    for kind in FROM_MASKS:
        if look_beside(root, kind, part.name, images["id"]).problem is not None:
            (root / kind / part.name).delete()
    beside = read_beside(root, part.name, images["id"])
    if chosen.any():
        place = images.column_names.index("score_fingerprint")
        column = pc.if_else(pa.array(chosen), None, images["score_fingerprint"])
        images = images.set_column(place, images.schema.field(place), column)
    replace_parts(root, [part.name], [(part.name, {"images": images, **beside})])
    return int(chosen.sum())
