"""The images in groups, by the columns of a manifest and the folder that an id begins with."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from batchseg.comparison.sparse_counts import SparseCounts
from batchseg.schema import IMAGES, Status

MOST_VALUES = 20  # more do not make groups but names
MOST_COLUMNS = 12
FOLDER = "folder"
_PLAIN = (
    pa.types.is_string,
    pa.types.is_large_string,
    pa.types.is_integer,
    pa.types.is_floating,
    pa.types.is_boolean,
    pa.types.is_date,
)
_FIRST_FOLDER = r"^(?s:([^/]*)/.*|.*)$"


@dataclass
class GroupedColumn:
    """A column with few values: which of them each image has.

    Attributes:
        sql: what DuckDB calls the same.
        codes: for each part int16 [N], the place in `values`; -1 where it has none.
    """

    sql: str
    values: list[str] = field(default_factory=list)
    codes: list[NDArray[np.int16]] = field(default_factory=list)

    def add(self, column: pa.Array) -> bool:
        """Whether there are still few enough."""
        encoded = column.dictionary_encode()
        found = [value if value is None else _text(value) for value in encoded.dictionary.to_pylist()]
        new = [value for value in found if value is not None and value not in self.values]
        if len(self.values) + len(new) > MOST_VALUES:
            return False
        self.values += new
        places = np.array([-1 if value is None else self.values.index(value) for value in found] + [-1])
        self.codes.append(places[pc.fill_null(encoded.indices, -1).to_numpy()].astype(np.int16))
        return True


class Grouping:
    """What every image belongs to, and its counts. It takes a few bytes an image and column."""

    def __init__(self, classes: int) -> None:
        self.classes = classes
        self.columns: dict[str, GroupedColumn] = {}
        self.counts: list[SparseCounts] = []
        self.scored: list[NDArray[np.bool_]] = []
        self.segmented: list[NDArray[np.bool_]] = []
        self.confidence: list[NDArray[np.float64]] = []
        self._sizes: list[int] = []
        self._dropped: set[str] = set()

    def add(self, images: pa.Table, counts: SparseCounts) -> None:
        """Another part."""
        before = sum(self._sizes)
        names = [name for name in images.column_names if name not in IMAGES.names]
        texts = {name: _plain_values(images[name]) for name in names}
        texts[_free(FOLDER, names)] = _first_folders(images["id"])
        for name in {*texts, *self.columns} - self._dropped:
            column = self.columns.get(name)
            if column is None:
                if len(self.columns) == MOST_COLUMNS:
                    continue
                empty = [np.full(before, -1, np.int16)] if before else []
                column = self.columns[name] = GroupedColumn(_sql(name, images), codes=empty)
            text = texts.get(name, pa.nulls(len(images), pa.string()))
            if text is None or not column.add(text):
                self._dropped.add(name)
                del self.columns[name]
        self._sizes.append(len(images))
        self.counts.append(counts)
        self.scored.append(images["has_truth"].to_numpy().astype(bool))
        self.segmented.append(pc.equal(images["status"], Status.OK.value).to_numpy().astype(bool))
        self.confidence.append(pc.fill_null(images["confidence_mean"], np.nan).to_numpy())

    def sql_of(self, name: str) -> str:
        """An expression for its values as text, on the table `images`."""
        return self.columns[name].sql

    @property
    def useful(self) -> list[str]:
        """The columns that tell images apart, in the order of their names."""
        return sorted(name for name, column in self.columns.items() if len(column.values) > 1)


def _plain_values(column: pa.ChunkedArray) -> pa.Array | None:
    """None for what has no plain values; a time counts by its day, in UTC."""
    kind = column.type
    column = column.combine_chunks()
    if pa.types.is_dictionary(kind):
        column, kind = column.dictionary_decode(), kind.value_type
    if pa.types.is_timestamp(kind):
        return pc.strftime(column.cast(pa.timestamp("us")), format="%Y-%m-%d")
    return column if any(is_kind(kind) for is_kind in _PLAIN) else None


def _text(value: object) -> str:
    """As DuckDB writes it."""
    return str(value).lower() if isinstance(value, bool) else str(value)


def _first_folders(ids: pa.ChunkedArray) -> pa.Array:
    """What stands before the first slash; null where there is none."""
    found = pc.replace_substring_regex(ids.combine_chunks(), _FIRST_FOLDER, r"\1")
    return pc.if_else(pc.equal(found, ""), None, found)


def _free(name: str, taken: list[str]) -> str:
    """A manifest may have a column of that name."""
    return name if name not in taken else f"{name} of the id"


def _sql(name: str, images: pa.Table) -> str:
    if name not in images.column_names:
        return "nullif(regexp_extract(id, '^([^/]*)/', 1), '')"
    quoted, kind = '"' + name.replace('"', '""') + '"', images.schema.field(name).type
    if not pa.types.is_timestamp(kind):
        return f"CAST({quoted} AS VARCHAR)"
    in_utc = " AT TIME ZONE 'UTC'" if kind.tz else ""
    return f"strftime({quoted}{in_utc}, '%Y-%m-%d')"
