"""What a small job waits for: `python -m tests.bench.startup --rounds 5`.

`batchseg run` on the sample images beside a bare script that starts Ray, loads the same model in one actor
and segments one batch; they take turns. With --beside, another checkout of batchseg does the same run in
its turn.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import click

from tests.bench.contest import Figures, finish, noise
from tests.bench.rivals.bare_ray import BATCH

ROOT = Path(__file__).parents[2]
SAMPLES = ROOT / "sample_data"


class Runs:
    """Runs of the samples by one checkout, which finds its code through PYTHONPATH."""

    def __init__(self, checkout: Path) -> None:
        self.checkout = checkout
        self.seconds, self.first_row_s = Figures(), Figures()

    def once(self) -> None:
        images, truth, model = (SAMPLES / name for name in ("images", "masks", "model"))
        words = [sys.executable, "-m", "batchseg", "run", images, "--truth", truth, "--model", model]
        with TemporaryDirectory() as folder:
            seconds, _ = finish([*words, "--quiet", "--output", folder], self.checkout)
            self.seconds.add(seconds)
            record = json.loads((Path(folder) / "run.json").read_text())
            self.first_row_s.add(record["timings"]["first_row_s"])

    def __str__(self) -> str:
        return f"{self.seconds} s, its first row {self.first_row_s} s after Ray's start"


@click.command(help=__doc__)
@click.option("--rounds", default=5, show_default=True)
@click.option(
    "--beside",
    type=click.Path(file_okay=False, resolve_path=True, path_type=Path),
    help="Root of another checkout.",
)
def main(rounds: int, beside: Path | None) -> None:
    if beside and not (beside / "batchseg").is_dir():
        raise click.BadParameter(f"{beside} is no checkout of batchseg", param_hint="--beside")
    images, model = SAMPLES / "images", SAMPLES / "model"
    bare = [sys.executable, "-m", "tests.bench.rivals.bare_ray", images, model]
    bare_s, forward_s, ratio = Figures(), Figures(), Figures()
    ours, theirs = Runs(ROOT), Runs(beside) if beside else None
    count = len(list(images.rglob("*.*")))
    for turn in range(rounds):
        seconds, out = finish(bare)
        bare_s.add(seconds)
        forward_s.add(float(out) * count / BATCH)
        both = [ours, *([theirs] if theirs else [])]
        for each in both if turn % 2 else reversed(both):
            each.once()
        if theirs:
            ratio.add(ours.seconds.last / theirs.seconds.last)
    print(f"bare script, one batch: {bare_s} s")
    print(f"forward passes of {count} images: {forward_s} s")
    print(f"batchseg run, {count} images: {ours}")
    if theirs:
        print(f"the same of {theirs.checkout.name}: {theirs}")
        print(f"batchseg / {theirs.checkout.name}: {ratio}")
    print(
        f"(batchseg - forward passes) / bare: {(ours.seconds.median - forward_s.median) / bare_s.median:.2f}"
    )
    print(f"batchseg / bare: {ours.seconds.median / bare_s.median:.2f}; {noise()}")


if __name__ == "__main__":
    main()
