"""Label maps of any size as tiled GeoTIFFs, which lie on the map where their image lies.

DEFLATE, because every reader of TIFF knows it and it loses nothing; without a predictor, because the
difference of two class ids means nothing. The same labels make the same bytes.
"""

from __future__ import annotations

import errno
import os
import shutil
import warnings
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from batchseg.errors import RowFault
from batchseg.images.encode import PALETTE_SIZE, Colour, LabelIds, png_palette
from batchseg.images.raster import CACHE_MIB, Area, load_rasterio, raster_errors
from batchseg.schema import TruthStatus

TILE = 512  # pixels along a side of what is compressed and read at once
WIDEST = 64 * TILE
_AREA_OR_POINT = "AREA_OR_POINT"
_FULL = 2**20  # a disk with fewer free bytes is full
# of a pixel: by so much may two corners differ that are meant to be one, for other software rounds them
_SAME_PLACE, _SAME_SIZE = 0.01, 1e-6


@dataclass(frozen=True)
class Georeference:
    """Where a raster lies, as rasterio reads it; what travels from an image to its mask. It can be pickled.

    Attributes:
        crs: rasterio's CRS, or None.
        transform: affine, from (column, row) to coordinates; None where the file has none.
        gcps: ground control points, in `gcps_crs`.
        rpcs: rational polynomial coefficients, or None.
        point: whether coordinates are those of pixel centres in the file (AREA_OR_POINT=Point).
        nodata: the value of a pixel without data, or None.
    """

    crs: Any = None
    transform: Any = None
    gcps: tuple[Any, ...] = ()
    gcps_crs: Any = None
    rpcs: Any = None
    point: bool = False
    nodata: float | None = None


def georeference_of(dataset: Any) -> Georeference:
    """Of an open rasterio dataset."""
    gcps, gcps_crs = dataset.gcps
    return Georeference(
        crs=dataset.crs,
        transform=None if dataset.transform.is_identity else dataset.transform,
        gcps=tuple(gcps),
        gcps_crs=gcps_crs,
        rpcs=dataset.rpcs,
        point=dataset.tags().get(_AREA_OR_POINT) == "Point",
        nodata=dataset.nodata,
    )


def pixel_size(place: Georeference | None) -> tuple[float, float] | None:
    """Height and width of a pixel in units of the map. None where it is on none, where these are degrees, or
    where rows and columns are not at right angles."""
    if place is None or place.transform is None or (place.crs is not None and place.crs.is_geographic):
        return None
    across, down = (
        complex(place.transform.a, place.transform.d),
        complex(place.transform.b, place.transform.e),
    )
    size = abs(down), abs(across)
    if not all(size) or abs((across * down.conjugate()).real) > _SAME_SIZE * size[0] * size[1]:
        return None
    return size


def check_truth_place(image: Georeference | None, truth: Georeference | None) -> None:
    """Raises RowFault (mismatch) where both are on the map, and not at the same place."""
    if image is None or truth is None:
        return
    if image.crs and truth.crs and image.crs != truth.crs:
        raise RowFault(
            TruthStatus.MISMATCH,
            f"the image is in {_crs_name(image.crs)}, its truth in {_crs_name(truth.crs)}; warp the truth "
            "onto the image's grid, such as with `rio warp --like`",
        )
    if image.transform and truth.transform and not _same_place(image.transform, truth.transform):
        raise RowFault(
            TruthStatus.MISMATCH,
            f"the image lies at {_place(image.transform)}, its truth at {_place(truth.transform)}; warp the "
            "truth onto the image's grid, such as with `rio warp --like`",
        )


def _same_place(one: Any, other: Any) -> bool:
    """Whether the upper left corners are one, and a pixel's steps across and down."""
    pixel = min(abs(complex(one.a, one.d)), abs(complex(one.b, one.e)))
    corners = abs(complex(one.c - other.c, one.f - other.f)) <= _SAME_PLACE * pixel
    steps = zip((one.a, one.b, one.d, one.e), (other.a, other.b, other.d, other.e), strict=True)
    return corners and all(abs(mine - yours) <= _SAME_SIZE * pixel for mine, yours in steps)


def _place(transform: Any) -> str:
    steps = [transform.a, transform.e, *([transform.b, transform.d] if transform.b or transform.d else [])]
    return f"({transform.c:.12g}, {transform.f:.12g}) with pixels of {' x '.join(f'{s:.12g}' for s in steps)}"


def _crs_name(crs: Any) -> str:
    if (code := crs.to_epsg()) is not None:
        return f"EPSG:{code}"
    name = crs.to_wkt().split('"')
    return name[1] if len(name) > 1 else str(crs)


def write_label_tiff(
    path: str,
    bands: Iterable[LabelIds],
    hw: tuple[int, int],
    *,
    colours: Sequence[Colour],
    ignore_index: int,
    source: Georeference | None = None,
) -> None:
    """A TIFF whose pixel values are class ids, and `ignore_index` where the mask abstains, as in a PNG.

    It has the classes' colours as its palette; where `ignore_index` takes more than 8 bits it is 16-bit
    grey. `ignore_index` is its nodata value, whatever the image's is: that may be the id of a class.
    Overviews by nearest halve it until they fit a tile. Memory is a row of tiles and a band, never the whole.

    Args:
        path: of a local file, which is written anew.
        bands: class ids 0 .. C-1, and C for void, [rows, W] each, from the top down.
        hw: height and width of the whole.
        colours: RGB of each of the C classes.
        source: where its image lies.

    Raises:
        ConfigError: rasterio is not installed.
        OSError: the file cannot be written, or not all of it arrived; what there is of it remains.
        ValueError: the bands are not `hw` together.
    """
    narrow = ignore_index < PALETTE_SIZE
    with _writing(path, hw, np.uint8 if narrow else np.uint16, ignore_index, source) as dataset:
        if narrow:
            palette = np.frombuffer(png_palette(colours), np.uint8).reshape(-1, 3).tolist()
            dataset.write_colormap(1, dict(enumerate(map(tuple, palette))))
        top = 0
        for rows_HW in _rows_of_tiles(bands, hw):
            pixels_HW = rows_HW.astype(dataset.dtypes[0])
            pixels_HW[rows_HW == len(colours)] = ignore_index
            dataset.write(pixels_HW, 1, window=((top, top + len(pixels_HW)), (0, hw[1])))
            top += len(pixels_HW)
        if factors := overview_factors(hw):
            dataset.build_overviews(factors, load_rasterio().enums.Resampling.nearest)
    _check_arrived(path, factors)


def overview_factors(hw: tuple[int, int]) -> list[int]:
    """2, 4, ... until the longer side fits a tile."""
    factors = [1]
    while max(hw) > TILE * factors[-1]:
        factors.append(2 * factors[-1])
    return factors[1:]


def rows_at_once(length: int, rows: int = TILE) -> Iterator[tuple[int, int]]:
    """Where rows of tiles start and stop along a height."""
    return pairwise([*range(0, length, rows), length])


def areas_of(hw: tuple[int, int]) -> Iterator[Area]:
    """Rectangles that cover it, from the upper left on, each of some 16 million pixels and whole tiles."""
    for top, bottom in rows_at_once(hw[0]):
        for left, right in rows_at_once(hw[1], WIDEST):
            yield Area(top, left, bottom - top, right - left)


@contextmanager
def _writing(
    path: str, hw: tuple[int, int], dtype: type, nodata: int, source: Georeference | None
) -> Iterator[Any]:
    rasterio, place = load_rasterio(), source or Georeference()
    settings = {
        **{"driver": "GTiff", "count": 1, "dtype": dtype, "height": hw[0], "width": hw[1], "nodata": nodata},
        **{"tiled": True, "blockxsize": TILE, "blockysize": TILE, "compress": "deflate", "predictor": 1},
        **{"bigtiff": "IF_SAFER", "photometric": "palette" if dtype is np.uint8 else "minisblack"},
        **({"transform": place.transform} if place.transform else {}),
        **({"crs": place.crs} if place.crs else {}),
    }
    # GDAL's settings in the environment would change the bytes, and one of them write a second file
    fixed: dict[str, Any] = {"GDAL_CACHEMAX": CACHE_MIB, "GDAL_PAM_ENABLED": False, "GDAL_NUM_THREADS": 1}
    fixed |= {"GDAL_TIFF_OVR_BLOCKSIZE": TILE, "COMPRESS_OVERVIEW": "DEFLATE", "PREDICTOR_OVERVIEW": 1}
    with warnings.catch_warnings(), rasterio.Env(**fixed):
        warnings.simplefilter("ignore", rasterio.errors.NotGeoreferencedWarning)
        with suppress(FileNotFoundError):
            os.remove(path)  # GDAL would open what is there, and stumble over what is damaged
        try:
            with rasterio.open(path, "w", **settings) as dataset:
                if place.point:
                    dataset.update_tags(**{_AREA_OR_POINT: "Point"})
                if place.gcps:
                    dataset.gcps = (list(place.gcps), place.gcps_crs)
                if place.rpcs:
                    dataset.rpcs = place.rpcs
                yield dataset
        except raster_errors() as exc:
            raise _not_written(path, str(exc.__cause__ or exc)) from exc


def _rows_of_tiles(bands: Iterable[LabelIds], hw: tuple[int, int]) -> Iterator[LabelIds]:
    """The same rows in bands of whole tiles, for a tile that is written in two goes is compressed twice."""
    height, width = hw
    waiting: list[LabelIds] = []
    ready = done = 0
    for band_HW in bands:
        if band_HW.ndim != 2 or band_HW.shape[1] != width:
            raise ValueError(f"a band is {band_HW.shape}, the raster {width} wide")
        waiting, ready = [*waiting, band_HW] if len(band_HW) else waiting, ready + len(band_HW)
        if done + ready > height:
            raise ValueError(f"the bands have more rows than the raster, which has {height}")
        while ready >= TILE or (waiting and done + ready >= height):
            rows_HW = np.concatenate(waiting) if len(waiting) > 1 else waiting[0]
            yield rows_HW[:TILE]
            done += len(rows_HW[:TILE])
            waiting, ready = [rows_HW[TILE:]] if ready > TILE else [], max(0, ready - TILE)
    if done != height:
        raise ValueError(f"the bands have {done + ready} rows, the raster {height}")


def _check_arrived(path: str, factors: list[int]) -> None:
    """GDAL does not tell of all that a disk refuses: at the end of a file, nothing; so it is read again.

    Every block has a checksum. Raises OSError.
    """
    rasterio = load_rasterio()
    with warnings.catch_warnings(), rasterio.Env(GDAL_CACHEMAX=CACHE_MIB):
        warnings.simplefilter("ignore", rasterio.errors.NotGeoreferencedWarning)
        try:
            for level in range(-1, len(factors)):
                which = {} if level < 0 else {"overview_level": level}
                with rasterio.open(path, driver="GTiff", **which) as dataset:
                    for start, stop in rows_at_once(dataset.height):
                        dataset.read(1, window=((start, stop), (0, dataset.width)))
        except raster_errors() as exc:
            raise _not_written(path, str(exc.__cause__ or exc)) from exc


def _not_written(path: str, cause: str) -> OSError:
    if shutil.disk_usage(os.path.dirname(path) or ".").free < _FULL:
        return OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    return OSError(errno.EIO, f"not all of it arrived on the disk ({cause})")
