"""Three data sets, trained with nothing but source, truth and output: `python -m tests.bench.defaults`.

Each has a bar that was set before. The figures are of fresh images that no training saw.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from time import perf_counter
from typing import Any

import click

from tests.bench.contest import emptied, noise
from tests.bench.defaults.make import make, slice_of, tile_of

BARS = {"digits": 0.85, "slices": 0.75, "tiles": 0.85}
BATCHSEG = [sys.executable, "-m", "batchseg"]


def digits(folder: Path, count: int, seed: int) -> None:
    """Without the manifest's own split: a folder of images and a folder of masks."""
    words = ["--count", str(count), "--seed", str(seed), "--quiet"]
    subprocess.run([*BATCHSEG, "scenes", "digits", str(folder), *words], check=True)


MAKERS: dict[str, Callable[[Path, int, int], None]] = {
    "digits": digits,
    "slices": lambda folder, count, seed: make(folder, slice_of, count, seed),
    "tiles": lambda folder, count, seed: make(folder, tile_of, count, seed),
}


def trained(folder: Path, minutes: float) -> dict[str, Any]:
    """What `batchseg train` records."""
    words = ["--truth", "masks", "--output", "trained", "--minutes", f"{minutes:g}", "--json"]
    begun = perf_counter()
    done = subprocess.run(
        [*BATCHSEG, "train", "images", *words], cwd=folder, check=True, stdout=subprocess.PIPE
    )
    return {**json.loads(done.stdout), "seconds": perf_counter() - begun}


def judged(model: Path, folder: Path) -> float:
    """Mean IoU of a model on images."""
    emptied(folder / "judged")
    words = ["--truth", "masks", "--model", str(model.resolve()), "--output", "judged", "--json"]
    done = subprocess.run(
        [*BATCHSEG, "run", "images", *words], cwd=folder, check=True, stdout=subprocess.PIPE
    )
    return float(json.loads(done.stdout)["metrics"]["mean_iou"])


@click.command()
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--minutes", default=15.0, show_default=True)
@click.option("--count", default=2000, show_default=True, help="Images of each data set.")
@click.option("--only", multiple=True, type=click.Choice([*BARS]))
def main(folder: Path, minutes: float, count: int, only: tuple[str, ...]) -> None:
    """Make the data sets in FOLDER, train on each, and judge each model by fresh images."""
    for name in only or BARS:
        learnt, fresh = emptied(folder / name / "learnt"), emptied(folder / name / "fresh")
        for place, images, seed in ((learnt, count, 1), (fresh, max(20, count // 10), 4711)):
            place.rmdir()
            MAKERS[name](place, images, seed)
        record = trained(learnt, minutes)
        figure = judged(learnt / "trained" / "model", fresh)
        click.echo(record["plan"]["sentence"])
        click.echo(
            f"{name}: mean IoU {figure:.4f} on fresh images (bar {BARS[name]}), "
            f"{record['metrics']['mean_iou']:.4f} on validation; {record['steps']:,} steps, "
            f"{record['seconds']:.0f} s; {noise()}"
        )


if __name__ == "__main__":
    main()
