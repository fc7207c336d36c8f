"""The headers of a source's images, from the first bytes of each file, one listing table at a time."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, BinaryIO

import pyarrow as pa
from pyarrow import fs

from batchseg.config.base import Limits
from batchseg.config.looks import Tiling
from batchseg.errors import ConfigError, RowFault
from batchseg.images.bands import raster_size
from batchseg.images.decode import orientation_of
from batchseg.images.headers import check_size, decoding, open_picture, sniff
from batchseg.images.label_rasters import open_tiff_head
from batchseg.images.raster import RasterFile
from batchseg.images.tiff_pages import has_more_pages, tiff_orientation
from batchseg.schema import Status
from batchseg.segmentors.combined.windows import largest_seen
from batchseg.storage.embedded import is_embedded
from batchseg.storage.location import locate
from batchseg.storage.reader import Reader, reason

HEAD_BYTES = 64 * 2**10  # most headers are far smaller; large EXIF data or a TIFF's late directory are not


@dataclass(frozen=True)
class Header:
    """What is known of an image without decoding a pixel.

    Attributes:
        width, height: pixels, before an EXIF orientation is applied.
        orientation: 1 to 8 as in EXIF; 1 where it says nothing, or says it behind a PNG's pixels.
        is_paged: it has more than one page or frame, of which the first is read.
    """

    name: str
    width: int
    height: int
    bytes: int
    orientation: int = 1
    is_paged: bool = False


@dataclass
class Sizes:
    """What the headers tell of a source.

    Attributes:
        formats: images by format.
        pixels: of all images together.
        bytes: of all image files together.
        smallest, largest: (width, height, id), by number of pixels, before EXIF orientation.
        turned: images with an EXIF orientation other than 1.
        turned_with_truth: those of them that have a truth.
        paged: images with more than one page or frame, of which the first is read.
    """

    formats: dict[str, int] = field(default_factory=dict)
    pixels: int = 0
    bytes: int = 0
    smallest: tuple[int, int, str] | None = None
    largest: tuple[int, int, str] | None = None
    turned: int = 0
    turned_with_truth: int = 0
    paged: int = 0

    def add(self, image_id: str, header: Header, has_truth: bool) -> None:
        area, size = header.width * header.height, (header.width, header.height, image_id)
        self.formats[header.name] = self.formats.get(header.name, 0) + 1
        self.pixels += area
        self.bytes += header.bytes
        if self.smallest is None or area < self.smallest[0] * self.smallest[1]:
            self.smallest = size
        if self.largest is None or area > self.largest[0] * self.largest[1]:
            self.largest = size
        is_turned = header.orientation != 1
        self.turned += is_turned
        self.turned_with_truth += is_turned and has_truth
        self.paged += header.is_paged


def read_header(reader: Reader, uri: str, limits: Limits) -> tuple[str, int, int, int]:
    """Format, width, height and bytes of an image, of which no pixel is decoded. Raises RowFault."""
    header = look(reader, uri, limits)
    return header.name, header.width, header.height, header.bytes


def look(
    reader: Reader, uri: str, limits: Limits, by_band: bool = False, tiling: Tiling | None = None
) -> Header:
    """The header of an image, of which no pixel is decoded; TIFFs by rasterio where they are read by band.

    Args:
        tiling: with it TIFFs are read in parts, which the limit on pixels is for, and that on bytes is not.

    Raises RowFault.
    """
    if is_embedded(uri):
        data = reader.read(uri)
        in_parts = _in_parts(io.BytesIO(data), len(data), limits, tiling)
        return in_parts or _of_bytes(data, limits, by_band)
    with _opened(uri) as (file, total):
        if in_parts := _in_parts(file, total, limits, tiling):
            return in_parts
        head = _first_bytes(file, total, limits)
        if by_band and sniff(head, limits) == "TIFF":
            return _of_raster(reader.by_window(uri), file, total, limits)
        return _of_first_bytes(head, file, total, limits) or _of_bytes(reader.read(uri), limits)


def _in_parts(file: BinaryIO, total: int, limits: Limits, tiling: Tiling | None) -> Header | None:
    """Of a TIFF that is larger than a part; None of any other image."""
    head = open_tiff_head(file) if tiling is not None else None
    if tiling is None or head is None or max(head.height, head.width) <= tiling.part:
        return None
    check_size(*largest_seen((head.height, head.width), tiling), limits)
    return Header("TIFF", head.width, head.height, total, head.orientation, has_more_pages(file))


def _of_bytes(data: bytes, limits: Limits, by_band: bool = False) -> Header:
    if by_band and sniff(data, limits) == "TIFF":
        return _of_raster(data, io.BytesIO(data), len(data), limits)
    return _parse(data, len(data), limits, io.BytesIO(data))


def _first_bytes(file: BinaryIO, total: int, limits: Limits) -> bytes:
    """Raises RowFault for a file that is too large."""
    if total > limits.max_bytes:
        raise RowFault(
            Status.TOO_LARGE, f"the file has {total:,} bytes; limits.max_bytes is {limits.max_bytes:,}"
        )
    file.seek(0)
    return file.read(HEAD_BYTES)


def _of_first_bytes(head: bytes, file: BinaryIO, total: int, limits: Limits) -> Header | None:
    """None where those are not enough."""
    is_cut = total > len(head)
    try:
        # where a GIF has its second frame only the first one's end tells
        if not (is_cut and sniff(head, limits) == "GIF"):
            return _parse(head, total, limits, file)
    except RowFault as fault:
        if fault.status is Status.TOO_LARGE or not is_cut:
            raise
    return None


def _of_raster(raster: RasterFile, file: BinaryIO, total: int, limits: Limits) -> Header:
    width, height = raster_size(raster, limits)
    return Header("TIFF", width, height, total, tiff_orientation(file), has_more_pages(file))


def _parse(data: bytes, total: int, limits: Limits, file: BinaryIO) -> Header:
    """What the first bytes tell, and of a TIFF the directories of its further pages in `file`."""
    name = sniff(data, limits)
    with decoding(name):
        picture = open_picture(name, data, limits)
        width, height = picture.size
        orientation = _orientation(picture)
        if name == "TIFF" and orientation > 4:  # Pillow has swapped them
            width, height = height, width
        is_paged = has_more_pages(file) if name == "TIFF" else name != "JPEG" and _is_animated(picture)
        return Header(name, width, height, total, orientation, is_paged)


def _orientation(picture: Any) -> int:
    """By metadata before the pixels: for those behind them Pillow would decode a PNG."""
    if picture.format == "PNG" and not {"exif", "Raw profile type exif", "xmp"} & picture.info.keys():
        return 1
    return orientation_of(picture)


def _is_animated(picture: Any) -> bool:
    return bool(getattr(picture, "is_animated", False))


@contextmanager
def _opened(uri: str) -> Iterator[tuple[BinaryIO, int]]:
    """A file for reading at any place, and its size. Raises RowFault, also for what fails inside."""
    try:
        place = locate(uri)
        info = place.info()
        if info.type == fs.FileType.NotFound:
            raise RowFault(Status.MISSING, "there is no such file")
        if info.type != fs.FileType.File:
            raise RowFault(Status.UNREADABLE, "not a regular file")
        with place.filesystem.open_input_file(place.path) as file:
            yield file, info.size
    except PermissionError as exc:
        raise RowFault(Status.DENIED, "permission denied") from exc
    except (OSError, pa.ArrowException, ConfigError) as exc:
        raise RowFault(Status.UNREADABLE, f"cannot be read: {reason(exc)}") from exc
