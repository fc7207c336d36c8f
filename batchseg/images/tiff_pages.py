"""The directories of a TIFF, by where their values lie: any byte order and both sizes, without the values."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from itertools import islice
from typing import BinaryIO, NamedTuple

from batchseg.images.tiff import HEIGHT, ORIENTATION, PALETTE, PHOTOMETRIC, SUBFILE, WIDTH

_SIZES = {  # bytes of a value, by its TIFF type
    **dict.fromkeys((1, 2, 6, 7), 1),
    **dict.fromkeys((3, 8), 2),
    **dict.fromkeys((4, 9, 11, 13), 4),
    **dict.fromkeys((5, 10, 12, 16, 17, 18), 8),
}
_REDUCED_OR_MASK = 1 | 4
_UPRIGHT, _LONG = 1, 4
_HEAD = (("height", HEIGHT), ("width", WIDTH), ("orientation", ORIENTATION), ("photometric", PHOTOMETRIC))


class Values(NamedTuple):
    """Where the values of a tag begin in the file, of which TIFF type they are, and how many."""

    at: int
    kind: int
    length: int


class Page(NamedTuple):
    """One directory: struct's sign for the byte order, and what each tag has."""

    order: str
    tags: dict[int, Values]


def pages(file: BinaryIO) -> Iterator[Page]:
    """Every directory, overviews among them. Raises struct.error where the file ends before."""
    file.seek(0)
    start = file.read(16)
    order, big = "<" if start[:2] == b"II" else ">", 43 in start[2:4]
    count, word, entry = (f"{order}Q", f"{order}Q", 20) if big else (f"{order}H", f"{order}I", 12)
    room = struct.calcsize(word)
    (at,) = struct.unpack_from(word, start, 8 if big else 4)
    seen = set[int]()
    while at and at not in seen:
        seen.add(at)
        file.seek(at)
        (entries,) = struct.unpack(count, file.read(struct.calcsize(count)))
        first = file.tell()
        fields = file.read(entries * entry)
        (at,) = struct.unpack(word, file.read(room))
        tags = {}
        for index in range(entries):
            tag, kind, length = struct.unpack_from(f"{order}HH{word[1]}", fields, index * entry)
            place = (index + 1) * entry - room
            if _SIZES.get(kind, 1) * length > room:
                (value_at,) = struct.unpack_from(word, fields, place)
            else:
                value_at = first + place
            tags[tag] = Values(value_at, kind, length)
        yield Page(order, tags)


class Head(NamedTuple):
    """How the first page's pixels are to be understood: what rasterio does not tell.

    Attributes:
        height, width: in pixels, as they are stored.
        orientation: how they are stored, 1 to 8 as in EXIF.
        photometric: what a sample is, such as `tiff.RGB`; -1 where the file does not say.
    """

    height: int = 0
    width: int = 0
    orientation: int = _UPRIGHT
    photometric: int = -1


def head_of(file: BinaryIO) -> Head:
    """Of an open TIFF. Raises struct.error where it is none, or ends before its first directory does."""
    page = next(pages(file), None)
    found = {} if page is None else {name: _short(file, page, tag) for name, tag in _HEAD if tag in page.tags}
    if found.get("orientation", _UPRIGHT) not in range(1, 9):
        found["orientation"] = _UPRIGHT  # no such is there
    return Head(**found)


def tiff_orientation(file: BinaryIO) -> int:
    """The orientation that the first page states, 1 to 8; 1 where it states none, or is damaged."""
    try:
        return head_of(file).orientation
    except (struct.error, OSError, ValueError):
        return _UPRIGHT


def has_more_pages(file: BinaryIO) -> bool:
    """Whether a picture follows the first one; previews of less resolution and masks do not count.

    Only directories are read. What is damaged ends the search.
    """
    try:
        following = islice(pages(file), 1, None)
        return any(not _subfile(file, page) & _REDUCED_OR_MASK for page in following)
    except (struct.error, OSError, ValueError):
        return False


def _subfile(file: BinaryIO, page: Page) -> int:
    return _short(file, page, SUBFILE) if SUBFILE in page.tags else 0


def _short(file: BinaryIO, page: Page, tag: int) -> int:
    at, kind, _ = page.tags[tag]
    sign = f"{page.order}{'I' if kind == _LONG else 'H'}"
    file.seek(at)
    (value,) = struct.unpack(sign, file.read(struct.calcsize(sign)))
    return int(value)


def repaint_tiff(file: BinaryIO, palette: bytes) -> bool:
    """Overwrite the palette of a TIFF and of its overviews, in place; whether it had another.

    Args:
        file: open for reading and writing.
        palette: RGB, 3 bytes an entry; as many as the file's pixels can point at are used.

    Raises:
        struct.error: it is no TIFF, or ends before its directories do.
    """
    others = list(_other_palettes(file, palette))
    for at, wanted in others:
        file.seek(at)
        file.write(wanted)
    return bool(others)


def has_other_palette(file: BinaryIO, palette: bytes) -> bool:
    """Whether `repaint_tiff` would change anything; the file may be open for reading alone."""
    return any(_other_palettes(file, palette))


def _other_palettes(file: BinaryIO, palette: bytes) -> Iterator[tuple[int, bytes]]:
    """Where palettes lie that are not this one, and what is to stand there."""
    for page in list(pages(file)):
        if PALETTE not in page.tags:
            continue
        at, _, length = page.tags[PALETTE]
        planes = b"".join(palette[channel : length // 3 * 3 : 3] for channel in range(3))
        # 16 bits a value, white being 65535
        wanted = struct.pack(f"{page.order}{length}H", *(257 * value for value in planes))
        file.seek(at)
        if file.read(len(wanted)) != wanted:
            yield at, wanted
