"""The tables of the results folder as values, and how one is read and written."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from batchseg.errors import OutputError
from batchseg.labels.label_map import LabelMap
from batchseg.metrics.confusion import ConfusionMatrix
from batchseg.results.part_names import MOVE_IT, is_part_name
from batchseg.schema import ADDED, BESIDE, CLASSES, IMAGES, PRIVATE, Status, TruthStatus
from batchseg.storage.keys import keys, superseded
from batchseg.storage.location import Location

# what Arrow raises where a manifest's `site` was a number and is a text now: there is no type for both that
# says what either manifest said
TYPE_CLASHES = (pa.ArrowTypeError, pa.ArrowInvalid, pa.ArrowNotImplementedError)
_OF_TRUTH = ("truth_status", "truth_version", "score_fingerprint")
_OLD_TRUTH = "truth_"  # rows that have no `truth_status` say in `status` what is wrong with the truth


def unique(rows: pa.Table) -> pa.Table:
    """One row an id, the last: a worker that Ray started anew may tell of an image twice."""
    (again,) = superseded([keys(rows["id"])])
    return rows.filter(pa.array(~again)) if again.any() else rows


def as_tables(rows: pa.Table) -> dict[str, pa.Table]:
    """The `images` of result rows and the tables beside it, by name: of these all that have rows."""
    beside = {name: _beside(rows, name) for name in BESIDE}
    return {"images": rows.drop_columns(PRIVATE.names), **with_rows(beside)}


def _beside(rows: pa.Table, name: str) -> pa.Table:
    lists, schema = rows[f"_{name}"].combine_chunks(), BESIDE[name]
    entries = lists.flatten()
    ids = rows["id"].combine_chunks().take(pc.list_parent_indices(lists))
    return pa.Table.from_arrays([ids, *(entries.field(each) for each in schema.names[1:])], schema=schema)


def with_rows(beside: Mapping[str, pa.Table]) -> dict[str, pa.Table]:
    """Those of the tables beside `images` that have a file: `pixels` always, the others if they have rows."""
    return {name: table for name, table in beside.items() if name == "pixels" or len(table)}


def read_beside(root: Location, part: str, ids: pa.ChunkedArray | None = None) -> dict[str, pa.Table]:
    """What lies beside a part of `images`, by name, or of it the rows of some images.

    Raises OutputError where it cannot be read, as where `pixels` is not there.
    """
    places = {name: root / name / part for name in BESIDE}
    tables = {name: read_part(at) for name, at in places.items() if name == "pixels" or at.exists()}
    if ids is not None:
        chosen = ids.combine_chunks()
        tables = {name: table.filter(pc.is_in(table["id"], chosen)) for name, table in tables.items()}
    return with_rows(tables)


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


def read_part(part: Location, columns: Sequence[str] | None = None) -> pa.Table:
    """A whole Parquet file, or some of its columns. Raises OutputError naming it when it cannot be read."""
    try:
        with part.filesystem.open_input_file(part.path) as file:
            return pq.ParquetFile(file).read(columns=None if columns is None else list(columns))
    except (OSError, pa.ArrowException) as exc:
        raise OutputError(f"{part}: cannot be read: {exc}") from exc


def read_columns(place: Location, schema: pa.Schema, columns: Sequence[str]) -> pa.Table:
    """Some columns of a table, but every column must be readable.

    Raises OutputError; where it is the file system that refuses, its cause is an OSError with an `errno`.
    """
    return selected(place, read_part(place), schema, columns)


def read_images(part: Location, columns: Sequence[str] | None = None) -> pa.Table:
    """A part of `images`, or some of its columns, as today's schema has them. Raises OutputError."""
    return as_today(read_part(part)) if columns is None else look_at_images(part, columns)[0]


def is_foreign(place: Location, schema: pa.Schema) -> bool:
    """Whether a file among the parts has neither the name of one nor the columns. Raises OutputError where it
    may not be read."""
    if is_part_name(place.name):
        return False
    try:
        with place.filesystem.open_input_file(place.path) as file:
            names = pq.read_schema(file).names
    except OSError as exc:
        if exc.errno is not None:  # what may not be read may be anything
            raise OutputError(f"{place}: cannot be read: {exc.strerror or exc}") from exc
        return True
    except pa.ArrowException:
        return True
    return not {*schema.names} - {*ADDED} <= {*names}


def worst_first(images: pa.Table) -> pa.Array:
    """Places from the worst on: by mean IoU where there is truth, then the least confident."""
    order = [(name, "ascending") for name in ("mean_iou", "confidence_mean", "id")]
    return pc.sort_indices(images, sort_keys=order)  # nulls come last


def look_at_images(part: Location, columns: Sequence[str]) -> tuple[pa.Table, bool]:
    """Some columns of a part of `images`, and whether it has today's schema. Raises OutputError."""
    try:
        table, here = _readable(part, [*columns, "status", "has_truth", "truth_status"])
        today = as_today(table, [name for name in ADDED if name in columns])
        return selected(part, today, IMAGES, columns), here >= {*ADDED}
    except OutputError as exc:
        if is_part_name(part.name):
            raise
        raise OutputError(f"{exc}; {MOVE_IT}") from exc.__cause__


def _readable(part: Location, wanted: Sequence[str]) -> tuple[pa.Table, set[str]]:
    """Those of the columns that the part has, for an older one lacks some; and the names of all it has."""
    try:
        with part.filesystem.open_input_file(part.path) as file:
            parquet = pq.ParquetFile(file)
            here = set(parquet.schema_arrow.names)
            return parquet.read(columns=[name for name in dict.fromkeys(wanted) if name in here]), here
    except (OSError, pa.ArrowException) as exc:
        raise OutputError(f"{part}: cannot be read: {exc}") from exc


def as_today(images: pa.Table, added: Sequence[str] = ADDED) -> pa.Table:
    """Rows of an earlier batchseg with the columns that were added since; the table itself if it has all.

    Args:
        added: which of them.
    """
    images = with_truth_columns(images)
    if "truth_status" not in images.column_names:  # what is no part of ours stays as it is
        return images
    missing = [IMAGES.field(name) for name in added if name not in images.column_names]
    if not missing:
        return images
    for column in missing:
        images = images.append_column(column, pa.nulls(len(images), column.type))
    order = {name: place for place, name in enumerate(IMAGES.names)}  # a manifest's own stand to the right
    return images.select(sorted(images.column_names, key=lambda name: order.get(name, len(order))))


def with_truth_columns(images: pa.Table) -> pa.Table:
    """Rows that were written before masks and scores had keys of their own, as they would be written now.

    What is wrong with a truth stood in `status` then. The version of the truth is unknown, so that whatever
    has a truth is scored anew.
    """
    if not is_older(images.schema, ("status", "has_truth")):
        return images
    status = images["status"]
    faulty = pc.starts_with(status, pattern=_OLD_TRUTH)
    alive = pc.or_(faulty, pc.equal(status, Status.OK.value))
    known = pc.if_else(images["has_truth"], TruthStatus.OK.value, TruthStatus.NONE.value)
    truth = pc.if_else(faulty, pc.utf8_slice_codeunits(status, len(_OLD_TRUTH)), known)
    images = _set(images, "status", pc.if_else(faulty, Status.OK.value, status))
    nothing = pa.nulls(len(images), pa.string())
    values = {"truth_status": pc.if_else(alive, truth, None), "truth_version": nothing}
    ours = sum(name in IMAGES.names for name in images.column_names)  # a manifest's own stand to the right
    for place, (name, column) in enumerate({**values, "score_fingerprint": nothing}.items(), ours):
        images = images.add_column(place, IMAGES.field(name), column)
    return images


def is_older(part: pa.Schema, columns: Sequence[str]) -> bool:
    """Whether a part of `images` was written before then, and has these columns as we write them."""
    if "truth_status" in part.names or not set(columns) <= set(part.names):
        return False
    return all(part.field(name).type == IMAGES.field(name).type for name in columns)


def with_fingerprints(images: pa.Table, renamed: Mapping[str, str]) -> pa.Table:
    """Rows whose fingerprint is now computed otherwise from the same things, with today's."""
    column = images["fingerprint"]
    for old, new in renamed.items():
        column = pc.if_else(pc.fill_null(pc.equal(column, old), False), new, column)
    return _set(images, "fingerprint", column)


def _set(table: pa.Table, name: str, column: pa.ChunkedArray) -> pa.Table:
    return table.set_column(table.column_names.index(name), table.schema.field(name), column)


def selected(place: Location, table: pa.Table, schema: pa.Schema, columns: Sequence[str]) -> pa.Table:
    """Some columns, as they are in the schema. Raises OutputError where the table has no such."""
    missing = [name for name in columns if name not in table.column_names]
    if missing:
        raise OutputError(f"{place}: is no table of batchseg: it has no column {', '.join(missing)}")
    try:
        return table.select(columns).cast(pa.schema([schema.field(name) for name in columns]))
    except (ValueError, pa.ArrowException) as exc:
        raise OutputError(f"{place}: is no table of batchseg: {exc}") from exc


def write_table(place: Location, table: pa.Table) -> None:
    """Write a Parquet file whole or not at all. Raises OSError."""
    buffer = io.BytesIO()
    pq.write_table(table, buffer, compression="zstd")
    place.write(buffer.getvalue())
