"""The rows of a results folder, one part at a time: memory depends on the part, never on the data set."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from batchseg.results.folder import Results
from batchseg.results.tables import read_columns, read_images
from batchseg.schema import BESIDE
from batchseg.storage.keys import keys, superseded


@dataclass(frozen=True)
class PartOfRows:
    """The rows of one part that count: where a run was cut off and left two of an image, the later one."""

    results: Results
    name: str
    kept: NDArray[np.bool_]

    @property
    def images(self) -> pa.Table:
        """All columns, those of a manifest too. Raises OutputError."""
        table = read_images(self.results.images / self.name)
        return table if self.kept.all() else table.filter(pa.array(self.kept))

    def beside(self, kind: str, ids: pa.ChunkedArray) -> tuple[pa.Table, NDArray[np.int64]]:
        """The rows of a table beside `images`, and which image each is of: its place among `ids`.

        Raises OutputError.
        """
        schema, place = BESIDE[kind], self.results.root / kind / self.name
        if kind != "pixels" and not place.exists():  # of these images there is nothing to say
            return schema.empty_table(), np.empty(0, np.int64)
        table = read_columns(place, schema, schema.names)
        found = pc.index_in(table["id"], ids.combine_chunks())
        if found.null_count:
            table, found = table.filter(pc.is_valid(found)), pc.drop_null(found)
        return table, found.to_numpy().astype(np.int64)


def parts_of_rows(results: Results) -> Iterator[PartOfRows]:
    """Raises OutputError."""
    names = [file.name for file in results.images.files(".parquet")]
    ids = (keys(read_images(results.images / name, ["id"])["id"]) for name in names)
    for name, again in zip(names, superseded(ids), strict=True):
        yield PartOfRows(results, name, ~again)
