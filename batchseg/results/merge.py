"""Small parts of the tables made into large ones, so that a million rows are a few dozen files."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import pyarrow as pa
from pyarrow import fs

from batchseg.results.rewrite import replace_parts
from batchseg.results.tables import TYPE_CLASHES, read_beside, read_images
from batchseg.schema import BESIDE
from batchseg.storage.location import Location

ROWS_A_PART = 65_536
BYTES_A_PART = 64 * 2**20  # of a part of `images`: a manifest's own columns may be large


def mergeable(root: Location, parts: Mapping[str, int]) -> Iterator[list[str]]:
    """Neighbours that together are no more than one part, by name; `parts` are rows by part, in order."""
    found = root.filesystem.get_file_info(fs.FileSelector((root / "images").path))
    sizes = {item.base_name: item.size or 0 for item in found}
    group: list[str] = []
    rows = size = 0
    for part, count in parts.items():
        if group and (rows + count > ROWS_A_PART or size + sizes.get(part, 0) > BYTES_A_PART):
            if len(group) > 1:
                yield group
            group, rows, size = [], 0, 0
        group.append(part)
        rows, size = rows + count, size + sizes.get(part, 0)
    if len(group) > 1:
        yield group


def merge_parts(root: Location, parts: Sequence[str]) -> bool:
    """Make one part, under the name of the last; False where their own columns are of types that clash.

    Raises OSError, and OutputError where one cannot be read.
    """
    tables = [read_images(root / "images" / part) for part in parts]
    try:
        images = pa.concat_tables(tables, promote_options="permissive")
    except TYPE_CLASHES:
        return False  # the parts stay as they are, and whoever reads the column must choose
    beside = [read_beside(root, part) for part in parts]
    joined = {
        name: pa.concat_tables([each[name] for each in beside if name in each])
        for name in BESIDE
        if any(name in each for each in beside)
    }
    replace_parts(root, parts, [(parts[-1], {"images": images, **joined})])
    return True
