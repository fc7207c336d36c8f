"""The names of the masks: safe for every id, and no two images of one run write the same."""

from __future__ import annotations

import os
import posixpath
import re
from collections.abc import Callable, Iterable
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from batchseg.config.run import Tiffs
from batchseg.schema import Status
from batchseg.source.listing import LISTING
from batchseg.storage.keys import NULL, Keys, KeySet, keys

MAX_NAME_BYTES = 255
PNG_SUFFIX, TIFF_SUFFIX = ".png", ".tif"
_TIFF = r"\.tiff?(\?[^?]*)?$"  # a URI may end in options of its file system
# an id with a part that is empty, . or .., with an address, or with what a file system takes otherwise
_NOT_PLAIN = r"(^|/)\.{0,2}(/|$)|\\|\x00|://"
_EXTENSION = r"([^/.][^/]*)\.[^/.]*$"  # as os.path.splitext has it: dots at the beginning are none
MAX_PATH_BYTES = 900  # an object store's keys end at 1024, and the results folder's own path comes first


def with_mask_names(table: pa.Table, mask_name: str, tiffs: Tiffs = "none") -> pa.Table:
    """Add the path of every mask below masks/; an id that has no safe one is marked `denied`."""
    table = table.append_column("mask", _mask_paths(table, mask_name, tiffs))
    unsafe = table["mask"].is_null().to_numpy()
    if not unsafe.any():
        return table
    rows = unsafe & usable(table)  # what failed already keeps its own reason
    return mark(table, rows, Status.DENIED, lambda _: "no safe file name follows from this id; rename it")


def _mask_paths(table: pa.Table, mask_name: str, tiffs: Tiffs) -> pa.Array:
    """`mask_of` each: Arrow does the plain ones, for ten million ids take minutes one by one."""
    ids = table["id"].combine_chunks()
    plain = pc.invert(pc.match_substring_regex(ids, _NOT_PLAIN))
    plain = pc.and_(plain, pc.less_equal(pc.binary_length(ids), MAX_NAME_BYTES - len(PNG_SUFFIX)))
    stems = pc.replace_substring_regex(ids, _EXTENSION, r"\1") if mask_name == "stem" else ids
    suffixes = _suffixes(table, tiffs)
    paths = pc.binary_join_element_wise(stems, suffixes, "")
    others = np.flatnonzero(~plain.to_numpy(zero_copy_only=False))
    if len(others):
        rows = table.select(["id", "uri"]).take(pa.array(others)).to_pylist()
        by_hand = [
            mask_of(row["id"], row["uri"], mask_name, mask_suffix(row["id"], row["uri"], tiffs))
            for row in rows
        ]
        paths = pc.replace_with_mask(paths, pc.invert(plain), pa.array(by_hand, pa.string()))
    return paths


def _suffixes(table: pa.Table, tiffs: Tiffs) -> pa.Array | pa.Scalar:
    if tiffs != "of tiffs":
        return pa.scalar(mask_suffix("", "", tiffs))
    of_ids, of_uris = (
        pc.match_substring_regex(table[name].combine_chunks(), f"(?i){_TIFF}") for name in ("id", "uri")
    )
    return pc.if_else(pc.or_(of_ids, of_uris), TIFF_SUFFIX, PNG_SUFFIX)


def mask_suffix(image_id: str, uri: str, tiffs: Tiffs) -> str:
    """The ending of an image's mask."""
    is_tiff = tiffs == "all" or (
        tiffs == "of tiffs" and any(re.search(_TIFF, name, re.IGNORECASE) for name in (image_id, uri))
    )
    return TIFF_SUFFIX if is_tiff else PNG_SUFFIX


def mask_of(image_id: str, uri: str, mask_name: str, suffix: str = PNG_SUFFIX) -> str | None:
    """`mask_path`, where `..` is resolved in the id of an image that is named by its own path.

    What leaves the folder nevertheless begins in it: `../images/a.jpg` -> `images/a.png`.
    """
    path = mask_path(image_id, mask_name, suffix)
    if path is not None or not ("://" in image_id or image_id in uri):
        return path
    below = image_id.partition("://")[2] or image_id
    resolved = [part for part in posixpath.normpath(below).split("/") if part != ".."]
    return None if below.endswith("/..") else mask_path("/".join(resolved), mask_name, suffix)


def mask_path(image_id: str, mask_name: str, suffix: str = PNG_SUFFIX) -> str | None:
    """`a/b.jpg` -> `a/b.png` (stem) or `a/b.jpg.png` (full); None where it would leave the folder."""
    below = image_id.partition("://")[2] or image_id
    # strings, not pathlib: ten million ids are a minute this way and ten the other
    parts = [part for part in below.split("/") if part not in ("", ".")]
    if not parts or ".." in parts or "\0" in below or "\\" in below:
        return None
    parts[-1] = (os.path.splitext(parts[-1])[0] if mask_name == "stem" else parts[-1]) + suffix
    path = "/".join(parts)
    too_long = len(path.encode()) > MAX_PATH_BYTES or any(
        len(part.encode()) > MAX_NAME_BYTES for part in parts
    )
    return None if too_long else path


def possible_masks(ids: Iterable[str]) -> list[str]:
    """What the masks of these images may be called, whichever way a run names them."""
    ways = [(how, suffix) for suffix in (PNG_SUFFIX, TIFF_SUFFIX) for how in ("stem", "full")]
    paths = (mask_path(image_id, *way) for image_id in ids for way in ways)
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

    An image keeps the name that it has from an earlier run. A name that nobody has is that of the first
    image that is listed with it; the others take their full names: `a.png.png` for `a.png` beside `a.jpg`.

    Args:
        shared: the names that several listed images would have, as keys.
        committed: for keys of names, the ids of the images that have them in the results, None for none.
        listed: the names that all listed images would have; asked for only where some cannot have them.
        claimed: the names that the images to come have had until now, as keys.

    Attributes:
        full_names: how many images have taken their full name.
    """

    def __init__(
        self,
        shared: KeySet,
        committed: Callable[[Keys], list[str | None]],
        listed: Callable[[], KeySet] = KeySet,
        claimed: KeySet | None = None,
    ) -> None:
        self.shared, self.committed = shared, committed
        self.listed = lru_cache(maxsize=1)(listed)
        self.claimed = KeySet() if claimed is None else claimed
        self.full_names = 0
        self.first: dict[str, str] = {}

    def settle(self, table: pa.Table, had: Keys | None = None) -> pa.Table:
        """Give each image its name, and mark those that have none. Tables come in the order of the listing.

        `had` are the keys of the names that the images have had until now, [N]; NULL where there was none.
        """
        masks = keys(table["mask"])
        had = np.full(len(table), NULL) if had is None else had
        doubtful = self.shared.contains(masks) | self.claimed.contains(masks)
        doubtful |= (had != NULL) & (had != masks)
        rows = np.flatnonzero(usable(table))
        owned = np.array([owner is not None for owner in self.committed(masks[rows])], bool)
        rows = rows[doubtful[rows] | owned]
        return self._named(table, rows, had[rows]) if len(rows) else table

    def _named(self, table: pa.Table, rows: NDArray[np.intp], had: Keys) -> pa.Table:
        names, images = table["mask"].to_pylist(), table.select(["id", "uri", "mask"]).take(pa.array(rows))
        ids, choices = images["id"].to_pylist(), self._choices(images, had)
        holders: dict[int, str] = {}
        for row, image_id, (short, full), was in zip(rows.tolist(), ids, choices, had.tolist(), strict=True):
            order = (full, short) if was == full.key != short.key else (short, full)
            free = next((name for name in order if self._holder(name, image_id) is None), None)
            if free is None:
                holders[row] = str(self._holder(short, image_id))
                continue
            self.first[free.text] = image_id
            self.full_names += free.text != short.text
            names[row] = free.text
        at = table.schema.get_field_index("mask")
        table = table.set_column(at, table.schema.field(at), pa.array(names, pa.string()))
        late = np.zeros(len(table), dtype=bool)
        late[list(holders)] = True
        return mark(
            table,
            late,
            Status.NAME_COLLISION,
            lambda row: (
                f"its mask would be {names[row]}, which belongs to {holders[row]}, and its full name is "
                "taken as well; rename it (in a manifest give it another id), and --prune takes away what "
                "is gone"
            ),
        )

    def _choices(self, images: pa.Table, had: Keys) -> list[tuple[_Name, _Name]]:
        """The two names that each image may have, with what is known of them."""
        rows = images.to_pylist()
        fulls = [mask_of(row["id"], row["uri"], "full", row["mask"][-4:]) or row["mask"] for row in rows]
        of_shorts = self._look_up([row["mask"] for row in rows], had, KeySet())
        return list(zip(of_shorts, self._look_up(fulls, had, self.listed()), strict=True))

    def _look_up(self, names: list[str], had: Keys, listed: KeySet) -> list[_Name]:
        of_names = keys(names)
        # a name that the image has had is its own, whoever else would have it
        others = (self.claimed.contains(of_names) | listed.contains(of_names)) & (had != of_names)
        found = zip(names, of_names.tolist(), self.committed(of_names), others.tolist(), strict=True)
        return [_Name(*each) for each in found]

    def _holder(self, name: _Name, image_id: str) -> str | None:
        """The other image that has a name, or None."""
        for holder in (name.owner, self.first.get(name.text)):
            if holder not in (None, image_id):
                return holder
        return "another image" if name.is_wanted else None


class _Name(NamedTuple):
    """A name that an image may have: its key, whose it is in the results, and whether another wants it."""

    text: str
    key: int
    owner: str | None
    is_wanted: bool


def usable(table: pa.Table) -> NDArray[np.bool_]:
    """Which rows will have a mask, as far as the listing can tell."""
    rows: NDArray[np.bool_] = table["status"].is_null().to_numpy()
    return rows


def mask_keys(table: pa.Table) -> NDArray[np.int64]:
    """The keys of the masks that the table's images will write."""
    return keys(table["mask"])[usable(table)]
