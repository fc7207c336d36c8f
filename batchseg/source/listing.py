"""What a source lists: one row an image, before anything is read."""

from __future__ import annotations

import pyarrow as pa

from batchseg.schema import IMAGES, PRIVATE

# `truth` is null where no ground truth is meant. `status` and `error` are set where the listing alone shows
# that the image cannot be used. A manifest's own columns stand to the right of these.
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

RESERVED = frozenset([*LISTING.names, *IMAGES.names, *PRIVATE.names, "_kept"])
