"""batchseg beside what people use today: `python -m tests.bench.throughput --images 200 --rounds 3`.

The forward passes alone, `pipeline()`, a careful loop, Ray Data's recipe and batchseg take turns on the same
photographs with the same SegFormer-B0 (see workload.py), and all but the first write masks and metrics. A
rate is that of the steady state, from the times of the masks; the wall time is that of the whole program. The
spread of the forward passes alone, from round to round, is how noisy the machine was.
"""

from __future__ import annotations

import argparse
import sys
from collections import defaultdict
from pathlib import Path
from tempfile import TemporaryDirectory

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


def limit(precision: str, batches: int) -> float:
    """Images a second of the forward passes alone, in the better of two layouts."""
    program = [sys.executable, "-m", "tests.bench.rivals.forward", "--model", workload.checkpoint()]
    rates = []
    for processes, threads in LAYOUTS:
        layout = ["--processes", processes, "--threads", threads, "--batches", batches // processes]
        _, out = finish([*program, "--precision", precision, *layout])
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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", nargs="+", choices=[*RIVALS], default=[*RIVALS])
    parser.add_argument("--precision", nargs="+", choices=[*PRECISIONS, "auto"], default=[*PRECISIONS, "auto"])
    chosen = parser.parse_args()
    photographs = workload.photographs(chosen.images)
    entries = [
        (name, precision)
        for name in RIVALS
        if name in chosen.only
        for precision in RIVALS[name]
        if precision in chosen.precision
    ]
    limits: dict[str, Figures] = defaultdict(Figures)
    rates: dict[tuple[str, str], Figures] = defaultdict(Figures)
    walls: dict[tuple[str, str], Figures] = defaultdict(Figures)
    with TemporaryDirectory() as folder:
        for number in range(chosen.rounds):
            print(f"round {number + 1}: {noise()}", flush=True)
            for precision in PRECISIONS:
                limits[precision].add(limit(precision, batches=24))
                print(f"  limit {precision}: {limits[precision].values[-1]:.2f}/s", flush=True)
            for name, precision in entries:
                output = emptied(Path(folder) / f"{name}-{precision}")
                wall_s, _ = finish(command(name, precision, photographs, output))
                rates[name, precision].add(steady_rate(output / "masks"))
                walls[name, precision].add(wall_s)
                last = rates[name, precision].values[-1]
                print(f"  {name} {precision}: {last:.2f}/s, {wall_s:.1f} s", flush=True)
        print("\n| | images a second | of the limit | wall time, s | pixels as the library's in fp32 |")
        print("|---|---|---|---|---|")
        for precision, figures in limits.items():
            print(f"| the forward pass alone, {precision} | {figures} | | | |")
        reference = Path(folder) / "loop-fp32" / "masks"
        for name, precision in entries:
            masks = Path(folder) / f"{name}-{precision}" / "masks"
            share = f"{agreement(masks, reference):.4%}" if reference.is_dir() else ""
            of_limit = "" if precision == "auto" else f"{rates[name, precision].median / limits[precision].median:.2f}"
            print(
                f"| {name}, {precision} | {rates[name, precision]} | {of_limit} "
                f"| {walls[name, precision]} | {share} |"
            )
    print(f"\n{chosen.images} images of {workload.SIZE_WH}, {chosen.rounds} rounds, medians (least - most)")


if __name__ == "__main__":
    main()
