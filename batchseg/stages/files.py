"""Files of the results, written where they belong: what is refused costs one image, or ends the job."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable

from batchseg.errors import OutputError, RowFault
from batchseg.schema import Status
from batchseg.storage.location import Location

# a name that stands for a folder, or a file where a folder should be; a full disk is neither
_TAKEN = (errno.EISDIR, errno.ENOTDIR, errno.EEXIST)


def writer(root: Location, noun: str) -> Callable[[str, bytes], None]:
    """Writes bytes as `putter` has files written, and raises what it does."""
    put = putter(root, noun)
    return lambda below, data: put(below, lambda target: target.write(data))


def putter(root: Location, noun: str) -> Callable[[str, Callable[[Location], None]], None]:
    """Has files written at their paths below a folder, and makes the folders on the way.

    It raises RowFault where the name is taken by something else, and OutputError for all other trouble.
    """
    made: set[str] = set()

    def put(below: str, write: Callable[[Location], None]) -> None:
        target = root / below
        try:
            if target.parent.path not in made:
                target.parent.make_folder()
                made.add(target.parent.path)
            write(target)
        except OSError as exc:
            if exc.errno in _TAKEN or os.path.isdir(target.path):
                # a folder called a.png beside an image a.jpg: rare, and only this image's trouble
                raise RowFault(
                    Status.NAME_COLLISION, f"its {noun} {below} is taken by a folder or a file"
                ) from exc
            raise OutputError(f"{target}: cannot be written: {exc.strerror or exc}") from exc

    return put
