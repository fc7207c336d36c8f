"""Rasters of bands for tests: by rasterio, or byte by byte where it cannot write them; and what to expect."""

from __future__ import annotations

import warnings

import numpy as np
from rasterio.errors import NotGeoreferencedWarning
from rasterio.io import MemoryFile

RANGES = {
    "uint8": (0, 256),
    "uint16": (0, 60_000),
    "int16": (-3_000, 12_000),
    "float32": (-0.5, 1.5),
}


def bands_of(kind, channels=4, size=(40, 52), seed=0):
    """Blocks of one value with a little noise, [H, W, C], in a range that the type holds."""
    rng = np.random.default_rng(seed)
    low, high = RANGES[kind]
    blocks = rng.uniform(low, high, (-(-size[0] // 8), -(-size[1] // 8), channels))
    smooth = blocks.repeat(8, 0).repeat(8, 1)[: size[0], : size[1]]
    noisy = smooth + rng.uniform(-0.02, 0.02, smooth.shape) * (high - low)
    return noisy.clip(low, high - 1 if kind != "float32" else high).astype(kind)


def geotiff(pixels, mask=None, **options):
    """A TIFF as rasterio writes it, as bytes; `mask` is 0 where there are no data."""
    height, width, channels = pixels.shape
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        with MemoryFile() as memory:
            with memory.open(
                driver="GTiff",
                height=height,
                width=width,
                count=channels,
                dtype=pixels.dtype,
                **options,
            ) as dataset:
                dataset.write(np.moveaxis(pixels, 2, 0))
                if mask is not None:
                    dataset.write_mask(mask)
            return bytes(memory.getbuffer())


def levels(pixels, scale):
    """0 to 255 by the black and white of each band."""
    black, white = np.array(scale, np.float64).T
    return (((pixels.astype(np.float64) - black) / (white - black)).clip(0, 1) * 255).astype(np.float32)
