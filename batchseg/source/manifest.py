"""Images listed in Parquet: one file, a glob, a folder, or a hive-partitioned folder; streamed.

Columns: `image` (URI) or `image_bytes`; optional `id`, `truth` or `truth_bytes`, `version`. Every other
column is carried into the output. Bytes stay where they are: the listing holds their place in the file.
"""

from __future__ import annotations

import posixpath
from collections.abc import Iterator
from dataclasses import replace
from itertools import islice
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from batchseg.config.places import WHERE_TO_PUT_THEM, has_credentials, without_credentials
from batchseg.config.source import ManifestSource
from batchseg.errors import SourceError
from batchseg.schema import Status
from batchseg.source.listing import LISTING, RESERVED
from batchseg.source.parquet import as_source_error, open_dataset, parquet_files, unified_schema
from batchseg.storage.embedded import column_values, place_of
from batchseg.storage.location import is_uri, locate
from batchseg.storage.versions import Versions, digest, version_at

CONSUMED = ("image", "image_bytes", "id", "truth", "truth_bytes", "version")
ROWS_A_TABLE = 8192

Digests = dict[str, list[str | None]]  # by column, of the rows of a batch


class Manifest:
    """The rows of a manifest. Raises SourceError where it cannot be used as a whole."""

    def __init__(self, source: ManifestSource) -> None:
        self.source = source
        place = locate(source.path)
        with as_source_error(source.path):
            self.folder = place if place.is_folder() else place.parent
            self.data = open_dataset(source.path, self.folder, parquet_files(place))
            self.given = unified_schema(self.data)
            self.columns = frozenset(self.given.names)
        self._check_columns()
        self.root = locate(source.root) if source.root else self.folder
        self.root_path = f"{self.root.prefix}{self.root.path.rstrip('/')}/"
        self.versions = Versions()
        self.carried = [name for name in self.given.names if name not in CONSUMED]
        self.schema = pa.schema([*LISTING, *(_plain(self.given.field(name)) for name in self.carried)])

    def tables(self) -> Iterator[pa.Table]:
        """The listing, in tables of bounded size, in the manifest's order. Raises SourceError."""
        left = self.source.limit
        with as_source_error(self.source.path):
            for place, first_row, batch, digests in self._batches():
                batch.validate(full=True)  # a damaged file can hold text that is none
                table = self._listing(place, first_row, batch, digests).slice(0, left)
                yield table
                left = None if left is None else left - len(table)
                if left == 0:
                    return

    def _batches(self) -> Iterator[tuple[str, int, pa.RecordBatch, Digests]]:
        wanted = [name for name in self.given.names if name not in ("image_bytes", "truth_bytes")]
        for fragment in self.data.get_fragments():
            for group in fragment.split_by_row_group():
                (info,) = group.row_groups
                row, place = 0, place_of(self._uri(fragment.path), info.id)
                digests = list(self._digests(place, group))
                for batch in (
                    group.to_batches(self.given, columns=wanted, batch_size=ROWS_A_TABLE, use_threads=False)
                    if wanted
                    else _rows_alone(info.num_rows)
                ):
                    yield place, row, batch, {name: list(islice(each, len(batch))) for name, each in digests}
                    row += len(batch)

    def _digests(self, place: str, group: Any) -> Iterator[tuple[str, Iterator[str | None]]]:
        """Of the bytes in the columns that hold some, where nothing else tells a changed one."""
        told = set()
        if "version" in self.columns and not group.to_table(columns=["version"])["version"].null_count:
            told = {"image_bytes"}
        for name in ("image_bytes", "truth_bytes"):
            if name in self.columns and name not in told:
                yield name, map(digest, column_values(place, name))

    def _listing(self, place: str, first_row: int, batch: pa.RecordBatch, digests: Digests) -> pa.Table:
        count = batch.num_rows
        rows = range(first_row, first_row + count)
        inside = [f"{place}:{row}" for row in rows]
        names = self._texts(batch, "image")
        self._refuse_nulls("image", names)
        uris = [self._absolute(name) for name in names] if names else inside
        truths = self._texts(batch, "truth")
        if truths:
            truths = [self._absolute(name) if name else None for name in truths]
            found = self.versions(truths)
            truth_versions = [version_at(own, at or "") for at, (_, own) in zip(truths, found, strict=True)]
        elif "truth_bytes" in self.columns:
            truth_versions = digests["truth_bytes"]
            truths = [at if held else None for at, held in zip(inside, truth_versions, strict=True)]
        else:
            truths = truth_versions = [None] * count
        plain = [without_credentials(name) for name in names]
        ids = self._texts(batch, "id") or plain or [f"{self._number(place)}/{row}" for row in rows]
        self._refuse_nulls("id", ids)
        sizes, versions = self._versions(uris, self._texts(batch, "version"), digests)
        secret = [has_credentials(uri) for uri in uris]  # which must not come into the tables
        uris = [without_credentials(uri) if hidden else uri for uri, hidden in zip(uris, secret, strict=True)]
        statuses = [Status.DENIED.value if hidden else None for hidden in secret]
        errors = [f"its URI holds credentials; {WHERE_TO_PUT_THEM}" if hidden else None for hidden in secret]
        columns = [ids, uris, truths, truth_versions, versions, sizes, statuses, errors]
        arrays = [pa.array(column, field.type) for column, field in zip(columns, LISTING, strict=True)]
        carried = [batch[name].cast(self.schema.field(name).type) for name in self.carried]
        return pa.Table.from_arrays(arrays + carried, schema=self.schema)

    def _texts(self, batch: pa.RecordBatch, name: str) -> list[Any]:
        if name not in batch.schema.names:
            return []
        column = batch[name]
        if pa.types.is_floating(column.type):  # as pandas writes a column of numbers that lacks some
            column = pc.if_else(pc.is_nan(column), None, column)
        texts: list[Any] = column.cast(pa.string()).to_pylist()
        return texts

    def _versions(
        self, uris: list[str], given: list[Any], digests: Digests
    ) -> tuple[list[int | None], list[str | None]]:
        if "image_bytes" in self.columns:
            of_bytes = digests.get("image_bytes") or [None] * len(uris)
            versions = [own or told for own, told in zip(given or of_bytes, of_bytes, strict=True)]
            return [None] * len(uris), versions
        if given and not self.root.is_local:  # asking a store costs requests
            return [None] * len(uris), given
        found = self.versions(uris)
        known = given or [None] * len(uris)
        versions = [own or version for own, (_, version) in zip(known, found, strict=True)]
        return [size for size, _ in found], versions

    def _absolute(self, name: str) -> str:
        if is_uri(name):
            return str(locate(name)) if name.startswith("file://") else name
        if self.root.is_local and posixpath.isabs(name):
            return name
        return f"{self.root_path}{name.lstrip('/')}{self.root.query}"

    def _uri(self, path: str) -> str:
        return str(replace(self.folder, path=path))

    def _number(self, place: str) -> str:
        """What ids begin with where images have neither id nor name: the place of their row group."""
        file, _, group = place.rpartition("#")
        return f"{locate(file).path.removeprefix(self.folder.path).lstrip('/')}/{group}"

    def _check_columns(self) -> None:
        for problem in _problems(self.given):
            raise SourceError(f"{self.source.path}: {problem}")

    def _refuse_nulls(self, name: str, values: list[Any]) -> None:
        if not all(values):
            raise SourceError(f"{self.source.path}: column `{name}` has empty values; every image needs one")


def _rows_alone(count: int) -> Iterator[pa.RecordBatch]:
    """A manifest of bytes alone still has its rows; without any column a batch would have none."""
    for start in range(0, count, ROWS_A_TABLE):
        yield pa.record_batch([pa.nulls(min(ROWS_A_TABLE, count - start))], names=["nothing"])


def _problems(given: pa.Schema) -> Iterator[str]:
    columns = frozenset(given.names)
    if not columns & {"image", "image_bytes"}:
        yield f"no column `image` or `image_bytes`; the columns are: {', '.join(given.names)}"
    for pair in ({"image", "image_bytes"}, {"truth", "truth_bytes"}):
        if pair <= columns:
            yield f"the columns {' and '.join(sorted(pair))} exclude each other; drop one"
    clash = sorted((columns - set(CONSUMED)) & RESERVED)
    if clash:
        yield f"the results have columns of the same name: {', '.join(clash)}; rename them"
    for name, fits, wanted in _TYPES:
        if name == "truth" and name in columns and pa.types.is_null(given.field(name).type):
            continue  # no truth yet
        if name in columns and not fits(given.field(name).type):
            yield f"column `{name}` holds {given.field(name).type}; it must hold {wanted}"


def _is_text(kind: pa.DataType) -> bool:
    if pa.types.is_dictionary(kind):
        return _is_text(kind.value_type)
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind))


def _is_simple(kind: pa.DataType) -> bool:
    return not pa.types.is_nested(kind)


def _is_bytes(kind: pa.DataType) -> bool:
    return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or pa.types.is_binary_view(kind))


_TYPES = (
    ("image", _is_text, "paths or URIs as strings"),
    ("truth", _is_text, "paths or URIs as strings"),
    ("image_bytes", _is_bytes, "the bytes of image files"),
    ("truth_bytes", _is_bytes, "the bytes of label files"),
    ("id", _is_simple, "strings or numbers"),
    ("version", _is_simple, "strings or numbers"),
)


def _plain(field: pa.Field) -> pa.Field:
    """A partition column comes as a dictionary; results hold the plain values."""
    kind = field.type
    return pa.field(field.name, kind.value_type if pa.types.is_dictionary(kind) else kind)
