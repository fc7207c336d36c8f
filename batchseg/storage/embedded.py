"""Bytes that lie in a manifest's own Parquet files, addressed as `FILE.parquet#ROW_GROUP:ROW`."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pyarrow as pa
import pyarrow.parquet as pq

from batchseg.storage.location import locate

_PLACE = re.compile(r"^(?P<file>.+)#(?P<group>\d+):(?P<row>\d+)$", re.DOTALL)
_ROWS_A_READ = 16
PASSED_BYTES = 32 * 2**20


def place_of(file: str, row_group: int) -> str:
    """The address of a row group; `:ROW` follows."""
    return f"{file}#{row_group}"


def is_embedded(uri: str) -> bool:
    """Whether a URI is a place inside a Parquet file."""
    return _PLACE.match(uri) is not None


class EmbeddedReader:
    """Reads one binary column row by row. Rows asked for in rising order cost one pass over the row group.

    Rows that were passed over stay at hand for a while: images leave the model grouped by size, and so their
    ground truths are asked for a little out of order.
    """

    def __init__(self, column: str) -> None:
        self.column = column
        self._group: tuple[str, str] | None = None
        self._rows: Iterator[bytes | None] = iter(())
        self._next = 0
        self._passed: dict[int, bytes | None] = {}
        self._passed_bytes = 0

    def read(self, uri: str) -> bytes | None:
        """The bytes at an address, None where the manifest holds null. Raises OSError, pa.ArrowException."""
        match = _PLACE.match(uri)
        if match is None:
            raise FileNotFoundError(uri)
        group, row = (match["file"], match["group"]), int(match["row"])
        if group != self._group or (row < self._next and row not in self._passed):
            self._group, self._rows, self._next = group, column_values("#".join(group), self.column), 0
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


def column_values(place: str, column: str) -> Iterator[bytes | None]:
    """The bytes in one column of a row group, by the group's address. Raises OSError, pa.ArrowException."""
    file, _, group = place.rpartition("#")
    located = locate(file)
    with (
        located.filesystem.open_input_file(located.path) as source,
        # as a stream: a row group may hold more bytes than there is memory
        pq.ParquetFile(source, pre_buffer=False, buffer_size=2**20) as parquet,
    ):
        if column not in parquet.schema_arrow.names:
            raise OSError(f"the manifest no longer has the column {column}")
        for batch in parquet.iter_batches(_ROWS_A_READ, [int(group)], [column]):
            yield from (_as_bytes(value) for value in batch.column(0))


def _as_bytes(value: pa.Scalar) -> bytes | None:
    buffer = value.as_buffer() if value.is_valid else None
    return buffer.to_pybytes() if buffer is not None else None
