"""explanations/ in a results folder: pictures of what decisions rest on, and their table."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pyarrow as pa

from batchseg.results.folder import Held
from batchseg.results.tables import read_columns, write_table
from batchseg.schema import column
from batchseg.storage.location import Location, output_errors
from batchseg.storage.lock import check

EXPLANATIONS = pa.schema(
    [
        column("id", pa.string(), "the image", nullable=False),
        column("class_id", pa.int32(), "the class that is explained", nullable=False),
        column("class_name", pa.string(), "its name from the label map", nullable=False),
        column("method", pa.string(), "`occlusion`, `gradients` or `language`", nullable=False),
        column(
            "target",
            pa.float64(),
            "mean probability of the class over its region, the pixels where the mask has it, 0 to 1",
            nullable=False,
        ),
        column(
            "inside_share",
            pa.float64(),
            "positive attribution, or attention, inside the region / all of it; null where there is none",
        ),
        column(
            "area_share",
            pa.float64(),
            "the region's share of the image: `inside_share` by chance",
            nullable=False,
        ),
        column(
            "language_off_changed",
            pa.float64(),
            "fraction of pixels with another class where the language branch is switched off",
        ),
        column("language_off_target", pa.float64(), "the target then"),
        column(
            "remainder",
            pa.float64(),
            "of gradients: what all attribution together should add to the target of a grey image, and does "
            "not; far from 0 they tell little",
        ),
        column("grid", pa.int32(), "squares of the occlusion along a side; null of other methods"),
        column("picture", pa.string(), "path of the picture, relative to the results folder", nullable=False),
        column("fingerprint", pa.string(), "of the mask that is explained, as in `images`"),
        column("source_version", pa.string(), "of the image, as in `images`"),
    ]
)

FOLDER, TABLE = "explanations", "explanations.parquet"
_OF_IMAGE = ("id", "fingerprint", "source_version")  # what tells that a mask is still the one explained


def read_explanations(root: Location) -> pa.Table:
    """All that were ever made and not replaced; none where there is no table. Raises OutputError."""
    place = root / FOLDER / TABLE
    if not place.exists():
        return EXPLANATIONS.empty_table()
    return read_columns(place, EXPLANATIONS, EXPLANATIONS.names)


def explanations_of(table: pa.Table, images: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """The rows that explain the masks of these images as they are now.

    Args:
        images: rows of `images`.
    """
    now = {tuple(row[name] for name in _OF_IMAGE) for row in images}
    return [row for row in table.to_pylist() if tuple(row[name] for name in _OF_IMAGE) in now]


def put_explanation(held: Held, row: dict[str, Any], picture: bytes) -> None:
    """Write a picture, and then its row in place of that of the same image and method.

    Rows of images that the results have no more go, and so do their pictures. Raises OutputError.
    """
    root = held.results.root
    check(held.lock)
    place = root / row["picture"]
    with output_errors(root):
        place.parent.make_folder()
        place.write(picture)
    old = read_explanations(root).to_pylist()
    there = held.ledger.find([each["id"] for each in old]) >= 0
    same = (row["id"], row["method"])
    kept = [each for each, is_there in zip(old, there, strict=True) if is_there]
    kept = [each for each in kept if (each["id"], each["method"]) != same]
    rows = sorted([*kept, row], key=lambda each: (each["id"], each["method"]))
    with output_errors(root):
        write_table(root / FOLDER / TABLE, pa.Table.from_pylist(rows, schema=EXPLANATIONS))
