"""What a model has to be made for: the sizes, channels and classes of a data set, from a sample of it."""

from __future__ import annotations

from collections import Counter
from contextlib import suppress
from dataclasses import dataclass
from statistics import median
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from batchseg.config.base import Limits
from batchseg.config.looks import Tiling
from batchseg.config.source import RGB_CHANNELS, FolderSource, ImageReading, ManifestSource
from batchseg.errors import RowFault, SourceError
from batchseg.images.bands import BandPicture, decode_bands
from batchseg.images.decode import decode_scaled, whole
from batchseg.images.headers import decoding, sniff
from batchseg.images.raster import RasterFile, has_palette, has_rasterio, load_rasterio, open_raster
from batchseg.images.raster_picture import plan_picture, some_pixels
from batchseg.inspect.image_sizes import look
from batchseg.schema import Status
from batchseg.segmentors.base import PixelRange
from batchseg.storage.reader import Reader, image_reader
from batchseg.training.rows import spread
from batchseg.training.windows import raster_file

HEADERS, PICTURES = 64, 16  # of images: their sizes, and their bands
LEAST_DEVIATION = 1e-4  # of a band that has one value everywhere


@dataclass(frozen=True)
class PictureBands:
    """How the pixels of a data set are read.

    Attributes:
        channels: of the input of a model that is made for them.
        reading: of the pictures, for such a model.
        pixel_range: mean and deviation of each band, 0 to 1 between its black and its white; None of RGB,
            which is normalised as that of ImageNet is.
    """

    channels: int
    reading: ImageReading
    pixel_range: PixelRange | None = None


def typical_size(rows: pa.Table, bands: PictureBands, limits: Limits) -> tuple[int, int]:
    """The median height and width of some images, in pixels; (0, 0) where none of them can be read."""
    reader, sizes = image_reader(), list[tuple[int, int]]()
    for row in spread(rows, HEADERS):
        with suppress(RowFault):
            header = look(reader, row["uri"], limits, bands.reading.is_by_band)
            turned = header.orientation > 4 and not bands.reading.as_stored
            sizes.append((header.width, header.height) if turned else (header.height, header.width))
    if not sizes:
        return 0, 0
    height, width = (int(median(sides)) for sides in zip(*sizes, strict=True))
    return height, width


def find_bands(
    source: FolderSource | ManifestSource, rows: pa.Table, limits: Limits, tiling: Tiling | None = None
) -> PictureBands:
    """How many channels a new model gets: as many bands as `source` names or scales, else as pictures have
    that are not to be read as RGB, else three. Of rasters that `tiling` cuts some pixels are looked at.

    Raises ConfigError where rasterio is needed and not installed, SourceError where bands cannot be read.
    """
    reading = ImageReading.of(source)
    given = reading.bands or reading.scales
    if reading.is_by_band:
        load_rasterio()
    channels = len(given) if given else _counted(rows, reading, limits, tiling)
    reading = ImageReading.of(source, channels)
    if not reading.is_by_band:
        return PictureBands(channels, reading)
    return PictureBands(channels, reading, _measured(rows, reading, limits, tiling))


def _counted(rows: pa.Table, reading: ImageReading, limits: Limits, tiling: Tiling | None) -> int:
    """Of the bands of most pictures of a sample."""
    reader, votes = image_reader(), Counter[int]()
    for row in spread(rows, PICTURES):
        with suppress(RowFault):
            raster = raster_file(reader, row["uri"], tiling)
            votes[
                _channels(reader.read(row["uri"]), reading, limits)
                if raster is None
                else _channels_of_raster(raster, reading)
            ] += 1
    return votes.most_common(1)[0][0] if votes else RGB_CHANNELS


def _channels(data: Any, reading: ImageReading, limits: Limits) -> int:
    """Of one picture; three where it can be read as RGB, and nothing asks for its bands. Raises RowFault."""
    is_tiff = sniff(data, limits) == "TIFF"
    if not reading.is_by_band:
        if not is_tiff:
            return RGB_CHANNELS
        try:
            decode_scaled(data, limits, whole, reading)
        except RowFault as fault:
            if fault.status is not Status.UNSUPPORTED or not has_rasterio():
                raise
        else:
            return RGB_CHANNELS
    if not is_tiff:
        return int(decode_bands(data, limits, reading).pixels_HWC.shape[2])
    with decoding("TIFF"), open_raster(data) as dataset:  # of a type without a range the pixels are not read
        return RGB_CHANNELS if has_palette(dataset) else int(dataset.count)


def _channels_of_raster(raster: RasterFile, reading: ImageReading) -> int:
    """The same of one that is read in parts."""
    with open_raster(raster) as dataset:
        if not reading.is_by_band:
            try:
                plan_picture(dataset, reading)
            except RowFault as fault:
                if fault.status is not Status.UNSUPPORTED:
                    raise
            else:
                return RGB_CHANNELS
        return RGB_CHANNELS if has_palette(dataset) else int(dataset.count)


def _picture(
    reader: Reader, uri: str, reading: ImageReading, limits: Limits, tiling: Tiling | None
) -> BandPicture:
    """A picture's bands; of a raster that is read in parts some of its pixels. Raises RowFault."""
    raster = raster_file(reader, uri, tiling)
    if raster is None:
        return decode_bands(reader.read(uri), limits, reading)
    with open_raster(raster) as dataset:
        pixels_HWC, scale, nodata_HW = some_pixels(dataset, reading)
    return BandPicture(pixels_HWC, pixels_HWC.shape[:2], 1, scale, nodata_HW)


def _measured(rows: pa.Table, reading: ImageReading, limits: Limits, tiling: Tiling | None) -> PixelRange:
    """Each picture weighs the same. Raises SourceError where none can be read."""
    reader, fault = image_reader(), "they have no data"
    means, squares = list[NDArray[np.float64]](), list[NDArray[np.float64]]()
    for row in spread(rows, PICTURES):
        try:
            values_NC = shares_of_white(_picture(reader, row["uri"], reading, limits, tiling))
        except RowFault as exc:
            fault = f"{row['id']}: {exc}"
            continue
        if len(values_NC):
            means.append(values_NC.mean(axis=0, dtype=np.float64))
            squares.append(np.square(values_NC, dtype=np.float64).mean(axis=0))
    if not means:
        raise SourceError(f"none of the images to learn from that were looked at can be read; {fault}")
    mean_C = np.mean(means, axis=0)
    std_C = np.sqrt(np.maximum(np.mean(squares, axis=0) - mean_C**2, LEAST_DEVIATION**2))
    return PixelRange(tuple(mean_C.tolist()), tuple(std_C.tolist()))


def shares_of_white(picture: BandPicture) -> NDArray[np.float32]:
    """Pixels [N, C] that have finite data, 0 at the black of each band and 1 at its white."""
    scale = picture.scale or ((0.0, 255.0),) * picture.pixels_HWC.shape[2]
    black_C, white_C = np.array(scale, np.float32).T
    pixels_NC = picture.pixels_HWC.reshape(-1, len(black_C)).astype(np.float32)
    if picture.nodata_HW is not None:
        pixels_NC = pixels_NC[~picture.nodata_HW.ravel()]
    pixels_NC = pixels_NC[np.isfinite(pixels_NC).all(axis=1)]
    shares_NC: NDArray[np.float32] = ((pixels_NC - black_C) / (white_C - black_C)).clip(0, 1)
    return shares_NC
