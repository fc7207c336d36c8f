"""The Parquet files that a manifest's path means, as one data set."""

from __future__ import annotations

import fnmatch
from collections.abc import Iterator
from contextlib import contextmanager

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


def open_dataset(path: str, folder: Location, files: list[str]) -> pads.FileSystemDataset:
    """The files as one data set, with the partition columns that their folders name. Raises SourceError."""
    if not files:
        missing = (
            "this folder holds no Parquet file" if folder.path == locate(path).path else "no such manifest"
        )
        raise SourceError(f"{path}: {missing}")
    options = pads.FileSystemFactoryOptions(
        partition_base_dir=folder.path, partitioning=pads.HivePartitioning.discover()
    )
    return pads.FileSystemDatasetFactory(folder.filesystem, files, pads.ParquetFileFormat(), options).finish()


def unified_schema(data: pads.FileSystemDataset) -> pa.Schema:
    """The columns of all files: a later one may have more, and then they are null in the earlier ones."""
    schemas = [fragment.physical_schema for fragment in data.get_fragments()]
    fields = pa.unify_schemas([data.schema, *schemas], promote_options="permissive")
    return pa.schema([field.with_nullable(True) for field in fields])
