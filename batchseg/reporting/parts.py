"""The rows of a results folder, one part at a time: memory depends on the part, never on the data set."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from batchseg.results.folder import Results
from batchseg.results.tables import read_images, read_part, selected
from batchseg.schema import BESIDE


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

    def beside(
        self, kind: str, columns: Sequence[str], ids: pa.ChunkedArray
    ) -> tuple[pa.Table, NDArray[np.int64]]:
        """Some columns of a table beside `images`, and which image each row is of: its place among `ids`.

        Raises OutputError.
        """
        schema, place = BESIDE[kind], self.results.root / kind / self.name
        columns = ["id", *columns]
        if kind != "pixels" and not place.exists():  # of these images there is nothing to say
            return schema.empty_table().select(columns), np.empty(0, np.int64)
        table = selected(place, read_part(place, columns), schema, columns)
        found = pc.index_in(table["id"], ids.combine_chunks())
        if found.null_count:
            table, found = table.filter(pc.is_valid(found)), pc.drop_null(found)
        return table, found.to_numpy().astype(np.int64)
