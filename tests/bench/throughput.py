"""batchseg beside what people use today: `python -m tests.bench.throughput --images 200 --rounds 3`.

The forward passes alone, `pipeline()`, a careful loop, Ray Data's recipe and batchseg take turns on the same
photographs with the same SegFormer-B0 (see workload.py), and all but the first write masks and metrics. A
rate is that of the steady state, from the times of the masks; the wall time is that of the whole program. The
spread of the forward passes alone, from round to round, is how noisy the machine was.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

import click

from tests.bench import workload
from tests.bench.contest import Figures, agreement, emptied, finish, noise, steady_rate

PRECISIONS = ("fp32", "bf16")
RIVALS = {
    "pipeline": ("fp32",),
    "loop": PRECISIONS,
    "ray_recipe": ("fp32",),
    "batchseg": (*PRECISIONS, "auto"),
}
LAYOUTS = ((2, 1), (1, 2))  # processes, threads each
LIMIT_BATCHES = 24


def limit(precision: str, *chosen: str) -> float:
    """Images a second of the forward passes alone, in the better of two layouts."""
    program = [sys.executable, "-m", "tests.bench.rivals.forward", "--model", str(workload.checkpoint())]
    rates = []
    for processes, threads in LAYOUTS:
        layout = ["--processes", processes, "--threads", threads, "--batches", LIMIT_BATCHES // processes]
        _, out = finish([*program, "--precision", precision, *map(str, layout), *chosen])
        rates.append(float(out))
    return max(rates)


def command(name: str, precision: str, photographs: Path, output: Path) -> list[str | Path]:
    images, truth, model = photographs / "images", photographs / "masks", workload.checkpoint()
    if name == "batchseg":
        words = [sys.executable, "-m", "batchseg", "run", images, "--truth", truth, "--quiet"]
    else:
        words = [sys.executable, "-m", f"tests.bench.rivals.{name}", "--images", images, "--truth", truth]
    chosen = [] if precision == "auto" else ["--precision", precision]
    return [*words, "--model", model, "--output", output, *chosen]


@dataclass
class Entry:
    """A contestant in one precision, and how it did."""

    name: str
    precision: str
    rate: Figures = field(default_factory=Figures)
    wall_s: Figures = field(default_factory=Figures)

    def run(self, photographs: Path, output: Path) -> None:
        wall_s, _ = finish(command(self.name, self.precision, photographs, emptied(output)))
        self.rate.add(steady_rate(output / "masks"))
        self.wall_s.add(wall_s)
        print(f"  {self.name}, {self.precision}: {self.rate.last:.2f}/s, {wall_s:.1f} s", flush=True)


@click.command(help=__doc__)
@click.option("--images", "count", default=200, show_default=True)
@click.option("--rounds", default=3, show_default=True)
@click.option("--only", type=click.Choice([*RIVALS]), multiple=True, default=[*RIVALS], help="Contestants.")
def main(count: int, rounds: int, only: tuple[str, ...]) -> None:
    photographs = workload.photographs(count)
    entries = [Entry(name, precision) for name in RIVALS if name in only for precision in RIVALS[name]]
    plain, kept = ({precision: Figures() for precision in PRECISIONS} for _ in range(2))
    with TemporaryDirectory() as folder:
        for number in range(rounds):
            print(f"round {number + 1}: {noise()}", flush=True)
            for precision in PRECISIONS:
                plain[precision].add(limit(precision))
                kept[precision].add(limit(precision, "--as-batchseg"))
            for entry in entries:
                entry.run(photographs, Path(folder) / f"{entry.name}-{entry.precision}")
        print(
            "\n| | images a second | of the forward pass | wall time, s | pixels as the library's in fp32 |"
        )
        print("|---|---|---|---|---|")
        for precision in PRECISIONS:
            print(f"| the forward pass alone, {precision} | {plain[precision]} | 1 | | |")
            ratio = kept[precision].median / plain[precision].median
            print(f"| the same as batchseg calls it | {kept[precision]} | {ratio:.2f} | | |")
        reference = Path(folder) / "loop-fp32" / "masks"
        for entry in entries:
            masks = Path(folder) / f"{entry.name}-{entry.precision}" / "masks"
            share = f"{agreement(masks, reference):.3%}" if reference.is_dir() else ""
            of = entry.rate.median / plain[entry.precision].median if entry.precision in plain else None
            ratio = f"{of:.2f}" if of else ""
            print(f"| {entry.name}, {entry.precision} | {entry.rate} | {ratio} | {entry.wall_s} | {share} |")
    print(f"\n{count} images of {workload.SIZE_WH}, {rounds} rounds, medians (least - most)")


if __name__ == "__main__":
    main()
