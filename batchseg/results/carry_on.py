"""Tables of an earlier batchseg brought to today's schema, so that its results folders are carried on."""

from __future__ import annotations

from collections.abc import Mapping

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from batchseg.results.rewrite import replace_parts
from batchseg.results.tables import is_older, read_part, with_fingerprints, with_truth_columns
from batchseg.storage.location import Location


def carry_on(root: Location, renamed: Mapping[str, str]) -> None:
    """Rewrite the parts that lack today's columns; `renamed` are fingerprints, old to new.

    Raises OSError, and OutputError where a part cannot be read.
    """
    for part in (root / "images").files(".parquet"):
        if not _is_older(part):
            continue
        images = with_fingerprints(with_truth_columns(read_part(part)), renamed)
        pixels = read_part(root / "pixels" / part.name)
        # the last to be written may have been cut off between its two files
        pixels = pixels.filter(pc.is_in(pixels["id"], images["id"].combine_chunks()))
        replace_parts(root, [part.name], [(part.name, (images, pixels))])


def _is_older(part: Location) -> bool:
    with part.filesystem.open_input_file(part.path) as file:
        try:
            return is_older(pq.read_schema(file), ("id", "status", "has_truth", "fingerprint"))
        except pa.ArrowException:
            return False  # whoever reads it says what is wrong with it
