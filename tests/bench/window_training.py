"""Learning from windows of large rasters: `python -m tests.bench.window_training FOLDER`.

One raster of each side is learnt from, for about as many steps whatever its side, and a small one judges.
It prints the peak of memory, how long a step and a judged window take, and the share of waiting for batches.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click
import pyarrow.parquet as pq

from tests.bench.contest import emptied, noise
from tests.bench.defaults.__main__ import BATCHSEG
from tests.bench.memory import peak
from tests.bench.rasters import make

MODEL = {"mode": "none", "widths": [16, 32, 64, 64], "decoder_width": 32}
TILE, BATCH, STEPS, JUDGE = 512, 4, 400, 5_000


def measure(folder: Path, side: int) -> None:
    for name, of in (("learnt", side), ("judge", JUDGE)):
        made = make(emptied(folder / name), of)
        for kind in ("images", "truth"):
            (folder / kind).mkdir(exist_ok=True)
            (made / kind / "a.tif").rename(folder / kind / f"{name}.tif")
    epochs = max(1, round(STEPS * BATCH * TILE**2 / side**2))
    settings: dict[str, Any] = {
        "source": {"path": str(folder / "images"), "truth": str(folder / "truth")},
        "output": str(folder / "trained"),
        "model": MODEL,
        "tiling": TILE,
        "validation": ["judge.tif"],
        "sampling": "balanced",
        "batch_size": BATCH,
        "epochs": epochs,
        "validate_every": epochs,
    }
    file = folder / "train.yaml"
    file.write_text(json.dumps(settings))
    seconds, mib = peak([*BATCHSEG, "train", "--config", str(file), "--quiet"])
    (row,) = pq.read_table(folder / "trained/history.parquet").to_pylist()  # judged once, at the end
    splits = pq.read_table(folder / "trained/windows.parquet")["split"].to_pylist()
    step_ms = 1000 * row["train_s"] / row["step"]
    judged_ms = 1000 * row["validation_s"] / splits.count("validation")
    click.echo(
        f"{side:,} x {side:,}: {splits.count('train'):,} windows to learn from, peak {mib:,.0f} MiB, "
        f"{seconds:.0f} s in all; {row['step']:,} steps of {step_ms:.0f} ms, "
        f"{row['waited_s'] / row['train_s']:.1%} of it waiting; {judged_ms:.0f} ms to judge a window"
    )


@click.command()
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--side", "sides", type=int, multiple=True, default=(5_000, 20_000), show_default=True)
def main(folder: Path, sides: tuple[int, ...]) -> None:
    """Make the rasters in FOLDER, train on each, and print what it took."""
    for side in sides:
        measure(emptied(folder / str(side)), side)
    click.echo(noise())


if __name__ == "__main__":
    main()
