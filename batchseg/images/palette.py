"""The palette of a PNG replaced, without touching its pixels."""

from __future__ import annotations

import struct
import zlib

from batchseg.images.png import COLOUR_TYPE_AT, DEPTH_AT, SIGNATURE, chunks

INDEXED = 3  # IHDR's colour type of pixels that point into a palette
HEADER_BYTES = 1024  # hold IHDR and 256 entries, unless somebody put other chunks in between


def repainted(png: bytes, palette: bytes) -> bytes | None:
    """The same PNG with this palette; None where it has it already, or where its pixels point into none.

    Args:
        png: a whole file, or its first `HEADER_BYTES` where only None or not is asked.
        palette: RGB, 3 bytes an entry; as many as the file's pixels can point at are used.

    Raises:
        ValueError: this is no PNG, or one without the palette that it should have.
    """
    if len(png) <= COLOUR_TYPE_AT or not png.startswith(SIGNATURE) or png[12:16] != b"IHDR":
        raise ValueError("it is no PNG")
    if png[COLOUR_TYPE_AT] != INDEXED:
        return None
    wanted = _chunk(b"PLTE", palette[: 3 * 2 ** png[DEPTH_AT]])
    for start, end, kind in chunks(png):
        if kind == b"PLTE":
            return None if png[start:end] == wanted else png[:start] + wanted + png[end:]
        if kind == b"IDAT":
            break
    raise ValueError("it has no palette")


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
