"""Rasters: TIFFs of any number of bands, type and size, read by window through rasterio.

rasterio comes with the extra `raster`. Only GDAL's own reader of TIFF is used: others would open what the
file's content asks for, such as further files.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from importlib.util import find_spec
from typing import Any, BinaryIO, NamedTuple
from uuid import uuid4

import numpy as np
from numpy.typing import NDArray

from batchseg.errors import ConfigError, RowFault
from batchseg.schema import Status

# what GDAL calls a file that it has as bytes: another name each time, which tells nothing
_IN_MEMORY = re.compile(r"(/vsimem/)?([0-9a-f-]{36}/)?[0-9a-f-]{36}(\.tif)?[,:] ")
CACHE_MIB = 64  # GDAL's own, which by default takes a twentieth of the machine's memory
_BLOCK, _BLOCKS = 256, 8  # sides of the blocks that a large raster is looked at by, and how many along a side

RasterFile = str | bytes | memoryview | Callable[[], BinaryIO]


class Area(NamedTuple):
    """A rectangle of a picture, in pixels."""

    top: int
    left: int
    height: int
    width: int

    @property
    def slices(self) -> tuple[tuple[int, int], tuple[int, int]]:
        """Rows and columns, from the first to the last + 1: a window as rasterio takes it."""
        return (self.top, self.top + self.height), (self.left, self.left + self.width)


class Window(NamedTuple):
    """Some bands of a rectangle of a raster.

    Attributes:
        pixels_HWC: in the type they are stored in.
        nodata_HW: bool, where a band has no data (nodata value, mask band, alpha that is not among the bands,
            NaN); None where all have.
    """

    pixels_HWC: NDArray[Any]
    nodata_HW: NDArray[np.bool_] | None


def load_rasterio() -> Any:
    """The package. Raises ConfigError where it is not installed."""
    try:
        import rasterio
    except ImportError as exc:
        raise ConfigError(
            "pictures with bands of their own, and TIFF masks, need the package rasterio: "
            "pip install 'batchseg[raster]'"
        ) from exc
    return rasterio


def has_rasterio() -> bool:
    """Whether it is installed."""
    return find_spec("rasterio") is not None


def raster_errors() -> tuple[type[Exception], ...]:
    """What rasterio raises of a file; GDAL's own errors are not among those that it exports."""
    from rasterio._err import CPLE_BaseError

    return load_rasterio().errors.RasterioError, CPLE_BaseError


@contextmanager
def open_raster(file: RasterFile) -> Iterator[Any]:
    """A rasterio dataset of a TIFF: a local path, its bytes, or what opens a file that can seek.

    An open file would not do: rasterio reads the whole of one into memory.

    Raises:
        ConfigError: rasterio is not installed.
        RowFault: it is no TIFF that can be read (unreadable), also for what is read inside the block.
    """
    rasterio = load_rasterio()
    with ExitStack() as stack:
        stack.enter_context(warnings.catch_warnings())
        for warning in (rasterio.errors.NotGeoreferencedWarning, rasterio.errors.NodataShadowWarning):
            warnings.simplefilter("ignore", warning)
        stack.enter_context(rasterio.Env(GDAL_CACHEMAX=CACHE_MIB, GDAL_DISABLE_READDIR_ON_OPEN="EMPTY_DIR"))
        try:
            if isinstance(file, bytes | memoryview):
                memory = stack.enter_context(rasterio.MemoryFile(bytes(file)))
                yield stack.enter_context(memory.open(driver="GTiff"))
            elif callable(file):
                name = f"{uuid4().hex}.tif"
                opened = rasterio.open(name, driver="GTiff", opener=partial(_opener, name, file))
                yield stack.enter_context(opened)
            else:
                yield stack.enter_context(rasterio.open(file, driver="GTiff"))
        except rasterio.errors.RasterioError as exc:
            cause = _IN_MEMORY.sub("", str(exc.__cause__ or exc))
            raise RowFault(Status.UNREADABLE, f"the TIFF cannot be read ({cause})") from exc


def _opener(name: str, file: Callable[[], BinaryIO], asked: str, *_: Any, **__: Any) -> BinaryIO:
    """GDAL asks for further files, too, of which there are none."""
    if asked != name:
        raise FileNotFoundError(asked)
    return file()


def read_window(
    dataset: Any,
    bands: Sequence[int] | None = None,
    area: Area | None = None,
    size_hw: tuple[int, int] | None = None,
) -> Window:
    """Some bands (counted from 1; None: all) of a rectangle that lies within the raster (None: the whole).

    With `size_hw` only so many of its pixels are read, evenly spread.
    """
    from rasterio.windows import Window as RasterWindow

    indexes = list(bands or dataset.indexes)
    window = RasterWindow(area.left, area.top, area.width, area.height) if area else None
    out_shape = None if size_hw is None else (len(indexes), *size_hw)
    pixels_CHW = dataset.read(indexes, window=window, out_shape=out_shape)
    nodata_HW = _without_data(dataset, indexes, window, pixels_CHW)
    return Window(np.ascontiguousarray(pixels_CHW.transpose(1, 2, 0)), nodata_HW if nodata_HW.any() else None)


def spread_areas(hw: tuple[int, int]) -> list[list[Area]]:
    """Blocks that are spread evenly over a picture, some four million pixels: quick to read from any TIFF.

    Those of a row have one height and those of a column one width, so that they can be put together.
    """
    rows, columns = map(_spread, hw)
    return [[Area(top, left, height, width) for left, width in columns] for top, height in rows]


def _spread(length: int) -> list[tuple[int, int]]:
    if length <= _BLOCKS * _BLOCK:
        return [(0, length)]
    return [(int(start), _BLOCK) for start in np.linspace(0, length - _BLOCK, _BLOCKS)]


def has_gaps(dataset: Any, bands: Sequence[int]) -> bool:
    """Whether some pixels of these bands may have no data: where not, nobody need look."""
    floating = any(np.dtype(dataset.dtypes[band - 1]).kind in "fc" for band in bands)
    return floating or bool(_masked(dataset, bands))


def _masked(dataset: Any, bands: Sequence[int]) -> list[int]:
    """The bands that have a mask."""
    from rasterio.enums import ColorInterp, MaskFlags

    own_alpha = ColorInterp.alpha in (dataset.colorinterp[band - 1] for band in bands)
    flags = {band: dataset.mask_flag_enums[band - 1] for band in bands}
    return [
        band
        for band in sorted(flags)
        if MaskFlags.all_valid not in flags[band] and not (own_alpha and MaskFlags.alpha in flags[band])
    ]


def has_palette(dataset: Any) -> bool:
    """Whether its values are places in a palette. Of grey whose 0 is white GDAL makes one up."""
    from rasterio.enums import ColorInterp

    return dataset.colorinterp[0] is ColorInterp.palette and not is_inverted(dataset)


def is_inverted(dataset: Any) -> bool:
    """Whether 0 is white."""
    return bool(dataset.tags(ns="IMAGE_STRUCTURE").get("MINISWHITE") == "YES")


def _without_data(
    dataset: Any, indexes: Sequence[int], window: Any, pixels_CHW: NDArray[Any]
) -> NDArray[np.bool_]:
    """By nodata value, mask band and NaN. An alpha band masks the others only where it is not read itself:
    GDAL calls the fourth of four 8-bit bands alpha unless it is told otherwise, and it may be infrared."""
    nodata_HW = np.zeros(pixels_CHW.shape[1:], np.bool_)
    for index in _masked(dataset, indexes):
        nodata_HW |= dataset.read_masks(index, window=window, out_shape=nodata_HW.shape) == 0
    if pixels_CHW.dtype.kind in "fc":
        nodata_HW |= np.isnan(pixels_CHW).any(0)
    return nodata_HW
