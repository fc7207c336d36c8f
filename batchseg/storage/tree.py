"""All the files below a folder, without following a link: what it leads to is somebody else's."""

from __future__ import annotations

import os
from collections.abc import Iterator

from pyarrow import fs

from batchseg.storage.location import Location, plain_errors


def files_below(place: Location) -> Iterator[tuple[str, int]]:
    """Path below the folder, and size in bytes, of each file; a link is a file.

    A file that goes while it is looked for is left out: a run may be at work. Raises OSError.
    """
    yield from _local(place.path, "") if place.is_local else _remote(place)


def _local(top: str, below: str) -> Iterator[tuple[str, int]]:
    if not below and (os.path.islink(top) or not os.path.isdir(top)):
        return
    with os.scandir(os.path.join(top, below)) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                yield from _local(top, f"{below}{entry.name}/")
            else:
                try:
                    size = entry.stat(follow_symlinks=False).st_size
                except FileNotFoundError:
                    continue
                yield f"{below}{entry.name}", size


def _remote(place: Location) -> Iterator[tuple[str, int]]:
    waiting, cut = [place.path], len(place.path.rstrip("/")) + 1
    while waiting:
        selector = fs.FileSelector(waiting.pop(), allow_not_found=True)
        with plain_errors():
            found = place.filesystem.get_file_info(selector)
        for item in found:
            if item.type == fs.FileType.Directory:
                waiting.append(item.path)
            elif item.type == fs.FileType.File:
                yield item.path[cut:], item.size or 0
