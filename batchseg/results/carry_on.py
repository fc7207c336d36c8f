"""Tables of an earlier batchseg brought to today's schema, so that its results folders are carried on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from batchseg.results.rewrite import replace_parts
from batchseg.results.tables import as_today, read_beside, read_part, with_fingerprints
from batchseg.storage.location import Location


def carry_on(root: Location, parts: Sequence[str], renamed: Mapping[str, str]) -> None:
    """Rewrite parts that lack today's columns; `renamed` are fingerprints, old to new.

    Raises OSError, and OutputError where a part cannot be read.
    """
    for name in parts:
        images = with_fingerprints(as_today(read_part(root / "images" / name)), renamed)
        beside = read_beside(root, name, images["id"])
        replace_parts(root, [name], [(name, {"images": images, **beside})])
