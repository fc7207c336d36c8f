"""The tables of the results folder as values, and how one is read and written."""

from __future__ import annotations

import io
from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from batchseg.errors import OutputError
from batchseg.labels.label_map import LabelMap
from batchseg.metrics.confusion import ConfusionMatrix
from batchseg.schema import CLASSES, IMAGES, PIXELS
from batchseg.storage.keys import keys, superseded
from batchseg.storage.location import Location


def unique(rows: pa.Table) -> pa.Table:
    """One row an id, the last: a worker that Ray started anew may tell of an image twice."""
    (again,) = superseded([keys(rows["id"].to_pylist())])
    return rows.filter(pa.array(~again)) if again.any() else rows


def exploded(rows: pa.Table) -> pa.Table:
    """The `pixels` table of result rows: one row an id and pair of classes."""
    lists = rows["_pixels"].combine_chunks()
    entries = lists.flatten()
    ids = rows["id"].combine_chunks().take(pc.list_parent_indices(lists))
    columns = [ids, *(entries.field(name) for name in ("truth", "predicted", "pixels"))]
    return pa.Table.from_arrays(columns, schema=PIXELS)


def classes_table(total: ConfusionMatrix, label_map: LabelMap) -> pa.Table:
    """The `classes` table of a confusion matrix."""
    scores = total.per_class()
    columns = {
        "class_id": np.arange(label_map.num_classes),
        "class_name": label_map.names,
        **{name: getattr(scores, name) for name in CLASSES.names[2:]},
    }
    # from_pandas: NaN, which means 0 / 0 here, becomes null
    arrays = [pa.array(columns[field.name], field.type, from_pandas=True) for field in CLASSES]
    return pa.Table.from_arrays(arrays, schema=CLASSES)


def read_part(part: Location, columns: list[str] | None = None) -> pa.Table:
    """A whole Parquet file, or some of its columns. Raises OutputError naming it when it cannot be read."""
    try:
        with part.filesystem.open_input_file(part.path) as file:
            table = pq.ParquetFile(file).read(columns=columns)
    except (OSError, pa.ArrowException) as exc:
        raise OutputError(f"{part}: cannot be read: {exc}") from exc
    return table if columns is None else selected(part, table, _TYPES, columns)


_TYPES = pa.schema({field.name: field.type for field in (*PIXELS, *IMAGES)})  # whose names do not clash


def selected(place: Location, table: pa.Table, schema: pa.Schema, columns: Sequence[str]) -> pa.Table:
    """Some columns, as they are in the schema. Raises OutputError where the table has no such."""
    missing = [name for name in columns if name not in table.column_names]
    if missing:
        raise OutputError(f"{place}: is no table of batchseg: it has no column {', '.join(missing)}")
    try:
        return table.select(columns).cast(pa.schema([schema.field(name) for name in columns]))
    except (ValueError, pa.ArrowException) as exc:
        raise OutputError(f"{place}: is no table of batchseg: {exc}") from exc


def read_columns(place: Location, schema: pa.Schema, columns: Sequence[str]) -> pa.Table:
    """Some columns of a table, but every column must be readable.

    Raises OutputError; where it is the file system that refuses, its cause is an OSError with an `errno`.
    """
    return selected(place, read_part(place), schema, columns)


def write_table(place: Location, table: pa.Table) -> None:
    """Write a Parquet file whole or not at all."""
    buffer = io.BytesIO()
    pq.write_table(table, buffer, compression="zstd")
    place.write(buffer.getvalue())
