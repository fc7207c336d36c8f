"""Do boundaries and presence, learnt beside the classes, help? `python -m tests.bench.auxiliary FOLDER`.

Two trainings from one seed see the same crops in the same order, one of them with both tasks. Each is judged
by images that it never saw. Digits are our own scenes; anatomy is the MNI152 head that nilearn brings
(`pip install nilearn`): slices of T1, the truth from its maps of grey and white matter, every third block of
twelve slices kept for judging.
"""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import click
import numpy as np
from PIL import Image
from scipy import stats

import batchseg
from batchseg.config.load import read_config
from batchseg.config.train import TrainConfig
from batchseg.engine.session import ray_kept
from tests.bench.contest import emptied, noise
from tests.bench.defaults.__main__ import BATCHSEG

TASKS = {"without": {}, "with": {"boundary": 0.2, "presence": 0.1}}
SMALL = {"mode": "none", "widths": [16, 32, 64, 64], "decoder_width": 32, "finest_stride": 2, "size": 96}
BATCH = 8
BLOCK = 12  # neighbouring slices, which are alike


def digits(folder: Path) -> None:
    for name, count, seed in (("learnt", 2000, 1), ("fresh", 300, 4711)):
        words = ["--count", str(count), "--seed", str(seed), "--quiet"]
        subprocess.run([*BATCHSEG, "scenes", "digits", str(folder / name), *words], check=True)


def anatomy(folder: Path) -> None:
    """Axial slices: 0 is outside of the brain, 1 grey matter, 2 white matter, 3 the rest."""
    from nilearn import datasets

    head, grey, white = (
        np.asarray(load(resolution=1).get_fdata())
        for load in (
            datasets.load_mni152_template,
            datasets.load_mni152_gm_template,
            datasets.load_mni152_wm_template,
        )
    )
    brain = np.asarray(datasets.load_mni152_brain_mask(resolution=1).get_fdata()) > 0
    truth = np.where(~brain, 0, np.where(np.maximum(grey, white) < 0.4, 3, np.where(grey >= white, 1, 2)))
    shown = np.flatnonzero(brain.any((0, 1)))
    for number, place in enumerate(shown.tolist()):
        part = folder / ("fresh" if number // BLOCK % 3 == 2 else "learnt")
        for name, values in (("images", 255 * head[..., place] / head.max()), ("masks", truth[..., place])):
            path = part / name / f"{place:03d}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(np.rot90(values).clip(0, 255).astype(np.uint8)).save(path)


MAKERS = {"digits": digits, "anatomy": anatomy}
SETTINGS: dict[str, dict[str, Any]] = {  # of both arms; digits are learnt in fewer steps with these
    "digits": {
        "model": {"mode": "none", "decoder_width": 64, "size": 224},  # as `batchseg train` plans it
        "learning_rate": 0.002,
        "augmentation": {"scale": (0.8, 1.2)},
    },
    "anatomy": {"model": SMALL},
}


def learnt(data: Path, arm: str, seed: int, steps: int) -> float:
    """The mean IoU that a model has on fresh images after so many steps."""
    images = len([*(data / "learnt/images").rglob("*.*")])
    settings: dict[str, Any] = {
        "source": {"path": str(data / "learnt/images"), "truth": str(data / "learnt/masks")},
        "output": str(emptied(data / f"{arm}-{seed}")),
        "auxiliary": TASKS[arm],
        "seed": seed,
        "batch_size": BATCH,
        "epochs": max(1, round(steps * BATCH / (0.9 * images))),
        "validate_every": 1000,
        **SETTINGS[data.name],
    }
    model = batchseg.train(read_config(TrainConfig, overrides=settings)).model
    judged = emptied(data / "judged")
    fresh = data / "fresh"
    found = batchseg.run(fresh / "images", model=model, truth=fresh / "masks", output=judged)
    return found.metrics["mean_iou"] or 0.0


@click.command()
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--seeds", default=5, show_default=True)
@click.option("--steps", default=600, show_default=True)
@click.option("--only", multiple=True, type=click.Choice([*MAKERS]), help="Of the data sets.")
def main(folder: Path, seeds: int, steps: int, only: tuple[str, ...]) -> None:
    """Make the data in FOLDER, train in pairs, and print the differences with their interval."""
    for name in only or MAKERS:
        data = emptied(folder / name)
        MAKERS[name](data)
        found = []
        with ray_kept():
            for seed in range(seeds):
                found.append([learnt(data, arm, seed, steps) for arm in TASKS])
                click.echo(f"{name}, seed {seed}: without {found[-1][0]:.4f}, with {found[-1][1]:.4f}")
        gains = np.subtract(*np.array(found).T[::-1])
        low, high = stats.t.interval(0.95, seeds - 1, gains.mean(), stats.sem(gains))
        means = np.mean(found, axis=0)
        click.echo(
            f"{name}: mean IoU without {means[0]:.4f}, with {means[1]:.4f}; paired gain {gains.mean():+.4f}, "
            f"95 % {low:+.4f} to {high:+.4f}; {noise()}"
        )


if __name__ == "__main__":
    main()
