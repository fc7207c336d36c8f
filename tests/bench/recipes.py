"""How long until the digits are told apart? `python -m tests.bench.recipes FOLDER --language-model DIR`.

Two trainings of the sample model's network on the same 10,000 scenes, one after the other: as commit f85fea5
did it (six epochs at a rate of 0.001, one worker), and by configs/train_digits.yaml as it is now. Both are
timed to the first validation with a mean IoU of 0.90, validations included.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import click
import pyarrow.parquet as pq
import yaml

from tests.bench.contest import emptied, noise

BATCHSEG = [sys.executable, "-m", "batchseg"]
CONFIG = Path(__file__).parents[2] / "configs" / "train_digits.yaml"
BEFORE = {"batch_size": 8, "epochs": 6, "learning_rate": 0.001, "workers": 1}
BAR = 0.90


def timed(folder: Path, name: str, settings: dict[str, Any]) -> str:
    """Train, and say what came of it."""
    file, output = folder / f"{name}.yaml", emptied(folder / name)
    file.write_text(yaml.safe_dump({**settings, "output": str(output)}))
    subprocess.run([*BATCHSEG, "train", "--config", str(file), "--quiet"], check=True)
    history, passed = pq.read_table(output / "history.parquet").to_pylist(), 0.0
    reached = None
    for row in history:
        passed += row["train_s"] + row["validation_s"]
        if reached is None and row["mean_iou"] >= BAR:
            reached = passed
    waited = sum(row["waited_s"] for row in history) / sum(row["train_s"] for row in history)
    record = json.loads((output / "train.json").read_text())
    when = f"{reached / 60:.1f} min" if reached is not None else "never"
    curve = ", ".join(f"{row['mean_iou']:.3f}" for row in history)
    return (
        f"{name}: mean IoU {BAR:g} after {when}; best {record['metrics']['mean_iou']:.4f}; all "
        f"{passed / 60:.1f} min, {record['steps']:,} steps; waited for data {waited:.1%}; {curve}"
    )


@click.command()
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--language-model", required=True, help="Folder of all-MiniLM-L6-v2.")
@click.option("--count", default=10_000, show_default=True, help="Scenes.")
def main(folder: Path, language_model: str, count: int) -> None:
    """Make the scenes in FOLDER, train twice, and print both times."""
    scenes = folder / "scenes"
    if not scenes.is_dir():
        words = ["scenes", "digits", str(scenes), "--count", str(count), "--seed", "1", "--quiet"]
        subprocess.run([*BATCHSEG, *words], check=True)
    now = yaml.safe_load(CONFIG.read_text())
    now |= {"source": str(scenes / "manifest.parquet"), "labels": str(CONFIG.parent / "labels/digits.yaml")}
    now["model"]["language_model"] = language_model
    for name, settings in (("before", {**now, **BEFORE}), ("now", now)):
        click.echo(f"{timed(folder, name, settings)}; {noise()}")


if __name__ == "__main__":
    main()
