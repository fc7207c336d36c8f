"""One directory's files, sorted by name, as an Arrow table: a million take little more than their names."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import Any

import pyarrow as pa
from pyarrow import fs

from batchseg.schema import Status
from batchseg.source.passed_over import HIDDEN, LINKS
from batchseg.storage.location import Location

FILES = pa.schema(
    [
        ("name", pa.string()),
        ("size", pa.int64()),
        ("modified_ns", pa.int64()),
        ("status", pa.string()),
        ("error", pa.string()),
    ]
)

ROWS_A_TABLE = 8192

Note = Callable[[str, str], None]  # the name of what is passed over, and why


def unnoted(name: str, kind: str) -> None:
    """Where nobody asks what was passed over."""


def read_directory(
    place: Location, root: Location, follow_links: bool = False, note: Note = unnoted
) -> tuple[pa.Table, list[str]]:
    """The visible files (a table of FILES) and the visible subfolders of one folder, in the order of paths.

    A file that cannot be used carries a status and an error. Unless `follow_links` is set, links to folders
    are passed over, for they could lead out of the source or in circles, and links to files count inside
    `root` alone. With it, whoever goes into the folders looks out for circles.
    Raises OSError.
    """
    folders: list[str] = []
    if place.is_local:
        entries = _local(place.path, None if follow_links else root.path, folders, note)
    else:
        entries = _remote(place, folders, note)
    return _as_table(entries).sort_by("name"), sorted(folders, key=lambda name: f"{name}/")


def readable(path: str) -> str:
    """A path whose bytes are not UTF-8 comes with surrogates, which no table can hold: here as escapes."""
    return path.encode("utf-8", "backslashreplace").decode()


def _as_table(entries: Iterable[tuple[Any, ...]]) -> pa.Table:
    rows, batches = iter(entries), []
    while chunk := list(islice(rows, ROWS_A_TABLE)):
        columns = [
            pa.array(column, kind) for column, kind in zip(zip(*chunk, strict=True), FILES.types, strict=True)
        ]
        batches.append(pa.RecordBatch.from_arrays(columns, schema=FILES))
    return pa.Table.from_batches(batches, schema=FILES)


def _remote(place: Location, folders: list[str], note: Note) -> Iterator[tuple[Any, ...]]:
    for info in place.filesystem.get_file_info(fs.FileSelector(place.path, allow_not_found=True)):
        if info.base_name.startswith("."):
            note(info.base_name, HIDDEN)
        elif info.type == fs.FileType.Directory:
            folders.append(info.base_name)
        elif info.type == fs.FileType.File:
            yield info.base_name, info.size or 0, info.mtime_ns or 0, None, None


def _local(path: str, root: str | None, folders: list[str], note: Note) -> Iterator[tuple[Any, ...]]:
    """Links lead no further than `root`; None: wherever they lead."""
    with os.scandir(path) as found:
        for item in found:
            if item.name.startswith("."):
                note(readable(item.name), HIDDEN)
            elif item.is_dir(follow_symlinks=False):
                folders.append(item.name)
            elif not (item.is_symlink() and os.path.isdir(item.path)):
                yield _entry(item, root)
            elif root is None:
                folders.append(item.name)
            else:
                note(readable(item.name), LINKS)


def _entry(item: os.DirEntry[str], root: str | None) -> tuple[Any, ...]:
    if readable(item.path) != item.path:
        return _fault(readable(item.name), Status.UNREADABLE, "the file's path is not valid UTF-8; rename it")
    try:
        inside = root is None or not item.is_symlink() or _leads_inside(item.path, root)
        stat = item.stat()
    except OSError as exc:
        return _fault(item.name, *_refusal(exc))
    if not inside:
        return _fault(
            item.name,
            Status.DENIED,
            "a link that leads out of the source folder; --follow-links follows it",
        )
    if not item.is_file():
        return _fault(item.name, Status.UNREADABLE, "not a regular file")
    return item.name, stat.st_size, stat.st_mtime_ns, None, None


def _refusal(exc: OSError) -> tuple[Status, str]:
    if isinstance(exc, FileNotFoundError):
        return Status.MISSING, "a link to a file that is not there"
    if isinstance(exc, PermissionError):
        return Status.DENIED, "permission denied"
    return Status.UNREADABLE, f"cannot be read: {exc.strerror}"


def _fault(name: str, status: Status, error: str) -> tuple[Any, ...]:
    return name, 0, 0, status.value, error


def _leads_inside(link: str, root: str) -> bool:
    root = os.path.realpath(root)
    target = os.path.realpath(link, strict=True)
    return os.path.commonpath([target, root]) == root
