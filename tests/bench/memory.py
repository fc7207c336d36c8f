"""Peak memory over folders of huge and of tiny images: `python -m tests.bench.memory`.

The peak is of all processes of the run together, Ray's own among them, with shared pages counted once; it is
looked at ten times a second.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from contextlib import suppress
from pathlib import Path
from time import perf_counter

import click
import numpy as np
from PIL import Image

from tests.bench import workload

LOOK_S = 0.1
HUGE_HW = (10_000, 10_000)
TINY_HW = (48, 64)


def draw(folder: Path, count: int, size_hw: tuple[int, int], suffix: str) -> None:
    folder.mkdir()
    height, width = size_hw
    rng = np.random.default_rng(0)
    blocks = Image.fromarray(rng.integers(0, 256, (25, 25, 3), dtype=np.uint8))
    picture = blocks.resize((width, height), Image.Resampling.NEAREST)
    for number in range(count):
        picture.save(folder / f"{number:05d}{suffix}")


def family(root: int) -> set[int]:
    """A process and all that it started."""
    parents: dict[int, int] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            parents[int(stat.parent.name)] = int(stat.read_text().rpartition(")")[2].split()[1])
    found, more = set(), {root}
    while more:
        found |= more
        more = {pid for pid, parent in parents.items() if parent in more} - found
    return found


def memory_mib(root: int) -> float:
    """Proportional set size of a process and all that it started."""
    total = 0
    for pid in family(root):
        with suppress(OSError, StopIteration):
            lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
            total += int(next(line for line in lines if line.startswith("Pss:")).split()[1])
    return total / 1024


def peak(words: list[str]) -> tuple[float, float]:
    """Seconds, and peak memory in MiB."""
    start, most = perf_counter(), 0.0
    with subprocess.Popen(words) as process:
        while process.returncode is None:
            with suppress(subprocess.TimeoutExpired):
                process.wait(LOOK_S)
            most = max(most, memory_mib(process.pid))
    if process.returncode:
        raise SystemExit(f"{' '.join(words)} ended with {process.returncode}")
    return perf_counter() - start, most


@click.command(help=__doc__)
@click.option("--huge", default=8, help="TIFFs of 100 megapixels.")
@click.option("--tiny", default=4000, help="Thumbnails.")
@click.option("--classes", type=int, help="A SegFormer-B0 of so many classes instead of `threshold`.")
@click.option("--actors", default=2, help="Copies of the model.")
def main(huge: int, tiny: int, classes: int | None, actors: int) -> None:
    model = str(workload.many_classes(classes)) if classes else "threshold"
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        draw(folder / "huge", huge, HUGE_HW, ".tif")
        draw(folder / "tiny", tiny, TINY_HW, ".png")
        for kind, count in (("tiny", tiny), ("huge", huge)):
            if count:
                run = [sys.executable, "-m", "batchseg", "run", str(folder / kind), "--model", model]
                run += ["--actors", str(actors), "--output", str(folder / f"{kind}-out"), "--quiet"]
                seconds, most = peak(run)
                print(f"{kind}: {count} images, {seconds:.0f} s, peak {most:.0f} MiB")


if __name__ == "__main__":
    main()
