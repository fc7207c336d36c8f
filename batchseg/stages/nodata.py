"""Where a picture has no data, looked up without its pixels where that can be: those count nowhere."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial

import numpy as np
from numpy.typing import NDArray

from batchseg.config.source import ImageReading
from batchseg.images.decode import turn_pixels
from batchseg.images.label_rasters import tiff_head
from batchseg.images.raster import Area, has_gaps, has_palette, open_raster
from batchseg.images.raster_bands import read_bands
from batchseg.images.raster_picture import plan_picture
from batchseg.stages.item import Item
from batchseg.stages.places import is_tiff_mask, note_place
from batchseg.storage.reader import Reader

Nodata = NDArray[np.bool_]
Lookup = Callable[[Area | None], Nodata | None]


@contextmanager
def open_nodata(
    item: Item, reader: Reader, reading: ImageReading | None, data: bytes | None = None
) -> Iterator[Lookup]:
    """Gives what is nodata in a rectangle of an item's picture (None: in all of it); None where nothing is.

    Of pictures that are read by bands, and of TIFFs whose mask is a TIFF: no other has such. Where these lie
    is noted on the way.

    Args:
        data: of the picture's file, where they are at hand.

    Raises RowFault, also for what is read inside the block.
    """
    has_place = is_tiff_mask(item)
    if reading is None or not (reading.is_by_band or has_place):
        yield lambda area: None
        return
    file = reader.by_window(item.row["uri"]) if data is None else data
    if (head := tiff_head(file)) is None:
        yield lambda area: None
        return
    with open_raster(file) as dataset:
        if has_place:
            note_place(item, dataset)
        if has_palette(dataset):
            yield lambda area: None
            return
        plan = plan_picture(dataset, reading)
        if not has_gaps(dataset, plan.bands):
            yield lambda area: None
        elif head.orientation == 1 or reading.as_stored:
            yield lambda area: read_bands(dataset, plan, area).nodata_HW
        else:
            yield partial(_cut, _turned(read_bands(dataset, plan).nodata_HW, head.orientation))


def _turned(nodata_HW: Nodata | None, orientation: int) -> Nodata | None:
    """Upright, as the picture's pixels are."""
    return None if nodata_HW is None else turn_pixels(nodata_HW[..., np.newaxis], orientation)[..., 0]


def _cut(nodata_HW: Nodata | None, area: Area | None) -> Nodata | None:
    if nodata_HW is None or area is None:
        return nodata_HW
    rows, columns = area.slices
    cut_HW = nodata_HW[slice(*rows), slice(*columns)]
    return cut_HW if cut_HW.any() else None


def nodata_of(
    item: Item, reader: Reader, reading: ImageReading | None, data: bytes | None = None
) -> Nodata | None:
    """Of all of an item's picture. Raises RowFault."""
    with open_nodata(item, reader, reading, data) as lookup:
        return lookup(None)
