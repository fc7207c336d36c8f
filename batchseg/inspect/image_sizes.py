"""The headers of a source's images, from the first bytes of each file, one listing table at a time."""

from __future__ import annotations

from dataclasses import dataclass, field

import pyarrow as pa
from pyarrow import fs

from batchseg.config.base import Limits
from batchseg.errors import ConfigError, RowFault
from batchseg.images.headers import decoding, open_picture, sniff
from batchseg.schema import Status
from batchseg.storage.embedded import is_embedded
from batchseg.storage.location import locate
from batchseg.storage.reader import Reader, reason

HEAD_BYTES = 64 * 2**10  # most headers are far smaller; large EXIF data or a TIFF's late directory are not


@dataclass
class Sizes:
    """What the headers tell of a source.

    Attributes:
        formats: images by format.
        pixels: of all images together.
        bytes: of all image files together.
        smallest, largest: (width, height, id), by number of pixels, before EXIF orientation.
    """

    formats: dict[str, int] = field(default_factory=dict)
    pixels: int = 0
    bytes: int = 0
    smallest: tuple[int, int, str] | None = None
    largest: tuple[int, int, str] | None = None

    def add(self, image_id: str, name: str, width: int, height: int, size_bytes: int) -> None:
        area, size = width * height, (width, height, image_id)
        self.formats[name] = self.formats.get(name, 0) + 1
        self.pixels += area
        self.bytes += size_bytes
        if self.smallest is None or area < self.smallest[0] * self.smallest[1]:
            self.smallest = size
        if self.largest is None or area > self.largest[0] * self.largest[1]:
            self.largest = size


def read_header(reader: Reader, uri: str, limits: Limits) -> tuple[str, int, int, int]:
    """Format, width, height and bytes of an image, of which no pixel is decoded. Raises RowFault."""
    if is_embedded(uri):
        data = reader.read(uri)
        return (*_parse(data, limits), len(data))
    head, total = _head(uri)
    if total > limits.max_bytes:
        raise RowFault(
            Status.TOO_LARGE, f"the file has {total:,} bytes; limits.max_bytes is {limits.max_bytes:,}"
        )
    try:
        return (*_parse(head, limits), total)
    except RowFault as fault:
        if fault.status is Status.TOO_LARGE or total <= len(head):
            raise
        return (*_parse(reader.read(uri), limits), total)


def _parse(data: bytes, limits: Limits) -> tuple[str, int, int]:
    name = sniff(data, limits)
    with decoding(name):
        picture = open_picture(name, data, limits)
        return name, picture.width, picture.height


def _head(uri: str) -> tuple[bytes, int]:
    try:
        place = locate(uri)
        info = place.info()
        if info.type == fs.FileType.NotFound:
            raise RowFault(Status.MISSING, "there is no such file")
        if info.type != fs.FileType.File:
            raise RowFault(Status.UNREADABLE, "not a regular file")
        with place.filesystem.open_input_file(place.path) as file:
            return file.read(HEAD_BYTES), info.size
    except PermissionError as exc:
        raise RowFault(Status.DENIED, "permission denied") from exc
    except (OSError, pa.ArrowException, ConfigError) as exc:
        raise RowFault(Status.UNREADABLE, f"cannot be read: {reason(exc)}") from exc
