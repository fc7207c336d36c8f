"""Images listed in Parquet: one file, a glob, a folder, or a hive-partitioned folder; streamed.

Columns: `image` (a URI, or Hugging Face's struct of bytes and path) or `image_bytes`; optional `id`, `truth`
or `truth_bytes`, `version`, and `prompt`, with which several rows may be of one image. Every other column is
carried into the output. Bytes stay where they are: the listing holds their place in the file.
"""

from __future__ import annotations

import posixpath
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from batchseg.config.places import WHERE_TO_PUT_THEM, has_credentials, without_credentials
from batchseg.config.source import ManifestSource
from batchseg.errors import SourceError
from batchseg.schema import Status
from batchseg.source.columns import find_columns
from batchseg.source.listing import LISTING, PROMPT
from batchseg.source.parquet import as_source_error, open_fragments, parquet_files
from batchseg.source.prompts import prompted_id
from batchseg.source.sample import sampled
from batchseg.storage.embedded import address, column_values, place_of
from batchseg.storage.location import is_uri, locate
from batchseg.storage.versions import Versions, digest, prompted_version, version_at

ROWS_A_TABLE = 8192
PATHS = {"image": "image path", "truth": "truth path"}  # what they are called in a batch
PLAIN = ("id", "version", "prompt")

Digests = dict[str, list[str | None]]  # by `image` and `truth`, of the rows of a batch


@dataclass(frozen=True)
class _Batch:
    """Some rows of a row group: its address, and the place of the first in the group, file and manifest."""

    place: str
    first_row: int
    first_in_file: int
    first_of_all: int
    columns: pa.RecordBatch
    digests: Digests

    def __len__(self) -> int:
        return int(self.columns.num_rows)


@dataclass(frozen=True)
class _Found:
    """Where the images or truths of some rows are, [N] each.

    Attributes:
        names: as the manifest writes them; None where it does not.
        uris: None where there is none.
        digests: of bytes that lie in the row, where nothing else tells a changed one.
        inside: whether bytes lie in the row.
    """

    names: list[str | None]
    uris: list[str | None]
    digests: list[str | None]
    inside: list[bool]


class Manifest:
    """The rows of a manifest. Raises SourceError where it cannot be used as a whole."""

    def __init__(self, source: ManifestSource) -> None:
        self.source = source
        place = locate(source.path)
        with as_source_error(source.path):
            self.folder = place if place.is_folder() else place.parent
            self.fragments, self.given = open_fragments(source.path, self.folder, parquet_files(place))
            try:
                self.columns = find_columns(self.given, source.columns, self._has_values)
            except ValueError as exc:
                other = "; for the images in the folder say --set source.kind=folder"
                raise SourceError(
                    f"{source.path}: {exc}{other if place.path == self.folder.path else ''}"
                ) from exc
        self.root = locate(source.root) if source.root else self.folder
        self.versions = Versions()
        self.carried = [*self.columns.own]
        own = (self.given.field(name).with_name(carried) for carried, name in self.columns.own.items())
        self.ours = [*LISTING, PROMPT] if self.has_prompts else [*LISTING]
        self.schema = pa.schema([*self.ours, *map(_plain, own)])

    @property
    def has_prompts(self) -> bool:
        """Whether each row says what is meant in its image."""
        return "prompt" in self.columns.ours

    def tables(self) -> Iterator[pa.Table]:
        """The listing, in tables of bounded size, in the manifest's order. Raises SourceError."""
        count = self.source.sample
        return self._tables() if count is None else sampled(self._tables(), count, self.source.seed)

    def _tables(self) -> Iterator[pa.Table]:
        left = self.source.limit
        with as_source_error(self.source.path):
            for batch in self._batches():
                batch.columns.validate(full=True)  # a damaged file can hold text that is none
                table = self._listing(batch).slice(0, left)
                yield table
                left = None if left is None else left - len(table)
                if left == 0:
                    return

    def _batches(self) -> Iterator[_Batch]:
        wanted, before = self._wanted(), 0
        for fragment in self.fragments:
            in_file = 0
            for group in fragment.split_by_row_group():
                (info,) = group.row_groups
                row, place = 0, place_of(self._uri(fragment.path), info.id)
                digests = list(self._digests(place, group))
                for columns in (
                    group.to_batches(self.given, columns=wanted, batch_size=ROWS_A_TABLE, use_threads=False)
                    if wanted
                    else _rows_alone(info.num_rows)
                ):
                    told = {name: list(islice(each, len(columns))) for name, each in digests}
                    yield _Batch(place, row, in_file + row, before + in_file + row, columns, told)
                    row += len(columns)
                in_file += row
            before += in_file

    def _wanted(self) -> dict[str, pc.Expression]:
        """All that is read of the rows: no bytes of images and truths."""
        wanted = {name: self.columns.text_of(kind) for kind, name in PATHS.items()}
        wanted |= {name: (self.columns.ours[name],) for name in PLAIN if name in self.columns.ours}
        wanted |= {carried: (name,) for carried, name in self.columns.own.items()}
        return {name: pc.field(*path) for name, path in wanted.items() if path}

    def _digests(self, place: str, group: Any) -> Iterator[tuple[str, Iterator[str | None]]]:
        """Of the bytes in the columns that hold some, where nothing else tells a changed one."""
        for name in PATHS:
            column = self.columns.bytes_of(name)
            # whether a struct holds bytes is not told by a version
            if column and not (name == "image" and len(column) == 1 and self._all_have_versions(group)):
                yield name, map(digest, column_values(place, column))

    def _all_have_versions(self, group: Any) -> bool:
        version = self.columns.ours.get("version")
        return version is not None and not group.to_table(self.given, columns=[version])[0].null_count

    def _listing(self, batch: _Batch) -> pa.Table:
        images, truths = self._found("image", batch), self._found("truth", batch)
        prompts = self._prompts(batch)
        ids = self._ids(batch, images, prompts)
        rows = range(batch.first_row, batch.first_row + len(batch))
        sizes, versions = self._versions(images, self._texts(batch, "version"))
        statuses: list[str | None] = [None] * len(batch)
        errors: list[str | None] = [None] * len(batch)
        uris = [uri or f"{batch.place}:{row}" for uri, row in zip(images.uris, rows, strict=True)]
        for row, uri in enumerate(uris):
            if has_credentials(uri):  # which must not come into the tables
                uris[row] = without_credentials(uri)
                statuses[row] = Status.DENIED.value
                errors[row] = f"its URI holds credentials; {WHERE_TO_PUT_THEM}"
            elif images.uris[row] is None:
                statuses[row] = Status.MISSING.value
                errors[row] = "the manifest names no image in this row, and holds no bytes for it"
                versions[row] = None
            elif self.has_prompts and prompts[row] is None:
                statuses[row] = Status.BAD_PROMPT.value
                errors[row] = "the manifest has no prompt in this row; say in words what is meant"
        versions = list(map(prompted_version, versions, prompts))
        truth_versions = self._truth_versions(truths)
        columns = [ids, uris, truths.uris, truth_versions, versions, sizes, statuses, errors]
        columns += [prompts] if self.has_prompts else []
        arrays = [pa.array(column, field.type) for column, field in zip(columns, self.ours, strict=True)]
        carried = [batch.columns[name].cast(self.schema.field(name).type) for name in self.carried]
        return pa.Table.from_arrays(arrays + carried, schema=self.schema)

    def _found(self, kind: str, batch: _Batch) -> _Found:
        """The images or the truths of a batch."""
        names = self._texts(batch, PATHS[kind]) or [None] * len(batch)
        uris = [self._absolute(name) if name else None for name in names]
        column, told = self.columns.bytes_of(kind), batch.digests.get(kind)
        if column is None:
            return _Found(names, uris, [None] * len(batch), [False] * len(batch))
        inside = [True] * len(batch) if told is None else [each is not None for each in told]
        for row in (row for row, held in enumerate(inside) if held):
            uris[row] = address(batch.place, batch.first_row + row, column, f"{kind}_bytes")
        return _Found(names, uris, told or [None] * len(batch), inside)

    def _prompts(self, batch: _Batch) -> list[str | None]:
        """None where there is none, or nothing but blanks."""
        if not self.has_prompts:
            return [None] * len(batch)
        return [(text or "").strip() or None for text in self._texts(batch, "prompt")]

    def _ids(self, batch: _Batch, images: _Found, prompts: list[str | None]) -> list[str]:
        """Of the column, else the image's name and the prompt, else the place of its row."""
        if "id" in self.columns.ours:
            ids = self._texts(batch, "id")
            if not all(ids):
                row = batch.first_in_file + next(row for row, text in enumerate(ids) if not text)
                file = locate(batch.place.rpartition("#")[0]).name
                raise SourceError(
                    f"{self.source.path}: column `{self.columns.ours['id']}` has empty values, first in row "
                    f"{row} of {file} (the first row is 0); every image needs an id"
                )
            return ids
        number = self._number(batch.place)
        names = [
            without_credentials(name) if name else f"{number}/{batch.first_row + row}"
            for row, name in enumerate(images.names)
        ]
        if not self.has_prompts:
            return names
        return [
            prompted_id(name, prompt, row)
            for row, (name, prompt) in enumerate(zip(names, prompts, strict=True), batch.first_of_all)
        ]

    def _texts(self, batch: _Batch, name: str) -> list[Any]:
        if name not in batch.columns.schema.names:
            return []
        column = batch.columns[name]
        if pa.types.is_floating(column.type):  # as pandas writes a column of numbers that lacks some
            column = pc.if_else(pc.is_nan(column), None, column)
        texts: list[Any] = column.cast(pa.string()).to_pylist()
        return texts

    def _versions(self, images: _Found, given: list[Any]) -> tuple[list[int | None], list[str | None]]:
        files = [None if held else uri for uri, held in zip(images.uris, images.inside, strict=True)]
        if given and not self.root.is_local:  # asking a store costs requests
            files = [None] * len(files)
        found = self.versions(files)
        known = zip(given or [None] * len(files), images.digests, found, strict=True)
        return [size for size, _ in found], [own or told or version for own, told, (_, version) in known]

    def _truth_versions(self, truths: _Found) -> list[str | None]:
        files = [None if held else uri for uri, held in zip(truths.uris, truths.inside, strict=True)]
        found = zip(truths.digests, files, self.versions(files), strict=True)
        return [told or version_at(own, uri or "") for told, uri, (_, own) in found]

    def _absolute(self, name: str) -> str:
        if is_uri(name):
            return str(locate(name)) if name.startswith("file://") else name
        if self.root.is_local and posixpath.isabs(name):
            return name
        return self.root.uri_below(name.lstrip("/"))

    def _uri(self, path: str) -> str:
        return str(replace(self.folder, path=path))

    def _number(self, place: str) -> str:
        """What ids begin with where images have neither id nor name: the place of their row group."""
        file, _, group = place.rpartition("#")
        return f"{locate(file).path.removeprefix(self.folder.path).lstrip('/')}/{group}"

    def _has_values(self, column: str) -> bool:
        """Whether a column holds anything but nulls and NaN."""
        for fragment in self.fragments:
            for batch in fragment.to_batches(self.given, columns=[column], use_threads=False):
                values = batch[0]
                if values.null_count < len(values) and (
                    not pa.types.is_floating(values.type) or not pc.all(pc.is_nan(values)).as_py()
                ):
                    return True
        return False


def _rows_alone(count: int) -> Iterator[pa.RecordBatch]:
    """A manifest of bytes alone still has its rows; without any column a batch would have none."""
    for start in range(0, count, ROWS_A_TABLE):
        yield pa.record_batch([pa.nulls(min(ROWS_A_TABLE, count - start))], names=["nothing"])


def _plain(field: pa.Field) -> pa.Field:
    """A partition column comes as a dictionary; results hold the plain values."""
    kind = field.type
    return pa.field(field.name, kind.value_type if pa.types.is_dictionary(kind) else kind)
