"""A rectangle of a raster as a model reads it: its bands in their type, or RGB of 8 bits."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from batchseg.config.source import ImageReading
from batchseg.errors import RowFault
from batchseg.images.bands import levels_of
from batchseg.images.decode import Decoded, turn_pixels
from batchseg.images.headers import check_size
from batchseg.images.raster import Area, Window, has_palette, open_raster, spread_areas
from batchseg.images.raster_bands import BandPlan, Scales, plan_bands, read_bands
from batchseg.images.samples import FULL
from batchseg.images.tiff import YCBCR
from batchseg.images.tiff_pages import Head
from batchseg.schema import Status

if TYPE_CHECKING:
    from batchseg.config.base import Limits

_RGB = (1, 2, 3)


class RasterPicture(NamedTuple):
    """Pixels [H, W, C] with black and white of each band (None: 0 and 255), and where there are no data."""

    pixels_HWC: NDArray[Any]
    scale: Scales | None
    nodata_HW: NDArray[np.bool_] | None


def plan_picture(dataset: Any, reading: ImageReading) -> BandPlan:
    """What is to be read of a raster, the same for each rectangle of it.

    Of RGB the first three bands are read, as of every TIFF, and a single one is grey.

    Raises RowFault where it cannot be read so.
    """
    if reading.is_by_band:
        return plan_bands(dataset, reading)
    _refuse_other_colours(dataset)
    bands = _RGB if dataset.count >= len(_RGB) else (1, 1, 1)
    return plan_bands(dataset, replace(reading, bands=bands, channels=len(_RGB)))


def _refuse_other_colours(dataset: Any) -> None:
    """Raises RowFault for colours that Pillow turns into RGB, or refuses, where a picture is read at once."""
    structure = dataset.tags(ns="IMAGE_STRUCTURE")
    space = structure.get("SOURCE_COLOR_SPACE")
    if has_palette(dataset):
        space = "a palette"
    elif space is not None and structure.get("COMPRESSION", "").endswith("JPEG"):
        space = None
    if space is not None:
        raise RowFault(
            Status.UNSUPPORTED,
            f"the TIFF stores its colours as {space}, and is too large to be decoded as a whole; save it as "
            "RGB",
        )
    names = tuple(each.name for each in dataset.colorinterp[: len(_RGB)])
    if dataset.count >= len(_RGB) and names != ("red", "green", "blue"):
        raise RowFault(
            Status.UNSUPPORTED,
            f"the TIFF does not say which of its {dataset.count} bands are red, green and blue; name those "
            "that the model reads, in its order, with source.bands",
        )


def some_pixels(dataset: Any, reading: ImageReading) -> RasterPicture:
    """Some of a raster's pixels in blocks that are spread over it, put together. Raises RowFault."""
    plan = plan_picture(dataset, reading)
    rows = [
        [read_bands(dataset, plan, area) for area in row]
        for row in spread_areas((dataset.height, dataset.width))
    ]
    pixels_HWC = np.concatenate([np.concatenate([some.pixels_HWC for some in row], 1) for row in rows])
    nodata_HW = np.concatenate([np.concatenate([_no_data(some) for some in row], 1) for row in rows])
    return RasterPicture(pixels_HWC, plan.scale, nodata_HW if nodata_HW.any() else None)


def _no_data(some: Window) -> NDArray[np.bool_]:
    return np.zeros(some.pixels_HWC.shape[:2], np.bool_) if some.nodata_HW is None else some.nodata_HW


def read_picture(
    dataset: Any, plan: BandPlan, reading: ImageReading, area: Area | None = None
) -> RasterPicture:
    """A rectangle that lies within the raster; None: the whole."""
    if reading.is_by_band:
        pixels_HWC, nodata_HW = read_bands(dataset, plan, area)
        return RasterPicture(pixels_HWC, plan.scale, nodata_HW)
    # what is stored where there are no data stays, as where a picture is decoded at once
    pixels_HWC, nodata_HW = read_bands(dataset, plan, area, keep=True)
    if _keeps_high_byte(dataset, plan, reading):
        return RasterPicture((pixels_HWC >> 8).astype(np.uint8), None, nodata_HW)
    return RasterPicture(np.ascontiguousarray(levels_of(pixels_HWC, plan.scale)), None, nodata_HW)


def decode_as_parts(
    data: bytes | memoryview, limits: Limits, reading: ImageReading, head: Head
) -> Decoded | None:
    """A TIFF whose JPEG blocks GDAL and Pillow decode to colours that differ by a few levels, as its parts
    would be read, upright; None for any other. Raises RowFault."""
    if head.photometric != YCBCR:
        return None
    check_size(head.height, head.width, limits)
    with open_raster(data) as dataset:
        if not dataset.tags(ns="IMAGE_STRUCTURE").get("COMPRESSION", "").endswith("JPEG"):
            return None
        pixels_HWC = read_picture(dataset, plan_picture(dataset, reading), reading).pixels_HWC
    upright_HWC = turn_pixels(pixels_HWC, 1 if reading.as_stored else head.orientation)
    return Decoded(upright_HWC, upright_HWC.shape[:2], head.orientation)


def _keeps_high_byte(dataset: Any, plan: BandPlan, reading: ImageReading) -> bool:
    """Of 16-bit colours, as `images.decode` does where nothing says that white is less than the highest."""
    return reading.scale is None and dataset.count >= len(_RGB) and plan.scale == (FULL,) * len(_RGB)
