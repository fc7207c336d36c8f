"""The chunks of a PNG, without a pixel decoded (PNG, third edition, 5)."""

from __future__ import annotations

import struct
from collections.abc import Iterator

SIGNATURE = b"\x89PNG\r\n\x1a\n"
DEPTH_AT, COLOUR_TYPE_AT = 24, 25  # in the file, for IHDR is always the first chunk
_AROUND = 12  # a chunk's length, its type and its CRC, 4 bytes each


def chunks(png: bytes | memoryview) -> Iterator[tuple[int, int, bytes]]:
    """Start, end and type of each chunk that is whole; its data begin 8 bytes in, and 4 bytes follow them."""
    start = len(SIGNATURE)
    while start + _AROUND <= len(png):
        (length,) = struct.unpack_from(">I", png, start)
        end = start + _AROUND + length
        if end > len(png):
            return
        yield start, end, bytes(png[start + 4 : start + 8])
        start = end
