"""What `segmentor.compile` costs and gains: `python -m tests.bench.compiled`.

`batchseg run` with and without it, by turns, on the images and the network of the throughput bench. The first
round begins with an empty cache of compiled code; where torch keeps it, later ones find it filled.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import click

from tests.bench import workload
from tests.bench.contest import Figures, emptied, finish, noise


def measure(images: Path, precision: str, compiled: bool, output: Path) -> dict[str, float]:
    """The timings of one run."""
    words = [sys.executable, "-m", "batchseg", "run", images, "--model", workload.checkpoint(), "--quiet"]
    words += ["--precision", precision, "--set", f"segmentor.compile={str(compiled).lower()}"]
    finish([*words, "--output", output])
    timings: dict[str, float] = json.loads((output / "run.json").read_text())["timings"]
    return timings


@click.command(help=__doc__)
@click.option("--images", "count", default=400, show_default=True)
@click.option("--rounds", default=3, show_default=True)
def main(count: int, rounds: int) -> None:
    images = workload.photographs(count) / "images"
    entries = [(precision, compiled) for precision in ("fp32", "bf16") for compiled in (False, True)]
    rates, first_rows, again = ({entry: Figures() for entry in entries} for _ in range(3))
    with TemporaryDirectory() as folder:
        os.environ["TORCHINDUCTOR_CACHE_DIR"] = str(Path(folder) / "inductor")
        for number in range(rounds):
            for entry in entries:
                timings = measure(images, *entry, emptied(Path(folder) / "out"))
                rates[entry].add(timings["steady_images_per_s"])
                (again if number else first_rows)[entry].add(timings["first_row_s"])
    print("| | images a second | without compiling | first row, s | in later rounds, s |")
    print("|---|---|---|---|---|")
    for precision, compiled in entries:
        rate = rates[precision, compiled]
        ratio = rate.median / rates[precision, False].median
        name = f"{precision}, compiled" if compiled else precision
        later = again[precision, compiled] if rounds > 1 else ""
        print(f"| {name} | {rate} | {ratio:.2f} | {first_rows[precision, compiled]} | {later} |")
    print(f"{count} images, {rounds} rounds, medians (least - most); {noise()}")


if __name__ == "__main__":
    main()
