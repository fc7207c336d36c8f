"""Data sets that a training without a model is tried on, each made from a seed.

`slices`: four classes in three shades of grey, so that a disc is a lesion in an organ and a vessel outside.
`tiles`: GeoTIFFs of five bands, uint16 as satellites have it, of three classes that differ in all of them.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from numpy.typing import NDArray
from PIL import Image
from rasterio.errors import NotGeoreferencedWarning
from scipy.ndimage import gaussian_filter

Pair = tuple[NDArray[Any], NDArray[np.uint8]]

BANDS = 5
# what each class reflects in each band, of 10,000: the sums of the bands are alike
SPECTRA = np.array(
    [[1200, 1500, 1300, 2600, 1900], [1350, 1400, 1450, 1900, 2400], [1250, 1600, 1250, 2250, 2150]]
)
NOISE = 260


def slice_of(rng: np.random.Generator, side: int = 96) -> Pair:
    """Grey uint8 [H, W]: air, an organ, vessels and lesions, the last two of one shade."""
    rows, columns = np.mgrid[:side, :side] / side
    truth = np.zeros((side, side), np.uint8)

    def disc(row: float, column: float, radius: float, stretch: float = 1.0) -> NDArray[np.bool_]:
        inside: NDArray[np.bool_] = ((rows - row) / stretch) ** 2 + (columns - column) ** 2 < radius**2
        return inside

    row, column = rng.uniform(0.4, 0.6), rng.uniform(0.3, 0.45)
    organ = disc(row, column, rng.uniform(0.2, 0.28), rng.uniform(0.9, 1.4))
    for _ in range(rng.integers(1, 4)):
        truth[disc(rng.uniform(0.1, 0.9), rng.uniform(0.72, 0.92), rng.uniform(0.04, 0.09))] = 2
    truth[organ] = 1
    for _ in range(rng.integers(1, 3)):
        lesion = disc(
            row + rng.uniform(-0.12, 0.12), column + rng.uniform(-0.1, 0.1), rng.uniform(0.04, 0.09)
        )
        truth[lesion & organ] = 3
    shades = np.array([30, 110, 200, 200]) + rng.integers(-12, 13)
    picture = gaussian_filter(shades[truth].astype(float), 0.8) + rng.normal(0, 10, truth.shape)
    return picture.clip(0, 255).astype(np.uint8), truth


def tile_of(rng: np.random.Generator, side: int = 96) -> Pair:
    """Uint16 [H, W, 5] of regions of three classes, under a light of its own."""
    fields = np.stack([gaussian_filter(rng.normal(size=(side, side)), side / 14) for _ in SPECTRA])
    truth = fields.argmax(axis=0).astype(np.uint8)
    light = rng.uniform(0.85, 1.15)
    picture = light * SPECTRA[truth] + rng.normal(0, NOISE, (side, side, BANDS))
    return picture.clip(0, 65535).astype(np.uint16), truth


def make(folder: Path, maker: Callable[[np.random.Generator], Pair], count: int, seed: int) -> None:
    """images/ and masks/, in which a pair has one name; a picture depends on the seed and its number."""
    for name in ("images", "masks"):
        (folder / name).mkdir(parents=True)
    for number in range(count):
        picture, truth = maker(np.random.default_rng([seed, number]))
        Image.fromarray(truth).save(folder / f"masks/{number:04d}.png")
        if picture.ndim == 2:
            Image.fromarray(picture).save(folder / f"images/{number:04d}.png")
        else:
            _save_bands(folder / f"images/{number:04d}.tif", picture)


def _save_bands(path: Path, picture_HWC: NDArray[Any]) -> None:
    height, width, count = picture_HWC.shape
    size = {"height": height, "width": width, "count": count, "dtype": picture_HWC.dtype}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        with rasterio.open(path, "w", driver="GTiff", compress="deflate", **size) as dataset:
            dataset.write(np.moveaxis(picture_HWC, 2, 0))
