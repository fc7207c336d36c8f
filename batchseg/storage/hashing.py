"""What the contents of a file hash to."""

from __future__ import annotations

import hashlib
import os

_CHUNK_BYTES = 2**20


def sha256_of(path: str | os.PathLike[str]) -> bytes:
    """SHA-256 of a local file, read a part at a time. Raises OSError."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while chunk := file.read(_CHUNK_BYTES):
            digest.update(chunk)
    return digest.digest()
