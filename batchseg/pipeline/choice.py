"""Which images of a results folder get an overlay: one pass over the rows, with a bounded number in hand."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from batchseg.config.overlay import Overlays
from batchseg.config.run import Tiffs
from batchseg.errors import ConfigError
from batchseg.results.folder import Held
from batchseg.results.ledger import Ledger
from batchseg.results.masks import below_masks
from batchseg.results.tables import read_images, worst_first
from batchseg.schema import Status
from batchseg.source.names import mask_path, mask_suffix
from batchseg.source.sample import numbers_by_chance

COLUMNS = ("id", "uri", "status", "error", "mask", "width", "height", "mean_iou", "confidence_mean")
NAMED = 5
_KEPT = pa.struct([("mask", pa.string()), ("height", pa.int32()), ("width", pa.int32())])


@dataclass(frozen=True)
class Choice:
    """Which overlays are drawn.

    Attributes:
        ids: these images alone; empty for those that `overlays.which` says.
        mask_name, tiffs: how the run names its masks: the overlay of an image without one has its name as
            well.
    """

    overlays: Overlays
    mask_name: str
    ids: tuple[str, ...] = ()
    tiffs: Tiffs = "none"

    def rows(self, held: Held) -> Iterator[pa.Table]:
        """COLUMNS of the chosen images. Raises ConfigError where an id has no row, and OutputError."""
        if self.ids:
            yield self._named(held.ledger)
            return
        parts = (read_images(part, COLUMNS) for part in held.results.images.files(".parquet"))
        shown = (part.filter(self._shown(part)) for part in parts)
        if self.overlays.count is None:
            yield from shown
            return
        rank = _by_chance if self.overlays.which.startswith("sample") else worst_first
        first: list[pa.Table] = []
        for part in shown:
            both = pa.concat_tables([*first, part])
            first = [both.take(rank(both)[: self.overlays.count])]
        yield from first

    def _shown(self, part: pa.Table) -> pa.ChunkedArray:
        """Images that have masks and, in triptychs, those that failed; but what failed has no score."""
        segmented = pc.and_(pc.equal(part["status"], Status.OK.value), pc.is_valid(part["mask"]))
        if self.overlays.kind != "triptych" or self.overlays.which.startswith("worst"):
            return segmented
        return pc.or_(segmented, pc.not_equal(part["status"], Status.OK.value))

    def _named(self, ledger: Ledger) -> pa.Table:
        names = list(dict.fromkeys(self.ids))
        places = ledger.find(names)
        missing = [name for name, place in zip(names, places, strict=True) if place < 0]
        if missing:
            more = f" and {len(missing) - NAMED} more" if len(missing) > NAMED else ""
            raise ConfigError(f"the results have no image {', '.join(missing[:NAMED])}{more}")
        return ledger.values(places, COLUMNS)

    def plan(self, rows: pa.Table, truths: list[str | None]) -> pa.Table:
        """What a worker needs to know of each image."""
        failed = pc.not_equal(rows["status"], Status.OK.value).combine_chunks()
        names = below_masks(rows["mask"]).combine_chunks()
        if pc.any(failed).as_py():
            images = zip(rows["id"].to_pylist(), rows["uri"].to_pylist(), strict=True)
            own = [
                mask_path(name, self.mask_name, mask_suffix(name, uri, self.tiffs)) for name, uri in images
            ]
            names = pc.if_else(failed, pa.array(own, pa.string()), names)
        kept = [rows[field.name].combine_chunks() for field in _KEPT]
        columns = {
            "id": rows["id"],
            "uri": rows["uri"],
            "truth": pa.array(truths, pa.string()),
            "size": pa.nulls(len(rows), pa.int64()),
            "status": pc.if_else(failed, rows["status"], None),
            "error": pc.if_else(failed, rows["error"], None),
            "mask": names,
            "_kept": pa.StructArray.from_arrays(kept, fields=list(_KEPT), mask=failed),
        }
        return pa.table(columns)


def _by_chance(rows: pa.Table) -> pa.Array:
    """Places in an order that follows from the ids alone, and is like chance."""
    return pa.array(np.argsort(numbers_by_chance(rows["id"].to_pylist()), kind="stable"))
