"""Decode: bytes at a URI -> a uint8 RGB image, or its bands, or the status that says why not."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from batchseg.config.base import Limits
from batchseg.config.source import ImageReading
from batchseg.errors import RowFault
from batchseg.images.bands import decode_bands
from batchseg.images.decode import Size, decode_scaled, load_jpeg_decoder, whole
from batchseg.images.label_rasters import tiff_head
from batchseg.images.raster import load_rasterio
from batchseg.images.raster_picture import decode_as_parts
from batchseg.schema import Status
from batchseg.stages.item import Item, Stage, for_each
from batchseg.stages.nodata import nodata_of
from batchseg.stages.places import is_tiff_mask, place_of_image
from batchseg.storage.reader import Reader, image_reader
from batchseg.storage.versions import image_version

_NO_JPEG = (".png", ".tif", ".tiff", ".webp", ".bmp", ".gif")  # without torch, where nothing else needs it


def decode(
    limits: Limits, enough: Callable[[Size], Size] = whole, reading: ImageReading | None = None
) -> Stage:
    """Read and decode every image, JPEGs no larger than is `enough` (see `images.decode_scaled`).

    Raises ConfigError where bands are to be read and rasterio is not installed.
    """
    reader, how = image_reader(), reading or ImageReading()
    if how.is_by_band:
        load_rasterio()

    last = _Last()

    def work(item: Item) -> None:
        if not last.serves(item):
            decode_item(item, reader, limits, how, enough)
            last.keep(item)

    timed = for_each("decode", work)
    return lambda items: timed(map(_ready, items))


def decode_item(
    item: Item, reader: Reader, limits: Limits, how: ImageReading, enough: Callable[[Size], Size] = whole
) -> None:
    """Give an item its pixels, and with them its size, where it has no data, and if its mask is a TIFF where
    it lies. Raises RowFault."""
    size = item.row["size"] or 0
    if size > limits.max_bytes:
        raise RowFault(
            Status.TOO_LARGE, f"the file has {size:,} bytes; limits.max_bytes is {limits.max_bytes:,}"
        )
    data = reader.read(item.row["uri"])
    if how.is_by_band:
        picture = decode_bands(data, limits, how, enough)
        item.image_HWC, item.size_hw, item.orientation, item.scale, item.nodata_HW = picture
        if is_tiff_mask(item):
            place_of_image(item, reader, data)
    else:
        head = tiff_head(data) if is_tiff_mask(item) else None
        as_parts = decode_as_parts(data, limits, how, head) if head else None
        decoded = as_parts or decode_scaled(data, limits, enough, how)
        item.image_HWC, item.size_hw, item.orientation = decoded
        item.nodata_HW = nodata_of(item, reader, how, data)


class _Last:
    """The picture that was decoded last, for the next row where that asks something else of the same image.

    Nobody writes into the pixels of a picture. One more of them is held than without prompts.
    """

    def __init__(self) -> None:
        self._of: tuple[str, str] | None = None
        self._found: tuple[Any, ...] = ()

    def serves(self, item: Item) -> bool:
        """Whether the item was given what its image holds."""
        if item.prompt is None or self._of is None or self._of != _image_of(item):
            return False
        for name, value in zip(_DECODED, self._found, strict=True):
            setattr(item, name, value)
        return True

    def keep(self, item: Item) -> None:
        """For items with prompts whose file is known by a version."""
        self._of = _image_of(item) if item.prompt is not None else None
        self._found = () if self._of is None else tuple(getattr(item, name) for name in _DECODED)


_DECODED = ("image_HWC", "size_hw", "orientation", "scale", "nodata_HW", "place")


def _image_of(item: Item) -> tuple[str, str] | None:
    """Where its file lies and of which version that is; None where nobody knows the version."""
    version = image_version(item.row["source_version"], item.prompt)
    return None if version is None else (item.row["uri"], version)


def _ready(item: Item) -> Item:
    """What may be a JPEG has its decoder loaded before the time of decoding it is taken."""
    if item.alive and not item.row["uri"].lower().endswith(_NO_JPEG):
        load_jpeg_decoder()
    return item
