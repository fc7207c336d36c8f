"""Encoded bytes to the bands that a file has, in the type they are stored in.

TIFF is read by rasterio: any number of bands and any layout; what has a palette is its colours. Of other
formats the channels are bands: grey 1, grey with alpha 2, RGB 3, RGBA 4 and not composited; CMYK and what
has a palette are RGB. What `images.decode` says of orientation, frames and damage holds here, too.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from batchseg.config.source import ImageReading
from batchseg.errors import RowFault
from batchseg.images.decode import Size, decode_scaled, orientation_of, turn_pixels, whole
from batchseg.images.headers import check_size, decoding, open_picture, sniff
from batchseg.images.raster import RasterFile, has_palette, load_rasterio, open_raster
from batchseg.images.raster_bands import Scales, chosen_bands, plan_bands, read_bands, sampling_step, scale_of
from batchseg.images.rgb import Brightest, converted
from batchseg.images.samples import FULL, confirmed_range, is_wide, own_range, read_samples, to_8_bit
from batchseg.images.tiff_pages import tiff_orientation
from batchseg.schema import Status

if TYPE_CHECKING:
    from PIL.ImageFile import ImageFile

    from batchseg.config.base import Limits

_AS_THEY_ARE = ("L", "LA", "RGB", "RGBA")
_OF_8_BITS = (0.0, 255.0)


class BandPicture(NamedTuple):
    """A picture as a model of its bands reads it.

    Attributes:
        pixels_HWC: uint8, uint16 or float32; C-contiguous and writable.
        size_hw: of the picture itself, of which `pixels_HWC` may be a reduction.
        orientation: what the file says, 1 to 8, whether it was applied or not.
        scale: black and white of each band; None: 0 to 255 of 8 bits.
        nodata_HW: bool, where there are no data, of the size of the picture; None where there are everywhere.
    """

    pixels_HWC: NDArray[Any]
    size_hw: Size
    orientation: int
    scale: Scales | None
    nodata_HW: NDArray[np.bool_] | None

    @property
    def mean(self) -> NDArray[np.float64]:
        """Of each band where it has data, 0 to 255."""
        levels_HWC = levels_of(self.pixels_HWC, self.scale)
        levels_NC = levels_HWC.reshape(-1, levels_HWC.shape[2])
        if self.nodata_HW is not None:
            levels_NC = levels_NC[~self.nodata_HW.ravel()]
        mean_C: NDArray[np.float64] = levels_NC.sum(axis=0, dtype=np.float64) / max(1, len(levels_NC))
        return mean_C

    @property
    def brightest(self) -> Brightest | None:
        """The highest of its samples, among all bands; None for 8 bits without a scale."""
        if self.scale is None:
            return None
        found = []
        for band_HW, (black, white) in zip(np.moveaxis(self.pixels_HWC, 2, 0), self.scale, strict=True):
            finite_N = band_HW[np.isfinite(band_HW)]
            outer = (finite_N.max() if black < white else finite_N.min()) if finite_N.size else black
            found.append(Brightest(float(outer), (float(outer) - black) / (white - black)))
        return max(found, key=lambda each: each.share)


def decode_bands(
    data: bytes | memoryview,
    limits: Limits,
    reading: ImageReading,
    enough: Callable[[Size], Size] = whole,
) -> BandPicture:
    """The bands that a reading names, upright; a JPEG as reduced as is `enough` (see `decode_scaled`).

    Raises:
        RowFault: unreadable, unsupported (also: bands that are not there, no range) or too_large.
        ConfigError: rasterio, which a TIFF needs, is not installed.
    """
    name, picture, channels = sniff(data, limits), None, slice(None)
    if name == "TIFF":
        load_rasterio()  # what it raises is no property of the image
    with decoding(name):
        if name == "TIFF":
            picture = _of_raster(data, limits, reading)
        elif name != "JPEG":
            picture = _of_channels(name, data, limits, reading)
        elif open_picture(name, data, limits).mode == "L":
            channels = slice(1)
    if picture is not None:
        return picture
    image_HWC, size_hw, orientation = decode_scaled(data, limits, enough, reading)
    return _chosen(image_HWC[..., channels], size_hw, orientation, reading, _OF_8_BITS)


def picture_size(data: bytes | memoryview, limits: Limits, reading: ImageReading) -> Size:
    """Height and width as read, for which all of it is decoded. Raises RowFault."""
    if reading.is_by_band:
        return decode_bands(data, limits, reading).size_hw
    return decode_scaled(data, limits, whole, reading).size_hw


def shown_rgb(
    data: bytes | memoryview, limits: Limits, enough: Callable[[Size], Size], reading: ImageReading
) -> tuple[NDArray[np.uint8], Size]:
    """A picture to be looked at, uint8 RGB, and its own size; where it is no RGB, its first three bands.

    Raises RowFault.
    """
    try:
        if not reading.is_by_band:
            return decode_scaled(data, limits, enough, reading)[:2]
    except RowFault as fault:
        if fault.status is not Status.UNSUPPORTED or sniff(data, limits) != "TIFF":
            raise
    picture = decode_bands(data, limits, reading, enough)
    return as_rgb(picture.pixels_HWC, picture.scale), picture.size_hw


def as_rgb(pixels_HWC: NDArray[Any], scale: Scales | None) -> NDArray[np.uint8]:
    """The first three bands in 8 bits, or the first as grey where there are fewer."""
    first_HWC = pixels_HWC[..., :3] if pixels_HWC.shape[2] >= 3 else pixels_HWC[..., :1]
    levels = levels_of(first_HWC, scale)
    return np.ascontiguousarray(np.broadcast_to(levels, (*levels.shape[:2], 3)))


def levels_of(pixels_HWC: NDArray[Any], scale: Scales | None) -> NDArray[np.uint8]:
    """Bands in 8 bits, rounded and clipped; `scale` may have values for more bands."""
    if scale is None:
        levels_HWC: NDArray[np.uint8] = pixels_HWC
        return levels_HWC
    each = zip(np.moveaxis(pixels_HWC, 2, 0), scale, strict=False)
    return np.stack([to_8_bit(band_HW, black_white) for band_HW, black_white in each], axis=2)


def raster_size(file: RasterFile, limits: Limits) -> tuple[int, int]:
    """Width and height of a TIFF. Raises RowFault, ConfigError."""
    load_rasterio()
    with decoding("TIFF"), open_raster(file) as dataset:
        check_size(dataset.height, dataset.width, limits)
        return dataset.width, dataset.height


def _of_raster(data: bytes | memoryview, limits: Limits, reading: ImageReading) -> BandPicture | None:
    """None for one with a palette, whose colours are its bands."""
    with open_raster(data) as dataset:
        check_size(dataset.height, dataset.width, limits)
        if has_palette(dataset):
            return None
        plan = plan_bands(dataset, reading)
        pixels_HWC, nodata_HW = read_bands(dataset, plan)
    orientation = tiff_orientation(io.BytesIO(data))
    turn = 1 if reading.as_stored else orientation
    pixels_HWC = turn_pixels(pixels_HWC, turn)
    if nodata_HW is not None:
        nodata_HW = turn_pixels(nodata_HW[..., np.newaxis], turn)[..., 0]
    return BandPicture(pixels_HWC, pixels_HWC.shape[:2], orientation, plan.scale, nodata_HW)


def _of_channels(name: str, data: bytes | memoryview, limits: Limits, reading: ImageReading) -> BandPicture:
    """PNG, WebP, GIF and BMP."""
    picture = open_picture(name, data, limits)
    own = _OF_8_BITS
    if is_wide(picture):
        stated = own_range(picture, data) or FULL
        samples = read_samples(picture, data, limits, alpha=True)
        own = confirmed_range(samples, stated, picture)
    else:
        samples = _channels(picture)
    orientation = orientation_of(picture)  # after the pixels, behind which it may stand
    samples = samples if samples.ndim == 3 else samples[..., np.newaxis]
    upright_HWC = turn_pixels(samples, 1 if reading.as_stored else orientation)
    return _chosen(upright_HWC, upright_HWC.shape[:2], orientation, reading, own)


def _channels(picture: ImageFile) -> NDArray[np.uint8]:
    if picture.mode == "1":
        return np.array(picture.convert("L"))
    return np.array(picture) if picture.mode in _AS_THEY_ARE else converted(picture)


def _chosen(
    samples_HWC: NDArray[Any],
    size_hw: Size,
    orientation: int,
    reading: ImageReading,
    own: tuple[float, float],
) -> BandPicture:
    """Of all the channels those that are read, all of which have data."""
    count = samples_HWC.shape[2]
    bands = chosen_bands(count, reading)
    if bands != tuple(range(1, count + 1)):
        samples_HWC = samples_HWC[..., [band - 1 for band in bands]]
    pixels_HWC = np.ascontiguousarray(samples_HWC)

    def sample() -> list[NDArray[Any]]:
        step = sampling_step(*size_hw)
        return list(pixels_HWC[::step, ::step].reshape(-1, len(bands)).T)

    scale = scale_of(reading, len(bands), str(pixels_HWC.dtype), sample, own)
    return BandPicture(pixels_HWC, size_hw, orientation, scale, None)
