"""The names of the masks: safe for every id, and no two images of one run write the same."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from batchseg.schema import Status
from batchseg.source.listing import LISTING
from batchseg.storage.keys import Keys, KeySet, keys

MAX_NAME_BYTES = 255
# an id with a part that is empty, . or .., with an address, or with what a file system takes otherwise
_NOT_PLAIN = r"(^|/)\.{0,2}(/|$)|\\|\x00|://"
_EXTENSION = r"([^/.][^/]*)\.[^/.]*$"  # as os.path.splitext has it: dots at the beginning are none
MAX_PATH_BYTES = 900  # an object store's keys end at 1024, and the results folder's own path comes first


def with_mask_names(table: pa.Table, mask_name: str) -> pa.Table:
    """Add the path of every mask below masks/; an id that has no safe one is marked `denied`."""
    table = table.append_column("mask", _mask_paths(table["id"].combine_chunks(), mask_name))
    unsafe = table["mask"].is_null().to_numpy()
    if not unsafe.any():
        return table
    rows = unsafe & usable(table)  # what failed already keeps its own reason
    return mark(table, rows, Status.DENIED, lambda _: "no safe file name follows from this id; rename it")


def _mask_paths(ids: pa.Array, mask_name: str) -> pa.Array:
    """`mask_path` of each: Arrow does the plain ones, for ten million ids take minutes one by one."""
    plain = pc.invert(pc.match_substring_regex(ids, _NOT_PLAIN))
    plain = pc.and_(plain, pc.less_equal(pc.binary_length(ids), MAX_NAME_BYTES - len(".png")))
    stems = pc.replace_substring_regex(ids, _EXTENSION, r"\1") if mask_name == "stem" else ids
    paths = pc.binary_join_element_wise(stems, ".png", "")
    others = np.flatnonzero(~plain.to_numpy(zero_copy_only=False))
    if len(others):
        by_hand = [mask_path(ids[int(index)].as_py(), mask_name) for index in others]
        paths = pc.replace_with_mask(paths, pc.invert(plain), pa.array(by_hand, pa.string()))
    return paths


def mask_path(image_id: str, mask_name: str) -> str | None:
    """`a/b.jpg` -> `a/b.png` (stem) or `a/b.jpg.png` (full); None where it would leave the folder."""
    below = image_id.partition("://")[2] or image_id
    # strings, not pathlib: ten million ids are a minute this way and ten the other
    parts = [part for part in below.split("/") if part not in ("", ".")]
    if not parts or ".." in parts or "\0" in below or "\\" in below:
        return None
    parts[-1] = (os.path.splitext(parts[-1])[0] if mask_name == "stem" else parts[-1]) + ".png"
    path = "/".join(parts)
    too_long = len(path.encode()) > MAX_PATH_BYTES or any(
        len(part.encode()) > MAX_NAME_BYTES for part in parts
    )
    return None if too_long else path


def possible_masks(ids: Iterable[str]) -> list[str]:
    """What the masks of these images may be called, whichever way a run names them."""
    paths = (mask_path(image_id, how) for image_id in ids for how in ("stem", "full"))
    return [path for path in paths if path is not None]


def mark(
    table: pa.Table, rows: NDArray[np.bool_], status: Status, sentence: Callable[[int], str]
) -> pa.Table:
    """Give some rows a status and an error."""
    statuses, errors = table["status"].to_pylist(), table["error"].to_pylist()
    for index in np.flatnonzero(rows):
        statuses[index], errors[index] = status.value, sentence(int(index))
    for name, values in (("status", statuses), ("error", errors)):
        table = table.set_column(
            table.schema.get_field_index(name), LISTING.field(name), pa.array(values, pa.string())
        )
    return table


class Owners:
    """Whose each mask name is, so that no two images write the same.

    A name belongs to the image that has it from an earlier run, else to the first that is listed with it.

    Args:
        shared: the names that several listed images would have, as keys.
        committed: for keys of names, the ids of the images that have them in the results, None for none.
    """

    def __init__(self, shared: KeySet, committed: Callable[[Keys], list[str | None]]) -> None:
        self.shared, self.committed = shared, committed
        self.first: dict[str, str] = {}

    def settle(self, table: pa.Table) -> pa.Table:
        """Mark the images whose mask's name is another's. Tables come in the order of the listing."""
        masks = keys(table["mask"])
        rows = np.flatnonzero(usable(table))
        owners = dict(zip(rows.tolist(), self.committed(masks[rows]), strict=True))
        taken: dict[int, str] = {}
        shared = self.shared.contains(masks)
        for row, owner in owners.items():
            if owner is None and not shared[row]:
                continue
            mask, image_id = table["mask"][row].as_py(), table["id"][row].as_py()
            owner = owner if owner is not None else self.first.setdefault(mask, image_id)
            if owner != image_id:
                taken[row] = owner
        if not taken:
            return table

        def sentence(row: int) -> str:
            mask = table["mask"][row].as_py()
            return (
                f"its mask would be {mask}, which belongs to {taken[row]}; --mask-name full keeps both, "
                f"and --prune takes {taken[row]} away where it is gone"
            )

        late = np.zeros(len(table), dtype=bool)
        late[list(taken)] = True
        return mark(table, late, Status.NAME_COLLISION, sentence)


def usable(table: pa.Table) -> NDArray[np.bool_]:
    """Which rows will have a mask, as far as the listing can tell."""
    rows: NDArray[np.bool_] = table["status"].is_null().to_numpy()
    return rows


def mask_keys(table: pa.Table) -> NDArray[np.int64]:
    """The keys of the masks that the table's images will write."""
    return keys(table["mask"])[usable(table)]
