"""explanations/ in a results folder: pictures of what decisions rest on, and their table."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pyarrow as pa

from batchseg.results.folder import Held
from batchseg.results.tables import read_columns, write_table
from batchseg.schema import EXPLANATIONS
from batchseg.storage.location import Location, output_errors
from batchseg.storage.lock import check

FOLDER, TABLE = "explanations", "explanations.parquet"
_OF_IMAGE = ("id", "fingerprint", "source_version")  # what tells that a mask is still the one explained


def read_explanations(root: Location) -> pa.Table:
    """All that were ever made and not replaced; none where there is no table. Raises OutputError."""
    place = root / FOLDER / TABLE
    if not place.exists():
        return EXPLANATIONS.empty_table()
    return read_columns(place, EXPLANATIONS, EXPLANATIONS.names)


def explanations_of(root: Location, images: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The rows that explain the masks of these images as they are now. Raises OutputError.

    Args:
        images: rows of `images`.
    """
    now = {tuple(row[name] for name in _OF_IMAGE) for row in images}
    rows = read_explanations(root).to_pylist()
    return [row for row in rows if tuple(row[name] for name in _OF_IMAGE) in now]


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
