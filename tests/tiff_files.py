"""TIFF files byte by byte, of every layout that a scanner, microscope or camera writes, not Pillow."""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass

import numpy as np

NONE, LZW, DEFLATE, PACKBITS = 1, 5, 8, 32773
MIN_IS_WHITE, MIN_IS_BLACK, RGB, PALETTE, CMYK, YCBCR, LAB = 0, 1, 2, 3, 5, 6, 8
CHUNKY, PLANAR = 1, 2

_FORMATS = {"u": 1, "i": 2, "f": 3}


def lzw(data):
    """Literals alone: 9 bits each, the table cleared before a code would need 10."""
    codes = []
    for start in range(0, len(data), 200):
        codes += [256, *data[start : start + 200]]
    bits = "".join(f"{code:09b}" for code in [*codes, 257])
    return int(bits.ljust(-(-len(bits) // 8) * 8, "0"), 2).to_bytes(-(-len(bits) // 8), "big")


def packbits(data):
    parts = (data[start : start + 128] for start in range(0, len(data), 128))
    return b"".join(bytes([len(part) - 1]) + part for part in parts)


_COMPRESS = {NONE: bytes, LZW: lzw, DEFLATE: zlib.compress, PACKBITS: packbits}


@dataclass(frozen=True)
class Layout:
    """How the samples lie in the file: in strips of `rows`, or in tiles of `tile` x `tile`."""

    planar: int = CHUNKY
    compression: int = NONE
    order: str = "<"
    rows: int | None = None
    tile: int | None = None
    predictor: int = 1
    big: bool = False


def tiff_of(samples, photometric=RGB, extra=(), tags=None, pages=({},), **layout):
    """Samples [H, W] or [H, W, C] of any dtype; `layout` as in `Layout`, and tags for each page."""
    how = Layout(**layout)
    cube = samples.reshape(*samples.shape[:2], -1)
    height, width, channels = cube.shape
    parts = [cube[..., [channel]] for channel in range(channels)] if how.planar == PLANAR else [cube]
    blocks = [_packed(block, how) for part in parts for block in _blocks(part, how.tile, how.rows or height)]
    depth = cube.dtype.itemsize * 8
    entries = {
        **{256: [width], 257: [height], 258: [depth] * channels, 259: [how.compression], 262: [photometric]},
        **{277: [channels], 284: [how.planar], 339: [_FORMATS[cube.dtype.kind]] * channels},
        **({322: [how.tile], 323: [how.tile]} if how.tile else {278: [how.rows or height]}),
        **({338: list(extra)} if extra else {}),
        **({317: [how.predictor]} if how.predictor != 1 else {}),
        **{tag: [value] if np.isscalar(value) else list(value) for tag, value in (tags or {}).items()},
    }
    return assemble(entries, blocks, how, pages)


def _packed(block, how):
    if how.predictor == 2:
        difference = block.copy()
        difference[:, 1:] = block[:, 1:] - block[:, :-1]
        block = difference
    kept = block.astype(block.dtype.newbyteorder(how.order)).tobytes()
    return _COMPRESS.get(how.compression, bytes)(kept)


def _blocks(part, tile, rows):
    height, width = part.shape[:2]
    if not tile:
        return [part[top : top + rows] for top in range(0, height, rows)]
    padded = np.pad(part, ((0, -height % tile), (0, -width % tile), (0, 0)))
    return [
        padded[top : top + tile, left : left + tile]
        for top in range(0, height, tile)
        for left in range(0, width, tile)
    ]


def assemble(entries, blocks, how, pages=({},)):
    """The header, the pixels, and a directory a page, all of which share the pixels."""
    data, offsets = bytearray(16 if how.big else 8), []
    for block in blocks:
        offsets.append(len(data))
        data += block + b"\0" * (len(block) % 2)
    count, word, room = (
        (how.order + "Q", how.order + "Q", 8) if how.big else (how.order + "H", how.order + "I", 4)
    )
    places, link = (324, 325) if 322 in entries else (273, 279), room
    for page in pages:
        fields = b""
        located = {places[0]: offsets, places[1]: [len(block) for block in blocks]}
        for tag, values in sorted({**entries, **located, **page}.items()):
            packed = struct.pack(f"{how.order}{len(values)}I", *values)
            if len(packed) > room:
                data += packed
                packed = struct.pack(word, len(data) - len(packed))
            fields += struct.pack(f"{how.order}HH", tag, 4) + struct.pack(word, len(values))
            fields += packed.ljust(room, b"\0")
        data[link : link + room] = struct.pack(word, len(data))
        data += struct.pack(count, len(fields) // (8 + 12 if how.big else 12)) + fields
        link = len(data)
        data += bytes(room)
    data[:4] = (b"II" if how.order == "<" else b"MM") + struct.pack(how.order + "H", 43 if how.big else 42)
    data[4:8] = struct.pack(how.order + "HH", 8, 0) if how.big else data[4:8]
    return bytes(data)
