"""Does balanced sampling find more of a rare class? `python -m tests.bench.sampling FOLDER`.

Discs are common, rings are rare: one in a tenth of the images. Both trainings have the same images, seed,
start and steps, and are judged by fresh images, half of which have a ring.
"""

from __future__ import annotations

from pathlib import Path

import click
import numpy as np
from PIL import Image

import batchseg
from batchseg.config.load import read_config
from batchseg.config.train import TrainConfig
from tests.bench.contest import emptied, noise

SIDE, LEARNT, FRESH, RARE, COMMON = 160, 100, 100, 0.1, 0.5
MODEL = {"mode": "none", "widths": [16, 32, 64, 64], "decoder_width": 32, "size": SIDE, "finest_stride": 2}
CLASSES = ("background", "disc", "ring")


def draw(rng: np.random.Generator, has_ring: bool) -> tuple[np.ndarray, np.ndarray]:
    """Uint8 [H, W, 3] and class ids [H, W]: discs and perhaps one ring of the same colours, on noise."""
    rows, columns = np.mgrid[:SIDE, :SIDE]
    truth = np.zeros((SIDE, SIDE), np.uint8)
    for kind in [1] * 8 + [2] * has_ring:
        row, column = rng.integers(10, SIDE - 10, 2)
        distance = np.hypot(rows - row, columns - column)
        radius = rng.uniform(5, 9)
        truth[distance < radius] = 0
        truth[(distance < radius) & ((kind == 1) | (distance > radius / 2))] = kind
    level = np.where(truth > 0, rng.uniform(120, 190), 90)
    image = level[..., None] + rng.normal(0, 25, (SIDE, SIDE, 3))
    return image.clip(0, 255).astype(np.uint8), truth


def make(folder: Path, count: int, share: float, seed: int) -> None:
    """images/ and masks/ of so many scenes."""
    rng = np.random.default_rng(seed)
    for name in ("images", "masks"):
        (folder / name).mkdir(parents=True)
    for number in range(count):
        image, truth = draw(rng, number < share * count)
        Image.fromarray(image).save(folder / f"images/{number:03d}.png")
        Image.fromarray(truth).save(folder / f"masks/{number:03d}.png")


def figures(folder: Path, sampling: str, seed: int, epochs: int) -> dict[str, tuple[float | None, ...]]:
    """IoU, recall and precision of each class on the fresh images, of the model after the last epoch."""
    out = folder / f"{sampling}-{seed}"
    settings = {
        "source": {"path": str(folder / "learnt/images"), "truth": str(folder / "learnt/masks")},
        **{"labels": str(folder / "labels.yaml"), "output": str(out), "model": MODEL, "sampling": sampling},
        **{"crop": 64, "epochs": epochs, "validate_every": epochs, "seed": seed, "validation": 0.05},
    }
    batchseg.train(read_config(TrainConfig, overrides=settings))
    fresh = folder / "fresh"
    found = batchseg.run(
        fresh / "images",
        model=out / "model",
        truth=fresh / "masks",
        output=folder / f"found-{sampling}-{seed}",
    )
    return {row["class_name"]: (row["iou"], row["recall"], row["precision"]) for row in found.classes}


def shown(figure: float | None) -> str:
    """A figure; that of a class that is never predicted has no precision."""
    return "-" if figure is None else f"{figure:.3f}"


@click.command()
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--seeds", default=3, show_default=True)
@click.option("--epochs", default=40, show_default=True)
def main(folder: Path, seeds: int, epochs: int) -> None:
    """Make the scenes in FOLDER, train both ways, and print IoU, recall and precision of every class."""
    folder = emptied(folder)
    make(folder / "learnt", LEARNT, RARE, 1)
    make(folder / "fresh", FRESH, COMMON, 4711)
    (folder / "labels.yaml").write_text("classes: [" + ", ".join(CLASSES) + "]\n")
    for seed in range(seeds):
        for sampling in ("uniform", "balanced"):
            found = figures(folder, sampling, seed, epochs)
            told = "; ".join(f"{name} {' '.join(map(shown, each))}" for name, each in found.items())
            click.echo(f"seed {seed} {sampling}: {told}")
    click.echo(noise())


if __name__ == "__main__":
    main()
