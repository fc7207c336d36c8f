"""Rows of the tables beside `images`, as columns of each image: some images have tens of thousands."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import accumulate
from typing import Any

import pyarrow as pa

from batchseg.schema import BESIDE, PRIVATE


def rows_beside(name: str, columns: Mapping[str, Any]) -> pa.Table:
    """The rows of an image without its id.

    Args:
        columns: arrays of numpy, in which NaN and what is masked is null, or lists; those that the table has
            beside them are null.
    """
    schema = pa.schema([*BESIDE[name]][1:])
    count = len(next(iter(columns.values())))
    arrays = [
        pa.array(columns[each.name], each.type, from_pandas=True)
        if each.name in columns
        else pa.nulls(count, each.type)
        for each in schema
    ]
    return pa.Table.from_arrays(arrays, schema=schema)


def as_lists(name: str, found: Sequence[pa.Table | None]) -> pa.Array:
    """A list of the rows of each image, and null where there are none: the column of PRIVATE."""
    kind = PRIVATE.field(f"_{name}").type
    tables = [table for table in found if table is not None]
    rows = pa.concat_tables([pa.schema([*kind.value_type]).empty_table(), *tables]).combine_chunks()
    structs = rows.to_struct_array().combine_chunks()
    ends = [0, *accumulate(0 if table is None else len(table) for table in found)]
    mask = pa.array([table is None for table in found])
    return pa.ListArray.from_arrays(pa.array(ends, pa.int32()), structs, kind, mask=mask)
