"""A raster as a small picture to look at, from its overviews where it has them; no number comes of it."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from batchseg.config.source import ImageReading
from batchseg.images.raster import RasterFile, open_raster
from batchseg.images.samples import to_8_bit


def smaller_rgb(file: RasterFile, hw: tuple[int, int], reading: ImageReading) -> NDArray[np.uint8]:
    """The first three bands, or the first one as grey, at another size: uint8 [H, W, 3].

    What is not 8-bit is shown by `reading.scale`, or between the extremes of what is shown.

    Raises:
        RowFault: the file is damaged (unreadable).
        ConfigError: rasterio is not installed.
    """
    with open_raster(file) as dataset:
        if dataset.count < 3 and dataset.colorinterp[0].name == "palette":
            colours = dataset.colormap(1)
            palette = np.array([colours[index][:3] for index in sorted(colours)], np.uint8)
            pixels_HWC: NDArray[np.uint8] = palette[dataset.read(1, out_shape=hw)]
            return pixels_HWC
        bands = [1, 2, 3] if dataset.count > 2 else [1, 1, 1]
        samples_HWC = np.ascontiguousarray(dataset.read(bands, out_shape=(3, *hw)).transpose(1, 2, 0))
    if samples_HWC.dtype == np.uint8:
        return samples_HWC
    return to_8_bit(samples_HWC, reading.scale or _extremes(samples_HWC), False)


def _extremes(samples: NDArray[Any]) -> tuple[float, float]:
    finite = samples[np.isfinite(samples)]
    black, white = (float(finite.min()), float(finite.max())) if finite.size else (0.0, 0.0)
    return black, white if white > black else black + 1
