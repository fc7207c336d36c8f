"""The bands of a raster that a model reads: which, of what range, and as they travel, whole or in parts.

What travels is uint8, uint16 or float32. Other types become float32: signed 8 and 16 bits as they are, and
32-bit integers and float64 rounded to 24 bits, which is below what a network tells apart unless black and
white lie some ten thousand times closer together than their values are large. 64-bit integers and complex
numbers are refused.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from batchseg.config.bands import BlackWhite
from batchseg.config.source import ImageReading, wrong_scale
from batchseg.errors import RowFault
from batchseg.images.raster import Area, Window, is_inverted, read_window
from batchseg.images.samples import FULL, WIDEST
from batchseg.schema import Status

Scales = tuple[BlackWhite, ...]
SAMPLED = 1_000_000  # pixels of a picture that tell of its percentiles

_TRAVELS_AS = {
    **{"uint8": np.uint8, "uint16": np.uint16},
    **dict.fromkeys(("int8", "int16", "int32", "uint32", "float16", "float32", "float64"), np.float32),
}


@dataclass(frozen=True)
class BandPlan:
    """What is to be read of a raster: the same for every part of it, however it is cut.

    Attributes:
        bands: their numbers, from 1 on, in the order of the model.
        scale: black and white of each; None: 0 to 255 of 8 bits. White is below black where 0 is white.
        inverts: 8 bits without a scale are turned round, for 0 is white.
    """

    bands: tuple[int, ...]
    scale: Scales | None
    inverts: bool = False


def plan_bands(dataset: Any, reading: ImageReading) -> BandPlan:
    """Raises RowFault where it cannot be read so: bands that are not there, a type without a range."""
    bands = chosen_bands(dataset.count, reading)
    kind = str(dataset.dtypes[0])
    if kind not in _TRAVELS_AS:
        raise RowFault(
            Status.UNSUPPORTED,
            f"the TIFF has pixels of type {kind}, which are not read; save them as uint16 or float32",
        )
    inverted = is_inverted(dataset)
    sample = _Sample(dataset, bands)
    own = None if reading.has_scale else _own_range(dataset, kind, sample)
    scale = scale_of(reading, len(bands), kind, sample, own)
    if inverted and scale is not None:
        scale = tuple((white, black) for black, white in scale)
    return BandPlan(bands, scale, inverts=inverted and scale is None)


def read_bands(dataset: Any, plan: BandPlan, area: Area | None = None, *, keep: bool = False) -> Window:
    """A rectangle that lies within the raster (None: the whole), in a type that travels.

    Where there is no data the pixels are black (or the darkest that the type holds), or with `keep` as they
    are stored.
    """
    pixels_HWC, nodata_HW = read_window(dataset, plan.bands, area)
    with np.errstate(over="ignore"):  # what is too large for float32 is beyond any white
        carried_HWC = pixels_HWC.astype(_TRAVELS_AS[str(pixels_HWC.dtype)], copy=False)
    if plan.inverts:
        carried_HWC = np.invert(carried_HWC)
    if nodata_HW is not None and not keep:
        carried_HWC[nodata_HW] = _black(plan.scale, carried_HWC)
    return Window(carried_HWC, nodata_HW)


def chosen_bands(count: int, reading: ImageReading) -> tuple[int, ...]:
    """Which of a picture's bands are read. Raises RowFault where they are not there, or not as many as the
    model reads."""
    bands = reading.bands or tuple(range(1, count + 1))
    has = f"the picture has {count} band{'' if count == 1 else 's'}"
    if max(bands) > count:
        raise RowFault(Status.UNSUPPORTED, f"{has}, and source.bands asks for band {max(bands)}")
    if reading.channels not in (None, len(bands)):
        raise RowFault(
            Status.UNSUPPORTED,
            f"{has}, and the model reads {reading.channels}; say which, in its order, with source.bands",
        )
    if reading.scales is not None and len(reading.scales) != len(bands):
        raise RowFault(Status.UNSUPPORTED, wrong_scale(len(reading.scales), len(bands)))
    return bands


def scale_of(
    reading: ImageReading,
    bands: int,
    kind: str,
    sample: Callable[[], list[NDArray[Any]]],
    own: BlackWhite | None,
) -> Scales | None:
    """Black and white of each band; None for the 0 to 255 of 8 bits.

    Args:
        kind: the type of the pixels as they are stored.
        sample: gives some pixels of each band, those that have data.
        own: what the type or the file says; None: nothing.

    Raises:
        RowFault: nothing says what is black and white.
    """
    if reading.percentiles is not None:
        scale: Scales = tuple(_percentiles(values_N, reading.percentiles) for values_N in sample())
    elif reading.scales is not None:
        scale = reading.scales
    elif reading.scale is not None or own is not None:
        scale = (reading.scale or own or FULL,) * bands
    else:
        raise RowFault(
            Status.UNSUPPORTED,
            f"pixels of type {kind} have no range of their own; say what is black and white with "
            "source.scale, such as --set source.scale=[0,1]",
        )
    return None if kind == "uint8" and {*scale} == {(0, 255)} else scale


def sampling_step(height: int, width: int) -> int:
    """From one pixel to the next, either way, for at most about a million."""
    return math.ceil(math.sqrt(height * width / SAMPLED))


class _Sample:
    """Some pixels of each band of a raster, those that have data: the same however the raster is cut."""

    def __init__(self, dataset: Any, bands: Sequence[int]) -> None:
        self.dataset, self.bands = dataset, bands

    def __call__(self) -> list[NDArray[Any]]:
        height, width = self.dataset.shape
        step = sampling_step(height, width)
        size_hw = (-(-height // step), -(-width // step))
        pixels_HWC, nodata_HW = read_window(self.dataset, self.bands, size_hw=size_hw)
        has_data_N = slice(None) if nodata_HW is None else ~nodata_HW.ravel()
        return list(pixels_HWC.reshape(-1, len(self.bands))[has_data_N].T)


def _percentiles(values_N: NDArray[Any], low_high: tuple[float, float]) -> BlackWhite:
    """As `numpy.percentile`, linear between ranks. A band of one value, or none, is black."""
    finite_N = values_N[np.isfinite(values_N)]
    if not finite_N.size:
        return 0.0, 1.0
    black, white = np.percentile(finite_N.astype(np.float64), low_high).tolist()
    return (black, white) if black < white else (black, black + 1.0)


def _own_range(dataset: Any, kind: str, sample: _Sample) -> BlackWhite | None:
    """Of the type, or of the bits that the file says are used, unless its pixels belie it."""
    if kind not in ("uint8", "uint16"):
        return None
    most = 8 if kind == "uint8" else 16
    bits = int(dataset.tags(1, ns="IMAGE_STRUCTURE").get("NBITS", most))
    if bits < most or kind == "uint8":
        return 0.0, float(2 ** min(bits, most) - 1)
    stated = dataset.tags().get("TIFFTAG_MAXSAMPLEVALUE", "")
    white = int(stated) if stated.isdigit() else WIDEST
    if white & (white + 1) or not 2**8 - 1 <= white < WIDEST:  # a statistic, and not the white of some bits
        return FULL
    belied = any(values_N.size and values_N.max() > white for values_N in sample())
    return FULL if belied else (0.0, float(white))


def _black(scale: Scales | None, pixels_HWC: NDArray[Any]) -> NDArray[Any]:
    """What is black in each band, in the type of the pixels."""
    if scale is None:
        return np.zeros(pixels_HWC.shape[2], pixels_HWC.dtype)
    black_C, white_C = np.array(scale).T
    if pixels_HWC.dtype.kind == "f":
        exact_C: NDArray[Any] = black_C.astype(pixels_HWC.dtype)
        return exact_C
    outside_C = np.where(black_C < white_C, np.floor(black_C), np.ceil(black_C))
    limits = np.iinfo(pixels_HWC.dtype)
    darkest_C: NDArray[Any] = outside_C.clip(limits.min, limits.max).astype(pixels_HWC.dtype)
    return darkest_C
