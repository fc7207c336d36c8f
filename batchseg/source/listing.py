"""What a source lists: one row an image, before anything is read."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import pyarrow as pa

from batchseg.schema import IMAGES, PRIVATE
from batchseg.storage.keys import KeyIndex, keys

# `truth` is null where no ground truth is meant. `status` and `error` are set where the listing alone shows
# that the image cannot be used. To the right of these stand the PROMPT of a manifest that has some, and a
# manifest's own columns.
LISTING = pa.schema(
    [
        pa.field("id", pa.string(), nullable=False),
        pa.field("uri", pa.string(), nullable=False),
        pa.field("truth", pa.string()),
        pa.field("truth_version", pa.string()),
        pa.field("source_version", pa.string()),
        pa.field("size", pa.int64()),
        pa.field("status", pa.string()),
        pa.field("error", pa.string()),
    ]
)

PROMPT = pa.field("prompt", pa.string())

RESERVED = frozenset([*LISTING.names, *IMAGES.names, *PRIVATE.names, "_kept"])


def truths_of(rows: list[pa.Table], listed: Iterable[pa.Table]) -> list[list[str | None]]:
    """Where the truth of each image lies, by a pass over the source. Raises SourceError."""
    index = KeyIndex(np.concatenate([keys(table["id"]) for table in rows]))
    found: list[str | None] = [None] * sum(len(table) for table in rows)
    for table in listed:
        at = index.find(keys(table["id"]))
        here = np.flatnonzero(at >= 0)
        truths = table["truth"].take(pa.array(here)).to_pylist()
        for place, truth in zip(at[here].tolist(), truths, strict=True):
            found[place] = truth
    ends = np.cumsum([len(table) for table in rows]).tolist()
    return [found[end - len(table) : end] for table, end in zip(rows, ends, strict=True)]
