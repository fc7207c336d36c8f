"""An opened picture to uint8 RGB: what Pillow converts, and where the range of the samples must be known."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from batchseg.config.source import ImageReading
from batchseg.errors import RowFault
from batchseg.images.headers import decoding, open_picture, sniff
from batchseg.images.samples import (
    FULL,
    confirmed_range,
    is_signed_8_bit,
    is_wide,
    own_range,
    read_samples,
    to_8_bit,
)
from batchseg.images.tiff import PALETTE, directory, is_min_is_white
from batchseg.schema import Status

if TYPE_CHECKING:
    from PIL.ImageFile import ImageFile

    from batchseg.config.base import Limits

_RGB_MODES = {"1", "L", "LA", "P", "PA", "RGB", "RGBA", "CMYK", "YCbCr"}
_PALETTE_STEP = 256  # a TIFF's palette has 16 bits


def to_rgb(
    picture: ImageFile, data: bytes | memoryview, limits: Limits, reading: ImageReading
) -> NDArray[np.uint8]:
    """The pixels of another format than JPEG."""
    if is_wide(picture):
        return _wide(picture, data, limits, reading)
    if picture.format == "TIFF":
        tags = directory(data)
        if is_signed_8_bit(tags):
            raise RowFault(
                Status.UNSUPPORTED, "the TIFF file has signed samples of 8 bits; convert it to unsigned ones"
            )
        if picture.mode == "P" and max(tags[PALETTE]) < _PALETTE_STEP:  # old writers' palettes have 8 bits
            palette: NDArray[np.uint8] = np.array(tags[PALETTE], np.uint8).reshape(3, -1).T
            return palette.take(np.array(picture), axis=0)
    return converted(picture)


def _wide(
    picture: ImageFile, data: bytes | memoryview, limits: Limits, reading: ImageReading
) -> NDArray[np.uint8]:
    """Samples of more than 8 bits, scaled to 8."""
    own = own_range(picture, data)
    if reading.scale is None and own is None:
        raise RowFault(
            Status.UNSUPPORTED,
            f"{picture.format} pixels of mode {picture.mode}, signed or of 32 bits, have no fixed range; say "
            "what is black and white with source.scale, such as --set source.scale=[0,1], or convert the "
            "file to 8-bit RGB",
        )
    if reading.scale is None and own == FULL and not picture.mode.startswith("I"):
        return converted(picture)
    inverted = picture.format == "TIFF" and is_min_is_white(directory(data))
    samples = read_samples(picture, data, limits)
    black_white = reading.scale or confirmed_range(samples, own or FULL, picture)
    scaled = to_8_bit(samples, black_white, inverted)
    return scaled if scaled.ndim == 3 else np.repeat(scaled[..., np.newaxis], 3, axis=2)


class Brightest(NamedTuple):
    """The highest sample of a picture of more than 8 bits, as stored and as a share of white."""

    value: float
    share: float


def brightest_of(data: bytes | memoryview, limits: Limits, reading: ImageReading) -> Brightest | None:
    """None for a picture of 8 bits. Raises RowFault as `decode_image` does."""
    name = sniff(data, limits)
    with decoding(name):
        picture = open_picture(name, data, limits)
        if not is_wide(picture):
            return None
        own = own_range(picture, data)
        samples = read_samples(picture, data, limits)
        black, white = reading.scale or confirmed_range(samples, own or FULL, picture)
        finite = samples[np.isfinite(samples)]
        highest = float(finite.max()) if finite.size else black
        return Brightest(highest, (highest - black) / (white - black))


def converted(picture: ImageFile) -> NDArray[np.uint8]:
    """By Pillow alone."""
    if picture.mode not in _RGB_MODES:
        raise RowFault(
            Status.UNSUPPORTED,
            f"{picture.format} pixels of mode {picture.mode} have no fixed range or no way to RGB; "
            "convert the file to 8-bit RGB",
        )
    return np.array(picture if picture.mode == "RGB" else picture.convert("RGB"))
