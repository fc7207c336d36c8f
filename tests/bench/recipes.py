"""How long until the digits are told apart? `python -m tests.bench.recipes FOLDER --language-model DIR`.

Two trainings of the sample model's kind on the same 10,000 scenes, one after the other: by the settings of
commit f85fea5, which made sample_data/model, and by configs/train_digits.yaml as it is now. Each ends with
the first validation that has a mean IoU of 0.90, and everything before that counts.
"""

from __future__ import annotations

import os
import signal
import subprocess
from pathlib import Path
from time import perf_counter
from typing import Any

import click
import yaml

import batchseg
from batchseg.config.load import read_config
from batchseg.config.train import TrainConfig
from tests.bench.contest import emptied, noise
from tests.bench.defaults.__main__ import BATCHSEG

CONFIG = Path(__file__).parents[2] / "configs" / "train_digits.yaml"
BEFORE: dict[str, Any] = {
    "batch_size": 8,
    "epochs": 6,
    "learning_rate": 0.001,
    "augmentation": {"scale": (0.75, 1.5), "colour": 0.3},
}
BEFORE_MODEL = {"decoder_width": 128}
BAR = 0.90


def timed(name: str, settings: dict[str, Any]) -> str:
    """Train up to the bar, and say what came of it."""
    rows = list[dict[str, Any]]()

    def listen(news: dict[str, Any]) -> None:
        if "epoch" in news:
            rows.append(news["epoch"])
            click.echo(f"{name}: {rows[-1]['mean_iou']:.4f} after {perf_counter() - begun:.0f} s", err=True)
            if rows[-1]["mean_iou"] >= BAR:
                os.kill(os.getpid(), signal.SIGINT)  # news come in a thread of their own

    begun, reached = perf_counter(), False
    try:
        batchseg.train(read_config(TrainConfig, overrides=settings), listen)
    except KeyboardInterrupt:
        reached = True
    seconds = perf_counter() - begun
    learnt_s, waited_s = (sum(row[key] for row in rows) for key in ("train_s", "waited_s"))
    return (
        f"{name}: {'' if reached else 'not '}there after {seconds / 60:.1f} min, {rows[-1]['step']:,} steps, "
        f"{1000 * learnt_s / rows[-1]['step']:.0f} ms a step, {waited_s / learnt_s:.1%} of it waiting for "
        f"batches; mean IoU {', '.join(format(row['mean_iou'], '.3f') for row in rows)}"
    )


@click.command()
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--language-model", required=True, help="Folder of all-MiniLM-L6-v2.")
@click.option("--count", default=10_000, show_default=True, help="Scenes.")
@click.option("--only", type=click.Choice(["before", "now"]), help="One of the two.")
def main(folder: Path, language_model: str, count: int, only: str | None) -> None:
    """Make the scenes in FOLDER, train twice, and print both times."""
    scenes = folder / "scenes"
    if not scenes.is_dir():
        words = ["scenes", "digits", str(scenes), "--count", str(count), "--seed", "1", "--quiet"]
        subprocess.run([*BATCHSEG, *words], check=True)
    now = yaml.safe_load(CONFIG.read_text())
    now |= {"source": str(scenes / "manifest.parquet"), "labels": str(CONFIG.parent / "labels/digits.yaml")}
    now["model"]["language_model"] = language_model
    before = BEFORE | {"model": now["model"] | BEFORE_MODEL}
    for name, changes in (("before", before), ("now", {})):
        if only in (None, name):
            settings = {**now, **changes, "output": str(emptied(folder / name))}
            click.echo(f"{timed(name, settings)}; {noise()}")


if __name__ == "__main__":
    main()
