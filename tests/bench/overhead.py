"""What the engine costs: `python -m tests.bench.overhead --images 1000 --rounds 3`.

A segmentor that costs nothing, on JPEGs of 1024 x 768 with their truth, beside the bare library calls for the
same files in two processes. The rates are those of the steady state, from the times of the masks.
"""

from __future__ import annotations

import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import click

from tests.bench import workload
from tests.bench.contest import Figures, emptied, finish, noise, steady_rate


@click.command(help=__doc__)
@click.option("--images", "count", default=1000, show_default=True)
@click.option("--rounds", default=3, show_default=True)
def main(count: int, rounds: int) -> None:
    photographs = workload.photographs(count)
    images, truth = photographs / "images", photographs / "masks"
    ours = ["-m", "batchseg", "run", images, "--truth", truth, "--model", "tests.bench.free:Free", "--quiet"]
    bare = ["-m", "tests.bench.rivals.bare_calls", "--images", images, "--truth", truth, "--model", "none"]
    rates = {"bare calls": Figures(), "batchseg": Figures()}
    with TemporaryDirectory() as folder:
        for _ in range(rounds):
            for name, words in (("bare calls", bare), ("batchseg", ours)):
                output = emptied(Path(folder) / "out")
                finish([sys.executable, *words, "--output", output])
                rates[name].add(steady_rate(output / "masks"))
    for name, figures in rates.items():
        print(f"{name}: {figures} images a second")
    print(f"batchseg / bare calls: {rates['batchseg'].median / rates['bare calls'].median:.2f}; {noise()}")


if __name__ == "__main__":
    main()
