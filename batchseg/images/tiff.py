"""TIFF: what its directory says of the pixels, and layouts that Pillow reads wrongly by itself or not at all.

TIFF 6.0 is the standard. Pillow has two ways to pixels: its own for uncompressed files, which takes 16-bit
samples in separate planes for 8-bit ones and knows no subsampled YCbCr, and libtiff's, which reads both.
"""

from __future__ import annotations

import io
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from threading import Lock
from typing import Any

from PIL import Image, TiffImagePlugin
from PIL.TiffImagePlugin import ImageFileDirectory_v2, TiffImageFile

from batchseg.errors import RowFault
from batchseg.schema import Status

WIDTH, HEIGHT, BITS, COMPRESSION, PHOTOMETRIC, FILL_ORDER = 256, 257, 258, 259, 262, 266
STRIPS, ORIENTATION, SAMPLES, ROWS, STRIP_BYTES, MAX_VALUE, PLANAR = 273, 274, 277, 278, 279, 281, 284
PREDICTOR, PALETTE, TILE_WIDTH, TILE_HEIGHT, TILES, TILE_BYTES, EXTRA = 317, 320, 322, 323, 324, 325, 338
SAMPLE_FORMAT, SUBFILE, SUBSAMPLING = 339, 254, 530
MIN_IS_WHITE, MIN_IS_BLACK, RGB, PALETTE_COLOUR, CMYK, YCBCR, LAB = 0, 1, 2, 3, 5, 6, 8
SEPARATE, SIGNED = 2, 2
_UNCOMPRESSED, _LONG = 1, 4
_MOTOROLA_BIG = b"MM\0+"

INTERLEAVE = "save it with its channels interleaved, such as with `tiffcp -p contig` or as PNG"
_CODECS = {
    **{9: "JBIG (T.85)", 10: "JBIG (T.43)", 34661: "JBIG", 32766: "NeXT RLE", 32895: "IT8", 34887: "LERC"},
    **{32908: "PixarFilm", 32909: "PixarLog", 33003: "JPEG 2000", 33004: "JPEG 2000", 33005: "JPEG 2000"},
    **{34712: "JPEG 2000", 33007: "JPEG", 34892: "lossy JPEG of DNG", 34933: "PNG", 34934: "JPEG XR"},
    **{22610: "JPEG XR", 48124: "Jetraw", 50002: "JPEG XL", 52546: "JPEG XL"},
}
# libtiff has these where it was built with them
_OPTIONAL = {34925: ("LZMA", "lzma"), 50000: ("Zstandard", "zstd"), 50001: ("WebP", "webp")}
_libtiff = Lock()


def directory(data: bytes | memoryview) -> ImageFileDirectory_v2:
    """The tags of the first page. Raises what Pillow does where they are damaged."""
    file = io.BytesIO(data)
    header = file.read(8)
    tags = ImageFileDirectory_v2(header + (file.read(8) if header[2] == 43 else b""))
    file.seek(tags.next)
    tags.load(file)
    return tags


def open_tiff(data: bytes | memoryview) -> TiffImageFile:
    """The picture, by libtiff where Pillow's own reading would be wrong; no pixel is decoded yet.

    Raises:
        RowFault: its compression or the layout of its channels is not read here (unsupported).
        Exception: anything the reader throws at a damaged header.
    """
    if data[:4] == _MOTOROLA_BIG:  # Pillow takes it for the smaller kind
        raise RowFault(
            Status.UNSUPPORTED, "the TIFF file is a BigTIFF of big-endian order; save it little-endian"
        )
    tags = directory(data)
    _refuse(tags)
    if _is_motorola_min_is_white(tags):
        data = _rewritten(data, tags, {PHOTOMETRIC: [MIN_IS_BLACK]})
        tags = directory(data)
    if tags.get(COMPRESSION, _UNCOMPRESSED) == _UNCOMPRESSED and (
        tags.get(PLANAR) == SEPARATE or _is_subsampled(tags)
    ):
        with _by_libtiff():
            return TiffImageFile(io.BytesIO(data))
    return TiffImageFile(io.BytesIO(data))


def is_min_is_white(tags: ImageFileDirectory_v2) -> bool:
    """Whether 0 is white. Pillow inverts 8 bits and less by itself, and nothing wider."""
    return int(tags.get(PHOTOMETRIC, MIN_IS_WHITE)) == MIN_IS_WHITE


def plane(data: bytes | memoryview, tags: ImageFileDirectory_v2, index: int) -> bytes:
    """The same file with one of its separate planes as a grey picture. Raises OSError where it is cut off."""
    changed: dict[int, list[int]] = {SAMPLES: [1], PHOTOMETRIC: [MIN_IS_BLACK], BITS: [tags[BITS][index]]}
    for places, sizes in ((STRIPS, STRIP_BYTES), (TILES, TILE_BYTES)):
        if places in tags:
            each = len(tags[places]) // tags[SAMPLES]
            for tag in (places, sizes):
                changed[tag] = list(tags[tag][index * each : (index + 1) * each])
    return _rewritten(data, tags, changed)


def _refuse(tags: ImageFileDirectory_v2) -> None:
    codec = tags.get(COMPRESSION, _UNCOMPRESSED)
    name, option = _OPTIONAL.get(codec, (_CODECS.get(codec, f"a kind numbered {codec}"), ""))
    known = _has_codec(option) if option else codec in TiffImagePlugin.COMPRESSION_INFO
    if not known:
        raise RowFault(
            Status.UNSUPPORTED,
            f"the TIFF file's pixels are compressed as {name}, which is not read; "
            "save it with LZW or Deflate",
        )
    if tags.get(PLANAR) != SEPARATE:
        return
    extra = tags.get(EXTRA, ())
    if tags.get(PHOTOMETRIC) == YCBCR or (len(extra) > 1 and max(extra) > 0):
        raise RowFault(
            Status.UNSUPPORTED,
            f"the TIFF file has {tags.get(SAMPLES, 1)} channels in separate planes, of a kind that is not "
            f"read; {INTERLEAVE}",
        )


@cache
def _has_codec(option: str) -> bool:
    try:
        Image.new("L", (1, 1)).save(io.BytesIO(), "TIFF", compression=option)
    except OSError:
        return False
    return True


@contextmanager
def _by_libtiff() -> Iterator[None]:
    """Pillow has no other switch than this one, which is the process's: other threads may see it on."""
    with _libtiff:
        before = TiffImagePlugin.READ_LIBTIFF
        TiffImagePlugin.READ_LIBTIFF = True
        try:
            yield
        finally:
            TiffImagePlugin.READ_LIBTIFF = before


def _is_motorola_min_is_white(tags: ImageFileDirectory_v2) -> bool:
    """Which Pillow knows of the other byte order only."""
    return tags.prefix == b"MM" and tags.get(BITS) == (16,) and is_min_is_white(tags)


def _is_subsampled(tags: ImageFileDirectory_v2) -> bool:
    """Whether colours are stored for some pixels only. By default they are, if the file is that small."""
    if tags.get(PHOTOMETRIC) != YCBCR:
        return False
    if SUBSAMPLING in tags:
        return tuple(tags[SUBSAMPLING]) != (1, 1)
    sizes = tags.get(STRIP_BYTES, tags.get(TILE_BYTES, ()))
    return sum(sizes) < 3 * int(tags[WIDTH]) * int(tags[HEIGHT])


def _rewritten(data: bytes | memoryview, tags: ImageFileDirectory_v2, changed: dict[int, list[int]]) -> bytes:
    """The file with another directory at its end, which holds what decoding needs; all are LONG values.

    Raises OSError where pixels would lie behind the end, and so in that directory.
    """
    kept = (WIDTH, HEIGHT, BITS, COMPRESSION, PHOTOMETRIC, FILL_ORDER, STRIPS, ORIENTATION, SAMPLES,
            ROWS, STRIP_BYTES, PREDICTOR, TILE_WIDTH, TILE_HEIGHT, TILES, TILE_BYTES)  # fmt: skip
    values: dict[int, list[Any]] = {tag: _listed(tags[tag]) for tag in kept if tag in tags}
    values |= changed
    for places, sizes in ((STRIPS, STRIP_BYTES), (TILES, TILE_BYTES)):
        ends = map(sum, zip(values.get(places, ()), values.get(sizes, ()), strict=True))
        if max(ends, default=0) > len(data):
            raise OSError("the data end before the picture does")
    values[PLANAR] = [SEPARATE]  # has libtiff read it, which minds how many bytes a strip has
    order = "<" if tags.prefix == b"II" else ">"
    start = len(data) + len(data) % 2
    lists, fields, free = b"", b"", start + 2 + 12 * len(values) + 4
    for tag, numbers in sorted(values.items()):
        packed = struct.pack(f"{order}{len(numbers)}I", *numbers)
        if len(packed) > 4:
            packed, lists = struct.pack(f"{order}I", free + len(lists)), lists + packed
        fields += struct.pack(f"{order}HHI", tag, _LONG, len(numbers)) + packed
    header = tags.prefix + struct.pack(f"{order}HI", 42, start)
    directory_bytes = struct.pack(f"{order}H", len(values)) + fields + bytes(4)
    return b"".join([header, data[8:], bytes(len(data) % 2), directory_bytes, lists])


def _listed(value: Any) -> list[Any]:
    return list(value) if isinstance(value, tuple) else [value]
