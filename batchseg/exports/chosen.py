"""Which images are exported: all that have a mask, those of a condition, or the worst of them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from batchseg.config.export import ExportConfig
from batchseg.errors import ConfigError, OutputError
from batchseg.results.folder import Results
from batchseg.results.opened import OpenedResults
from batchseg.results.tables import as_today, read_images, worst_first
from batchseg.schema import IMAGES, Status
from batchseg.storage.location import Location

COLUMNS = ("id", "uri", "mask", "width", "height", "mean_iou", "confidence_mean", "prompt")
_BARRED = {  # what an expression must not do
    "enable_external_access": "false",
    "autoload_known_extensions": "false",
    "autoinstall_known_extensions": "false",
}


class ChosenImages:
    """COLUMNS of the chosen images, part by part; with `images` in one table, the worst first.

    They can be gone through more than once. Raises ConfigError where the condition is none, or duckdb is not
    installed, and OutputError.
    """

    def __init__(self, results: Results, config: ExportConfig) -> None:
        self._folder, self._most = results.images, config.images
        self._kept = OpenedResults(results).kept
        files = [self._folder / name for name, _ in self._kept]
        self._condition = _Condition(files, config.where) if config.where else None

    def __iter__(self) -> Iterator[pa.Table]:
        if self._most is None:
            yield from self._parts()
            return
        first = IMAGES.empty_table().select(COLUMNS)
        for part in self._parts():
            both = pa.concat_tables([first, part])
            first = both.take(worst_first(both)[: self._most])
        yield first

    def _parts(self) -> Iterator[pa.Table]:
        columns = None if self._condition else [*COLUMNS, "status"]
        for name, rows in self._kept:
            part = read_images(self._folder / name, columns).filter(pa.array(rows))
            part = part.filter(pc.equal(part["status"], Status.OK.value))
            if self._condition:
                part = part.filter(pa.array(self._condition.holds(part)))
            yield part.select(COLUMNS).cast(pa.schema([IMAGES.field(name) for name in COLUMNS]))


class _Condition:
    """An expression of DuckDB's SQL over the columns of `images`; it sees one row at a time and no file."""

    def __init__(self, files: Iterable[Location], expression: str) -> None:
        self._duckdb, self._expression = _load_duckdb(), expression
        self._connection = self._duckdb.connect(":memory:", config=_BARRED)
        # of a manifest's own columns some parts may have none
        self._fields: dict[str, pa.Field] = {}
        for file in files:
            for field in as_today(_schema(file).empty_table()).schema:
                self._fields.setdefault(field.name, field)

    def holds(self, part: pa.Table) -> Any:
        """Whether it is true, bool [rows]. Raises ConfigError."""
        for name, field in self._fields.items():
            if name not in part.column_names:
                part = part.append_column(name, pa.nulls(len(part), field.type))
        relation = self._connection.from_arrow(part)
        try:
            (kind, *more) = relation.project(f"({self._expression}\n)").types
            if more or str(kind) != "BOOLEAN":
                raise ConfigError(self._refused(f"is no condition: it gives {str(kind).lower()}"))
            # the parser of `filter` takes one expression and nothing else
            numbered = part.append_column("_place", pa.array(np.arange(len(part))))
            found = self._connection.from_arrow(numbered).filter(self._expression)
            places = found.project("_place").to_arrow_table()["_place"].to_numpy()
        except self._duckdb.Error as exc:
            raise ConfigError(self._refused(f"cannot be used: {_first_lines(exc)}")) from exc
        holds = np.zeros(len(part), np.bool_)
        holds[places] = True
        return holds

    def _refused(self, why: str) -> str:
        return f"where: {self._expression!r} {why}; the columns are {', '.join(self._fields)}"


def _schema(file: Location) -> pa.Schema:
    try:
        with file.filesystem.open_input_file(file.path) as opened:
            return pq.read_schema(opened)
    except (OSError, pa.ArrowException) as exc:
        raise OutputError(f"{file}: cannot be read: {exc}") from exc


def _first_lines(exc: Exception) -> str:
    """Without the picture of the statement, which nobody wrote so."""
    text = str(exc).partition("LINE ")[0]
    return " ".join(text.split())


def _load_duckdb() -> Any:
    try:
        import duckdb
    except ImportError as exc:
        raise ConfigError("where needs the package duckdb: pip install 'batchseg[export]'") from exc
    return duckdb
