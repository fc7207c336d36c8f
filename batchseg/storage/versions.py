"""What tells a changed file from an unchanged one without reading it: its size and its time of change."""

from __future__ import annotations

import hashlib
import os
from collections import defaultdict
from collections.abc import Sequence

from pyarrow import fs

from batchseg.errors import ConfigError
from batchseg.storage.location import Location, is_uri, locate, plain_errors

WORTH_LISTING = 8  # files of one folder of an object store, from which on one listing costs less than asking

Version = tuple[int | None, str | None]  # size in bytes, and version; None where there is no such file
UNKNOWN: Version = (None, None)


def version(size: int, modified_ns: int) -> str:
    """Of a file, by its size in bytes and its time of change."""
    return f"{size}-{modified_ns}"


def version_at(version: str | None, uri: str) -> str | None:
    """The same, telling of which file it is: two of one size and time may lie in two folders."""
    return (
        None if version is None else f"{version}@{hashlib.blake2b(uri.encode(), digest_size=6).hexdigest()}"
    )


def digest(data: bytes | None) -> str | None:
    """Of bytes that lie in a table, and so have no time of change of their own."""
    return None if data is None else f"blake2b-{hashlib.blake2b(data, digest_size=16).hexdigest()}"


def prompted_version(version: str | None, prompt: str | None) -> str | None:
    """The version of an image together with what is meant in it; another prompt is another version."""
    if version is None or prompt is None:
        return version
    return f"{version}+{_of_prompt(prompt)}"


def image_version(version: str | None, prompt: str | None) -> str | None:
    """That of the image alone, from a `prompted_version`."""
    return version if version is None or prompt is None else version.removesuffix(f"+{_of_prompt(prompt)}")


def _of_prompt(prompt: str) -> str:
    return hashlib.blake2b(prompt.encode(), digest_size=8).hexdigest()


class Versions:
    """Of many files, by path or URI, for one listing of a source.

    A folder of an object store of which many files are asked for is listed once, and kept while it is the
    last one: asking for each file would cost a request a row.
    """

    def __init__(self) -> None:
        self._folder, self._listed = "", dict[str, Version]()

    def __call__(self, uris: Sequence[str | None]) -> list[Version]:
        """UNKNOWN for None, and for what is not there. Raises OSError where a store does not answer."""
        found = [UNKNOWN if uri is None or is_uri(uri) else _stat(uri) for uri in uris]
        folders: dict[str, list[tuple[int, Location]]] = defaultdict(list)
        for index, uri in enumerate(uris):
            place = _place(uri) if uri is not None and is_uri(uri) else None
            if place is not None:
                folders[str(place.parent)].append((index, place))
        for folder, places in folders.items():
            answers = self._ask(folder, [place for _, place in places])
            for (index, _), answer in zip(places, answers, strict=True):
                found[index] = answer
        return found

    @plain_errors()
    def _ask(self, folder: str, places: Sequence[Location]) -> list[Version]:
        if folder != self._folder and len(places) < WORTH_LISTING:
            infos = places[0].filesystem.get_file_info([place.path for place in places])
            return [_of(info) for info in infos]
        if folder != self._folder:
            parent = places[0].parent
            infos = parent.filesystem.get_file_info(fs.FileSelector(parent.path, allow_not_found=True))
            self._folder, self._listed = folder, {info.path: _of(info) for info in infos}
        return [self._listed.get(place.path, UNKNOWN) for place in places]


def _stat(path: str) -> Version:
    try:
        stat = os.stat(path)
    except (OSError, ValueError):  # ValueError: a zero byte in the name
        return UNKNOWN  # whoever reads the file says what is wrong with it
    return stat.st_size, version(stat.st_size, stat.st_mtime_ns)


def _place(uri: str) -> Location | None:
    try:
        return locate(uri)
    except ConfigError:  # no file system serves it: whoever reads it says so
        return None


def _of(info: fs.FileInfo) -> Version:
    if info.type != fs.FileType.File or info.mtime_ns is None:
        return UNKNOWN
    return info.size, version(info.size, info.mtime_ns)
