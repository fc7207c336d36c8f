"""Encoded bytes by URI, with the file system's refusals as row faults."""

from __future__ import annotations

import io
import os
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import BinaryIO

import pyarrow as pa

from batchseg.errors import ConfigError, RowFault
from batchseg.schema import Status, TruthStatus
from batchseg.storage.embedded import EmbeddedReader, is_embedded
from batchseg.storage.location import Location, is_uri, locate, plain_errors

WINDOW_BYTES = 2**18


class Reader:
    """Reads a file, or a value of a manifest's binary column where the URI is a place in one.

    Args:
        column: the binary column, `image_bytes` or `truth_bytes`.
        missing: the status of a file that is not there.
        broken: the status of a file that cannot be read.
    """

    def __init__(self, column: str, missing: Status | TruthStatus, broken: Status | TruthStatus) -> None:
        self.embedded = EmbeddedReader(column)
        self.missing, self.broken = missing, broken

    def read(self, uri: str) -> bytes:
        """Raises RowFault."""
        with self._faults():
            data = self._read(uri)
        if data is None:
            raise RowFault(self.missing, "the manifest holds no bytes for it")
        return data

    def by_window(self, uri: str) -> str | bytes | Callable[[], BinaryIO]:
        """What rasterio reads a file by, without reading all of it; but bytes of a manifest.

        Raises RowFault where it is not there or may not be read.
        """
        if is_embedded(uri):
            return self.read(uri)
        with self._faults():
            return by_window(locate(uri))

    @contextmanager
    def _faults(self) -> Iterator[None]:
        try:
            yield
        except FileNotFoundError as exc:
            raise RowFault(self.missing, "there is no such file") from exc
        except PermissionError as exc:
            status = Status.DENIED if self.missing is Status.MISSING else self.broken
            raise RowFault(status, "permission denied") from exc
        except (OSError, pa.ArrowException, ValueError, ConfigError) as exc:
            raise RowFault(self.broken, f"cannot be read: {reason(exc)}") from exc

    def _read(self, uri: str) -> bytes | None:
        if is_embedded(uri):
            return self.embedded.read(uri)
        if is_uri(uri):
            return locate(uri).read()
        _refuse_irregular(uri)
        with open(uri, "rb") as file:
            return file.read()


@plain_errors()
def by_window(place: Location) -> str | Callable[[], BinaryIO]:
    """What rasterio reads a file by, without reading all of it. Raises OSError as the file system does."""
    if not place.is_local:
        place.filesystem.open_input_file(place.path).close()
        return partial(_buffered, place)
    _refuse_irregular(place.path)
    with open(place.path, "rb"):  # says why it cannot be read, which GDAL does not
        return place.path


def _buffered(place: Location) -> BinaryIO:
    # directories are read a few bytes at a time, each of which would be a request
    return io.BufferedReader(place.filesystem.open_input_file(place.path), WINDOW_BYTES)


def _refuse_irregular(path: str) -> None:
    if not stat.S_ISREG(os.stat(path).st_mode):
        raise OSError("not a regular file")  # a pipe or a device would never end


def reason(exc: Exception) -> str:
    """What is wrong, where the system says so without the path: the row has that already."""
    cause = (exc.__cause__ or exc) if isinstance(exc, ConfigError) else exc
    return getattr(cause, "strerror", None) or str(cause)


def image_reader() -> Reader:
    return Reader("image_bytes", Status.MISSING, Status.UNREADABLE)


def truth_reader() -> Reader:
    return Reader("truth_bytes", TruthStatus.MISSING, TruthStatus.UNREADABLE)
