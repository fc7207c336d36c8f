"""How many planted label errors are found: `python -m tests.bench.suspects --images 400 --seeds 3`.

Scenes of digits that the sample model never saw, with exact truth. In 5 % of the truths one object, of any
size from 100 pixels on, gets the class of another digit, or none at all. The model segments all scenes, and
`suspects` orders the images. What counts is the share of the planted errors among the first 8 %.
"""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

import click
import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

import batchseg
from batchseg.images.encode import encode_png
from batchseg.labels.label_map import LabelMap
from batchseg.scenes.digits import CLASS_NAMES, compose, load_source_digits

MODEL = Path(__file__).parents[2] / "sample_data" / "model"
LABELS = LabelMap.from_names(CLASS_NAMES)
SIDE = 224
SMALLEST = 100  # pixels of an object whose class is changed
FIRST = 0.08


def objects_of(labels_HW: NDArray[np.uint8]) -> list[NDArray[np.bool_]]:
    """The connected components of the digits that are large enough."""
    found = []
    for index in np.unique(labels_HW[labels_HW > 0]):
        components_HW, count = ndimage.label(labels_HW == index, np.ones((3, 3)))
        found += [components_HW == number for number in range(1, count + 1)]
    return [object_HW for object_HW in found if object_HW.sum() >= SMALLEST]


def plant(rng: np.random.Generator, labels_HW: NDArray[np.uint8], error: str) -> None:
    """Give one object the class of another digit, or of the background."""
    objects = objects_of(labels_HW)
    object_HW = objects[rng.integers(len(objects))]
    if error == "missing":
        labels_HW[object_HW] = 0
        return
    (own,) = np.unique(labels_HW[object_HW])
    labels_HW[object_HW] = rng.choice(np.setdiff1d(np.arange(1, LABELS.num_classes), own))


def make(folder: Path, images: int, share: float, seed: int, error: str) -> set[str]:
    """Write images/ and masks/; the ids of those with a planted error."""
    digits, rng = load_source_digits("test"), np.random.default_rng([seed, 1])
    wrong = set(rng.choice(images, round(share * images), replace=False).tolist())
    names = set()
    for kind in ("images", "masks"):
        (folder / kind).mkdir()
    for number in range(images):
        image_HWC, labels_HW = compose(np.random.default_rng([seed, number]), digits, SIDE, SIDE)
        name = f"scene_{number:05d}.png"
        if number in wrong:
            plant(rng, labels_HW, error)
            names.add(name)
        Image.fromarray(image_HWC).save(folder / "images" / name, compress_level=1)
        png = encode_png(labels_HW, LABELS.colours, LABELS.ignore_index)
        (folder / "masks" / name).write_bytes(png)
    return names


@click.command(help=__doc__)
@click.option("--images", default=400, show_default=True)
@click.option("--share", default=0.05, show_default=True, help="Of the truths that get an error.")
@click.option("--seeds", default=3, show_default=True, help="How many data sets.")
@click.option(
    "--error", type=click.Choice(["swapped", "missing"]), default="swapped", help="What is planted."
)
def main(images: int, share: float, seeds: int, error: str) -> None:
    shares = []
    for seed in range(seeds):
        with TemporaryDirectory() as folder:
            wrong = make(Path(folder), images, share, seed, error)
            paths = {name: f"{folder}/{name}" for name in ("images", "masks", "results")}
            result = batchseg.run(
                paths["images"], truth=paths["masks"], model=str(MODEL), output=paths["results"]
            )
            found = batchseg.suspects(paths["results"], listed=images)
        order = [each.id in wrong for each in found.images]
        most = round(FIRST * images)
        shares.append(sum(order[:most]) / len(wrong))
        ranks = [place + 1 for place, is_wrong in enumerate(order) if is_wrong]
        iou = result.metrics["mean_iou"]
        print(
            f"seed {seed}: mean IoU {iou:.3f}, {len(wrong)} errors in {images} truths, "
            f"{shares[-1]:.0%} of them within the first {most}, at the places {ranks}",
            flush=True,
        )
    print(f"found within the first {FIRST:.0%}: {np.mean(shares):.0%} on average, {min(shares):.0%} at least")


if __name__ == "__main__":
    main()
