"""Bytes that lie in a manifest's own Parquet files, addressed as `FILE.parquet#ROW_GROUP:ROW`.

Where they lie in no column of the usual name, it follows: `:COLUMN`, or `:COLUMN/FIELD` in a struct.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from urllib.parse import quote, unquote

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from batchseg.storage.location import locate

_PLACE = re.compile(r"^(?P<file>.+)#(?P<group>\d+):(?P<row>\d+)(?::(?P<column>[^:#]+))?$", re.DOTALL)
Column = tuple[str, ...]  # the names of a column and of the field in it
_ROWS_A_READ = 16
PASSED_BYTES = 32 * 2**20


def place_of(file: str, row_group: int | str) -> str:
    """The address of a row group; `:ROW` follows."""
    return f"{file}#{row_group}"


def address(place: str, row: int, column: Column, usual: str) -> str:
    """The address of one value, by that of its row group; the `usual` column is not told."""
    told = "" if column == (usual,) else ":" + "/".join(quote(name, safe="") for name in column)
    return f"{place}:{row}{told}"


def is_embedded(uri: str) -> bool:
    """Whether a URI is a place inside a Parquet file."""
    return _PLACE.match(uri) is not None


class EmbeddedReader:
    """Reads binary columns row by row: the one that an address names, else `column`.

    Rows asked for in rising order cost one pass over the row group.

    Rows that were passed over stay at hand for a while: images leave the model grouped by size, and so their
    ground truths are asked for a little out of order.
    """

    def __init__(self, column: str) -> None:
        self.column = column
        self._group: tuple[str, Column] | None = None
        self._rows: Iterator[bytes | None] = iter(())
        self._next = 0
        self._passed: dict[int, bytes | None] = {}
        self._passed_bytes = 0

    def read(self, uri: str) -> bytes | None:
        """The bytes at an address, None where the manifest holds null. Raises OSError, pa.ArrowException."""
        match = _PLACE.match(uri)
        if match is None:
            raise FileNotFoundError(uri)
        told, row = match["column"], int(match["row"])
        column = tuple(map(unquote, told.split("/"))) if told else (self.column,)
        group = place_of(match["file"], match["group"]), column
        if group != self._group or (row < self._next and row not in self._passed):
            self._group, self._rows, self._next = group, column_values(*group), 0
            self._passed, self._passed_bytes = {}, 0
        try:
            return self._passed[row] if row in self._passed else self._advance(row)
        except BaseException:
            self._group = None  # what broke off is opened anew by the next row
            raise

    def _advance(self, row: int) -> bytes | None:
        for value in self._rows:
            at, self._next = self._next, self._next + 1
            if at == row:
                return value
            self._passed[at] = value
            self._passed_bytes += len(value or b"")
            while self._passed_bytes > PASSED_BYTES:
                self._passed_bytes -= len(self._passed.pop(next(iter(self._passed))) or b"")
        raise OSError("the manifest no longer has this row")


def column_values(place: str, column: Column) -> Iterator[bytes | None]:
    """The bytes in one column of a row group, by the group's address. Raises OSError, pa.ArrowException."""
    file, _, group = place.rpartition("#")
    located = locate(file)
    with (
        located.filesystem.open_input_file(located.path) as source,
        # as a stream: a row group may hold more bytes than there is memory
        pq.ParquetFile(source, pre_buffer=False, buffer_size=2**20) as parquet,
    ):
        if column[0] not in parquet.schema_arrow.names:
            raise OSError(f"the manifest no longer has the column {column[0]}")
        for batch in parquet.iter_batches(_ROWS_A_READ, [int(group)], [".".join(column)]):
            values = batch[column[0]]
            for field in column[1:]:
                values = pc.struct_field(values, field)
            yield from (_as_bytes(value) for value in values)


def _as_bytes(value: pa.Scalar) -> bytes | None:
    buffer = value.as_buffer() if value.is_valid else None
    return buffer.to_pybytes() if buffer is not None else None
