"""Do the folds of a cross-validation together beat one of them alone? `python -m tests.bench.folds`.

200 slices, five folds; then the ensemble and each single model on fresh slices. Image by image the ensemble
is held against the mean of the single models.
"""

from __future__ import annotations

import subprocess
from pathlib import Path

import click
import numpy as np
from numpy.typing import NDArray

import batchseg
from tests.bench.contest import emptied, noise
from tests.bench.defaults.__main__ import BATCHSEG
from tests.bench.defaults.make import make, slice_of

FOLDS, IMAGES, FRESH, DRAWS = 5, 200, 100, 10_000


def figures(model: Path, fresh: Path, output: Path) -> NDArray[np.float64]:
    """The mean IoU of each fresh image, in the order of their ids."""
    batchseg.run(fresh / "images", model=model, truth=fresh / "masks", output=output)
    table = batchseg.open_results(str(output)).images.sort_by("id")
    found: NDArray[np.float64] = table["mean_iou"].to_numpy()
    return found


@click.command()
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--minutes", default=15.0, show_default=True, help="Of all trainings together.")
def main(folder: Path, minutes: float) -> None:
    """Make the slices in FOLDER, train, and print the paired difference with its interval."""
    folder = emptied(folder)
    for name, count, seed in (("learnt", IMAGES, 1), ("fresh", FRESH, 4711)):
        make(folder / name, slice_of, count, seed)
    learnt, fresh, out = folder / "learnt", folder / "fresh", folder / "trained"
    words = ["--folds", str(FOLDS), "--minutes", f"{minutes:g}", "--output", str(out)]
    source = [str(learnt / "images"), "--truth", str(learnt / "masks")]
    subprocess.run([*BATCHSEG, "train", *source, *words], check=True)
    singles = np.stack(
        [figures(out / "folds" / str(n), fresh, folder / f"by-{n}") for n in range(1, FOLDS + 1)]
    )
    together = figures(out / "folds", fresh, folder / "by-all")
    gain = together - singles.mean(axis=0)
    drawn = np.random.default_rng(0).integers(len(gain), size=(DRAWS, len(gain)))
    low, high = np.percentile(gain[drawn].mean(axis=1), [2.5, 97.5])
    click.echo(
        f"mean IoU an image: folds alone {singles.mean():.4f} ({singles.mean(axis=1).round(4).tolist()}), "
        f"together {together.mean():.4f}; paired gain {gain.mean():+.4f}, "
        f"95 % {low:+.4f} to {high:+.4f}; {noise()}"
    )


if __name__ == "__main__":
    main()
