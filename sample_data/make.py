"""Make images/, masks/ and manifest.parquet beside this file again, from a fixed seed.

The model is made by two commands of batchseg itself; README.md has them.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from batchseg.training.digits import CLASS_NAMES, compose, load_source_digits
from numpy.typing import NDArray
from PIL import Image

from batchseg.labels import LabelMap

HERE = Path(__file__).parent
SAMPLES = 24
SIDE_PX = (192, 272)
PNG_BELOW_PX = 47_000
SEED = 20

Scene = tuple[NDArray[np.uint8], NDArray[np.uint8]]


def main() -> None:
    """24 scenes of test digits: the darker half was taken by night, and two cameras took turns."""
    source = scenes()
    taken = sorted((next(source) for _ in range(SAMPLES)), key=lambda scene: scene[0].mean(), reverse=True)
    rows = [save(number, *scene) for number, scene in enumerate(taken, start=1)]
    pq.write_table(pa.Table.from_pylist(rows), HERE / "manifest.parquet")


def scenes() -> Iterator[Scene]:
    """Scenes without end, portrait and landscape: images uint8 [H, W, 3], labels uint8 [H, W]."""
    rng, digits = np.random.default_rng(SEED), load_source_digits("test")
    while True:
        height, width = rng.integers(*SIDE_PX, 2, endpoint=True)
        yield compose(rng, digits, height, width)


def save(number: int, image_HWC: NDArray[np.uint8], labels_HW: NDArray[np.uint8]) -> dict[str, str]:
    """Write one image and its mask; return their row of the manifest."""
    camera = "ba"[number % 2]
    folder = f"{'day' if number <= SAMPLES // 2 else 'night'}/{camera}"
    # The last is named like the first, in another folder: base names alone do not tell images apart.
    stem = f"{folder}/scene_{number if number < SAMPLES else 1:02d}"
    # PNG keeps the noise and is ten times the size of JPEG: only the smallest may.
    suffix = ".png" if labels_HW.size < PNG_BELOW_PX else ".jpg"
    image, truth = HERE / f"images/{stem}{suffix}", HERE / f"masks/{stem}.png"
    for path in (image, truth):
        path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(image_HWC).save(image, quality=90)
    mask = Image.fromarray(labels_HW)
    mask.putpalette([level for colour in LabelMap.from_names(CLASS_NAMES).colours for level in colour])
    mask.save(truth, optimize=True)
    return {
        "image": f"images/{stem}{suffix}",
        "truth": f"masks/{stem}.png",
        "id": f"{stem}{suffix}",
        "split": "test",
        "camera": camera,
    }


if __name__ == "__main__":
    main()
