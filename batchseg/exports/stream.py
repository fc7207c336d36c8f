"""JSON that is written entry by entry, so that memory does not grow with the images."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import IO, Any


def as_json(value: Any) -> str:
    """On one line. Text that is no ASCII is escaped, so that no reader need guess the encoding."""
    return json.dumps(value, separators=(",", ":"), allow_nan=False)


class JsonList:
    """The entries of a list, one a line, in a file that somebody else opens and closes."""

    def __init__(self, file: IO[str]) -> None:
        self._file, self._empty = file, True

    def add(self, entries: Iterable[str]) -> None:
        """Append entries that are JSON already. Raises OSError."""
        for entry in entries:
            self._file.write("\n" if self._empty else ",\n")
            self._file.write(entry)
            self._empty = False


@contextmanager
def two_lists(
    path: str, above: Mapping[str, Any], first: str, second: str
) -> Iterator[tuple[JsonList, JsonList]]:
    """A file with a JSON object that ends with two lists, both of which grow with every image: COCO's images
    and annotations. The second waits in a file of its own until the first is complete.

    Raises OSError.
    """
    with open(path, "w", encoding="ascii") as file, _waiting(path) as waiting:
        file.write(f'{as_json(above)[:-1]},"{first}":[')
        waiting.write(f'"{second}":[')
        yield JsonList(file), JsonList(waiting)
        file.write("],\n")
        waiting.write("]}\n")
        waiting.seek(0)
        shutil.copyfileobj(waiting, file)


def _waiting(path: str) -> IO[str]:
    # beside what is written, for there is room for it: /tmp may be memory
    return tempfile.TemporaryFile("w+", encoding="ascii", dir=os.path.dirname(path), prefix=".tmp-")
