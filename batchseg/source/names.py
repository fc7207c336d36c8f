"""The names of the masks: safe for every id, and no two images of one run write the same."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from batchseg.schema import Status
from batchseg.source.listing import LISTING
from batchseg.storage.keys import KeySet, keys

MAX_NAME_BYTES = 255
MAX_PATH_BYTES = 900  # an object store's keys end at 1024, and the results folder's own path comes first


def with_mask_names(table: pa.Table, mask_name: str) -> pa.Table:
    """Add the path of every mask below masks/; an id that has no safe one is marked `denied`."""
    masks = [mask_path(name, mask_name) for name in table["id"].to_pylist()]
    unsafe = [mask is None for mask in masks]
    table = table.append_column("mask", pa.array(masks, pa.string()))
    if not any(unsafe):
        return table
    rows = np.array(unsafe) & usable(table)  # what failed already keeps its own reason
    return mark(table, rows, Status.DENIED, lambda _: "no safe file name follows from this id; rename it")


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


def owners_of(
    shared: KeySet, tables: Iterable[pa.Table], is_done: Callable[[pa.Table], NDArray[np.bool_]]
) -> dict[str, str]:
    """Whose each shared mask is: the image's that has it from an earlier run, else the first in order."""
    owners: dict[str, str] = {}
    for table in tables if len(shared) else ():
        done = is_done(table)
        for index, mask, image_id in _sharing(table, shared):
            if done[index]:
                owners[mask] = image_id
            else:
                owners.setdefault(mask, image_id)
    return owners


def _sharing(table: pa.Table, shared: KeySet) -> Iterator[tuple[int, str, str]]:
    """Row, mask and id of the images whose mask others would write, too."""
    for index in np.flatnonzero(shared.contains(keys(table["mask"].to_pylist())) & usable(table)):
        yield int(index), table["mask"][int(index)].as_py(), table["id"][int(index)].as_py()


def mark_collisions(table: pa.Table, shared: KeySet, owners: dict[str, str]) -> pa.Table:
    """One image keeps a mask's name, and the others are told whose it is."""
    late = np.zeros(len(table), dtype=bool)
    for index, mask, image_id in _sharing(table, shared):
        late[index] = owners[mask] != image_id
    if not late.any():
        return table

    def sentence(index: int) -> str:
        mask = table["mask"][index].as_py()
        return f"its mask would be {mask}, which belongs to {owners[mask]}; --mask-name full keeps both"

    return mark(table, late, Status.NAME_COLLISION, sentence)


def usable(table: pa.Table) -> NDArray[np.bool_]:
    """Which rows will have a mask, as far as the listing can tell."""
    statuses = table["status"].to_pylist()
    return np.array([status is None or Status(status).concerns_truth for status in statuses], dtype=bool)


def mask_keys(table: pa.Table) -> NDArray[np.int64]:
    """The keys of the masks that the table's images will write."""
    return keys(table["mask"].to_pylist())[usable(table)]
