"""The Parquet files that a manifest's path means, and their columns."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pyarrow as pa
from pyarrow import dataset as pads
from pyarrow import fs

from batchseg.errors import SourceError
from batchseg.storage.location import Location, locate, plain_errors

SUFFIXES = (".parquet", ".pq")


@contextmanager
def as_source_error(path: str) -> Iterator[None]:
    """What pyarrow raises, as a sentence that names the manifest."""
    try:
        with plain_errors():
            yield
    except (pa.ArrowException, OSError, UnicodeDecodeError) as exc:
        raise SourceError(f"{path}: cannot be read as Parquet: {str(exc).partition(chr(10))[0]}") from exc


def parquet_files(place: Location) -> list[str]:
    """The Parquet files that a manifest's path means, sorted; none where there is nothing."""
    if "*" in place.name:
        return [item.path for item in place.parent.files() if fnmatch.fnmatch(item.name, place.name)]
    if not place.is_folder():
        return [place.path] if place.exists() else []
    found = place.filesystem.get_file_info(fs.FileSelector(place.path, recursive=True))
    files = [item.path for item in found if item.is_file and item.path.endswith(SUFFIXES)]
    return sorted(path for path in files if not _hidden(path.removeprefix(place.path)))


def _hidden(below: str) -> bool:
    """Names that start with . or _ are passed over, as everywhere in the Parquet world."""
    return any(part.startswith((".", "_")) for part in below.split("/"))


def open_fragments(path: str, folder: Location, files: list[str]) -> tuple[list[Any], pa.Schema]:
    """A fragment a file, and the columns of all: those of the files, then those that their folders name.

    A later file may have more columns, and then they are null in the earlier ones. Where a file holds a
    column of a folder's name itself, its values and its type win. Raises SourceError.
    """
    if not files:
        missing = (
            "this folder holds no Parquet file" if folder.path == locate(path).path else "no such manifest"
        )
        raise SourceError(f"{path}: {missing}")
    kind = pads.ParquetFileFormat()
    schemas = [kind.inspect(file, folder.filesystem) for file in files]
    given = pa.unify_schemas(schemas, promote_options="permissive")
    below = [file.removeprefix(folder.path).rpartition("/")[0] for file in files]
    named = _partitions(below, given)
    fragments = [
        kind.make_fragment(file, folder.filesystem, _values(named, schema, place))
        for file, schema, place in zip(files, schemas, below, strict=True)
    ]
    fields = [*given, *(field for field in named if field.name not in given.names)]
    return fragments, pa.schema([field.with_nullable(True) for field in fields])


_KEY = re.compile(r"(?:^|/)([^/=]+)=([^/]*)")
_INT32 = re.compile(r"-?\d{1,9}")


def _partitions(below: list[str], given: pa.Schema) -> pa.Schema:
    """What the folders name, of the type that the files have for it, else whole numbers or text."""
    values: dict[str, set[str]] = {}
    for place in below:
        for name, value in _KEY.findall(place):
            values.setdefault(name, set()).add(value)
    fields = []
    for name, found in values.items():
        numbers = all(_INT32.fullmatch(value) for value in found - {_NULL})
        kind = pa.int32() if numbers and found != {_NULL} else pa.string()
        fields.append(pa.field(name, given.field(name).type if name in given.names else kind))
    return pa.schema(fields)


_NULL = "__HIVE_DEFAULT_PARTITION__"


def _values(named: pa.Schema, own: pa.Schema, below: str) -> Any:
    """What a file's folders say of its rows, but for what stands in the file."""
    asked = pa.schema([field for field in named if field.name not in own.names])
    return pads.HivePartitioning(asked).parse(f"{below}/") if len(asked) else None
