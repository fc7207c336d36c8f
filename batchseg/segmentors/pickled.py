"""What a file of weights holds, read without running anything in it."""

from __future__ import annotations

import io
import json
import pickletools
import struct
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

_MOST_BYTES = 2**26  # of the pickle itself: weights lie outside of it
_PARTS = 6  # pickles in one file, as torch wrote them before it wrote zip archives
_TEXT = ("UNICODE", "STRING")
_HEADER = struct.Struct("<Q")


@dataclass
class FileContent:
    """What can be told of a file.

    Attributes:
        members: names in a zip archive, less their common folder.
        classes: what a pickle would import, as module.name.
        texts: the texts in it, such as the keys of a dictionary; of safetensors the names of the weights.
    """

    members: set[str] = field(default_factory=set)
    classes: set[str] = field(default_factory=set)
    texts: set[str] = field(default_factory=set)

    @classmethod
    def of(cls, path: Path) -> FileContent:
        """Of a file of any kind; empty where nothing of this can be told."""
        found = cls()
        try:
            with path.open("rb") as file:
                if zipfile.is_zipfile(file):
                    found._read_archive(file)
                else:
                    file.seek(0)
                    start = file.read(_HEADER.size + 1)
                    file.seek(0)
                    if start[_HEADER.size :] == b"{":  # after its length, which may begin as a pickle
                        found._read_safetensors(file)
                    elif start[:1] == b"\x80":
                        found._read_pickles(file)
        except (OSError, ValueError, RuntimeError, OverflowError, zipfile.BadZipFile, struct.error):
            pass  # a damaged file tells as much as was read
        return found

    def has_module(self, *names: str) -> bool:
        """Whether a pickle imports from one of these packages."""
        return any(each.startswith(tuple(f"{name}." for name in names)) for each in self.classes)

    def starts(self, *prefixes: str) -> bool:
        """Whether a text begins so."""
        return any(each.startswith(prefixes) for each in self.texts)

    def _read_archive(self, file: BinaryIO) -> None:
        with zipfile.ZipFile(file) as archive:
            for info in archive.infolist():
                inner = info.filename.partition("/")[2] or info.filename
                self.members |= {inner, info.filename}
                if inner == "data.pkl" and info.file_size <= _MOST_BYTES:
                    self._read_pickles(io.BytesIO(archive.read(info)))

    def _read_pickles(self, file: BinaryIO) -> None:
        for _ in range(_PARTS):
            pushed: list[str] = []  # a class may be named by the last two texts
            try:
                for name, value in _operations(file):
                    self._note(name, value, pushed)
            except ValueError:  # the last one has ended, or is torn
                return
            finally:
                self.texts |= {*pushed}
            if file.tell() > _MOST_BYTES:
                return

    def _note(self, name: str, value: object, pushed: list[str]) -> None:
        if name == "GLOBAL":
            self.classes.add(str(value).replace(" ", "."))
        elif name == "STACK_GLOBAL" and len(pushed) > 1:
            self.classes.add(".".join(pushed[-2:]))
        elif name.endswith(_TEXT) and isinstance(value, str):
            pushed.append(value)

    def _read_safetensors(self, file: BinaryIO) -> None:
        (length,) = _HEADER.unpack(file.read(_HEADER.size))
        if length <= _MOST_BYTES:
            content = json.loads(file.read(length))
            self.texts |= {name for name in content if name != "__metadata__"}


def _operations(file: BinaryIO) -> Iterator[tuple[str, object]]:
    """The operations of the next pickle: they are listed, and none is done."""
    for operation, value, _ in pickletools.genops(file):
        yield operation.name, value
