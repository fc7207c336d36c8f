"""Encoded bytes by URI, with the file system's refusals as row faults."""

from __future__ import annotations

import os
import stat

import pyarrow as pa

from batchseg.errors import ConfigError, RowFault
from batchseg.schema import Status, TruthStatus
from batchseg.storage.embedded import EmbeddedReader, is_embedded
from batchseg.storage.location import is_uri, locate


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
        try:
            data = self._read(uri)
        except FileNotFoundError as exc:
            raise RowFault(self.missing, "there is no such file") from exc
        except PermissionError as exc:
            status = Status.DENIED if self.missing is Status.MISSING else self.broken
            raise RowFault(status, "permission denied") from exc
        except (OSError, pa.ArrowException, ValueError, ConfigError) as exc:
            raise RowFault(self.broken, f"cannot be read: {reason(exc)}") from exc
        if data is None:
            raise RowFault(self.missing, "the manifest holds no bytes for it")
        return data

    def _read(self, uri: str) -> bytes | None:
        if is_embedded(uri):
            return self.embedded.read(uri)
        if is_uri(uri):
            return locate(uri).read()
        if not stat.S_ISREG(os.stat(uri).st_mode):
            raise OSError("not a regular file")  # a pipe or a device would never end
        with open(uri, "rb") as file:
            return file.read()


def reason(exc: Exception) -> str:
    """What is wrong, where the system says so without the path: the row has that already."""
    cause = (exc.__cause__ or exc) if isinstance(exc, ConfigError) else exc
    return getattr(cause, "strerror", None) or str(cause)


def image_reader() -> Reader:
    return Reader("image_bytes", Status.MISSING, Status.UNREADABLE)


def truth_reader() -> Reader:
    return Reader("truth_bytes", TruthStatus.MISSING, TruthStatus.UNREADABLE)
