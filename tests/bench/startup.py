"""What a small job waits for: `python -m tests.bench.startup --rounds 5`.

`batchseg run` on the sample images beside a bare script that starts Ray, loads the same model in one actor
and segments one batch; they take turns.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import click

from tests.bench.contest import Figures, finish, noise
from tests.bench.rivals.bare_ray import BATCH

SAMPLES = Path(__file__).parents[2] / "sample_data"


@click.command(help=__doc__)
@click.option("--rounds", default=5, show_default=True)
def main(rounds: int) -> None:
    images, truth, model = (SAMPLES / name for name in ("images", "masks", "model"))
    bare = [sys.executable, "-m", "tests.bench.rivals.bare_ray", images, model]
    ours = [sys.executable, "-m", "batchseg", "run", images, "--truth", truth, "--model", model, "--quiet"]
    bare_s, ours_s, forward_s, first_row_s = Figures(), Figures(), Figures(), Figures()
    count = len(list(images.rglob("*.*")))
    for _ in range(rounds):
        seconds, out = finish(bare)
        bare_s.add(seconds)
        forward_s.add(float(out) * count / BATCH)
        with TemporaryDirectory() as folder:
            seconds, _ = finish([*ours, "--output", folder])
            ours_s.add(seconds)
            first_row_s.add(json.loads((Path(folder) / "run.json").read_text())["timings"]["first_row_s"])
    print(f"bare script, one batch: {bare_s} s")
    print(f"forward passes of {count} images: {forward_s} s")
    print(f"batchseg run, {count} images: {ours_s} s, its first row {first_row_s} s after Ray's start")
    print(f"(batchseg - forward passes) / bare: {(ours_s.median - forward_s.median) / bare_s.median:.2f}")
    print(f"batchseg / bare: {ours_s.median / bare_s.median:.2f}; {noise()}")


if __name__ == "__main__":
    main()
