"""Large rasters of a run: which there are, which parts are still to be computed, and where the others lie."""

from __future__ import annotations

import hashlib
import json
import secrets
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from batchseg.config.looks import Tiling
from batchseg.config.run import Kept
from batchseg.errors import RowFault
from batchseg.images.label_rasters import tiff_head
from batchseg.results.folder import Held
from batchseg.results.verdict import Key
from batchseg.segmentors.combined.windows import parts_of, windows_along
from batchseg.source.plan import Listing, write_chosen
from batchseg.stages.part_file import FOLDER, kept_numbers
from batchseg.storage.location import Location, output_errors
from batchseg.storage.many import for_many
from batchseg.storage.reader import image_reader

Size = tuple[int, int]
_PART = pa.struct(
    [
        ("area", pa.list_(pa.int64())),
        ("number", pa.int64()),
        ("count", pa.int64()),
        ("height", pa.int64()),
        ("width", pa.int64()),
        ("folder", pa.string()),
    ]
)


@dataclass(frozen=True)
class Rasters:
    """Images that are computed in parts.

    Attributes:
        images: one row each, to be joined once its parts are there.
        parts: one row for each part that is not kept from an earlier run.
        kept: parts that are.
        windows: that the parts to be computed have.
        folders: of each image, by its id, where its parts lie below `.parts`.
    """

    images: Listing
    parts: Listing
    kept: int
    windows: int
    folders: dict[str, str]

    def delete_joined(self, held: Held) -> None:
        """Delete the parts of images that are joined and committed. Raises OutputError."""
        root = held.results.root / FOLDER
        names = list(self.folders)
        with output_errors(held.results.root):
            for name, at in zip(names, held.ledger.find(names), strict=True):
                if at >= 0 and held.ledger.rows["ok"][at]:
                    (root / self.folders[name]).delete_folder()
            if not list(_folders(root)):
                root.delete_folder()


def set_apart(
    chosen: Listing,
    tiling: Tiling | None,
    key: Key,
    results: Location,
    work: Location,
    *,
    probabilities: Kept | None = None,
) -> tuple[Listing, Rasters | None]:
    """The images that are computed at once, and the rasters that are not.

    TIFFs that are longer than a part along a side are; only headers are read. Parts that no image of the
    run will join are deleted. Raises OSError.

    Args:
        probabilities: which are kept of each part; others than those that lie there make it another one.
    """
    sizes = _sizes(chosen, tiling) if tiling is not None else {}
    if tiling is None or not sizes:
        _sweep(results, set())
        return chosen, None

    def whole(row: dict[str, Any]) -> dict[str, Any]:
        return _whole(row, sizes[row["id"]], tiling, key, probabilities)

    def missing(row: dict[str, Any]) -> list[dict[str, Any]]:
        areas = enumerate(parts_of(sizes[row["id"]], tiling))
        kept = there[row["id"]]
        return [
            {**row["_part"], "area": area, "number": number} for number, area in areas if number not in kept
        ]

    wanted = pa.array([*sizes])
    rest, images = [], []
    for table in chosen.tables():
        is_raster = pc.is_in(table["id"], wanted)
        rest.append(table.filter(pc.invert(is_raster)))
        images.append(_repeated(table.filter(is_raster), lambda row: [whole(row)]))
    folders = {row["id"]: row["_part"]["folder"] for table in images for row in table.to_pylist()}
    lying = _sweep(results, {*folders.values()})
    numbers = dict(
        zip(lying, for_many(lambda name: kept_numbers(results / FOLDER / name), lying), strict=True)
    )
    there = {name: numbers.get(folder, set()) for name, folder in folders.items()}
    parts = [_repeated(table, missing) for table in images]
    at_once = write_chosen((table for table in rest if len(table)), work / "whole.arrow")
    at_once.full_names = chosen.full_names
    return at_once, Rasters(
        images=write_chosen((table for table in images if len(table)), work / "rasters.arrow"),
        parts=write_chosen((table for table in parts if len(table)), work / "parts.arrow"),
        kept=sum(map(len, there.values())),
        windows=sum(_windows(row["_part"], tiling) for table in parts for row in table.to_pylist()),
        folders=folders,
    )


def _sizes(chosen: Listing, tiling: Tiling) -> dict[str, Size]:
    """Of each image that is a raster, by its id."""
    reader, found = image_reader(), dict[str, Size]()

    def size_of(uri: str) -> Size | None:
        try:
            head = tiff_head(reader.by_window(uri))
        except (OSError, RowFault):
            return None  # what is wrong with it is told by the stage that decodes it
        return None if head is None else (head.height, head.width)

    for table in chosen.tables():
        tiffs = table.filter(pc.ends_with(table["mask"], pattern=".tif"))
        ids, uris = tiffs["id"].to_pylist(), tiffs["uri"].to_pylist()
        for image_id, size in zip(ids, for_many(size_of, uris), strict=True):
            if size is not None and max(size) > tiling.part:
                found[image_id] = size
    return found


def _whole(
    row: dict[str, Any], size: Size, tiling: Tiling, key: Key, probabilities: Kept | None
) -> dict[str, Any]:
    """Of an image as a whole. Its folder is named by all that its parts depend on; a file of which no version
    is known has a new one each time."""
    version = row["source_version"] or secrets.token_hex(8)
    truth = (row["truth"], row["truth_version"], key.score) if row["truth"] else None
    facts = [key.mask, row["id"], version, truth, size, tiling.part, row["mask"]]
    facts += [] if probabilities is None else [probabilities]
    folder = hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:24]
    count = len(parts_of(size, tiling))
    return {
        "area": (0, 0, *size),
        "number": 0,
        "count": count,
        "height": size[0],
        "width": size[1],
        "folder": folder,
    }


def _repeated(table: pa.Table, parts: Callable[[dict[str, Any]], list[dict[str, Any]]]) -> pa.Table:
    """Each row as often as it has parts."""
    found = [parts(row) for row in table.to_pylist()]
    places = [index for index, some in enumerate(found) for _ in some]
    rows = table.take(pa.array(places, pa.int64()))
    rows = rows.drop_columns(["_part"]) if "_part" in rows.column_names else rows
    return rows.append_column("_part", pa.array([part for some in found for part in some], _PART))


def _windows(part: dict[str, Any], tiling: Tiling) -> int:
    """How many see a part."""
    top, left, height, width = part["area"]
    down, across = (
        windows_along(length, tiling, start, start + count)
        for length, start, count in ((part["height"], top, height), (part["width"], left, width))
    )
    return len(down) * len(across)


def _sweep(results: Location, wanted: set[str]) -> list[str]:
    """Delete the parts that no image of this run needs; the folders that are left."""
    root = results / FOLDER
    if not root.is_folder():
        return []
    there = [*_folders(root)]
    for name in there:
        if name not in wanted:
            (root / name).delete_folder()
    if not wanted:
        root.delete_folder()
    return [name for name in there if name in wanted]


def _folders(root: Location) -> Iterator[str]:
    from pyarrow import fs

    for info in root.filesystem.get_file_info(fs.FileSelector(root.path)):
        if info.type == fs.FileType.Directory:
            yield info.base_name
