"""Whether cost and memory stay flat: `python -m tests.bench.scale`.

Tiny images and the `threshold` segmentor, so that what is left is the listing, the engine and the tables. The
cost an image is that of the steady state; memory is the highest that any one process ever had resident.
"""

from __future__ import annotations

import json
import subprocess
import sys
from contextlib import suppress
from io import BytesIO
from pathlib import Path
from tempfile import TemporaryDirectory

import click
import numpy as np
from PIL import Image

from tests.bench.contest import Figures, noise
from tests.bench.memory import family

LOOK_S = 0.5
A_FOLDER = 5000


def draw(folder: Path, count: int) -> None:
    """So many files of one small image."""
    data = BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (24, 32, 3), np.uint8)).save(data, "PNG")
    for number in range(count):
        if number % A_FOLDER == 0:
            below = folder / f"{number // A_FOLDER:04d}"
            below.mkdir(parents=True)
        (below / f"{number:07d}.png").write_bytes(data.getvalue())


def resident_mib(pid: int) -> tuple[str, float]:
    """A process's name, and the most memory it ever had resident."""
    status = Path(f"/proc/{pid}/status").read_text().splitlines()
    fields = dict(line.split(":", 1) for line in status)
    return fields["Name"].strip(), int(fields["VmHWM"].split()[0]) / 1024


def measure(images: Path, output: Path) -> tuple[dict[str, float], float, float]:
    """The timings of the run, and the peaks of the driver and of its largest worker in MiB."""
    words = [sys.executable, "-m", "batchseg", "run", images, "--model", "threshold", "--quiet"]
    driver_mib = worker_mib = 0.0
    with subprocess.Popen([*map(str, words), "--output", str(output)]) as process:
        while process.returncode is None:
            with suppress(subprocess.TimeoutExpired):
                process.wait(LOOK_S)
            for pid in family(process.pid):
                with suppress(OSError, KeyError):
                    name, mib = resident_mib(pid)
                    if pid == process.pid:
                        driver_mib = max(driver_mib, mib)
                    elif name.startswith("ray::"):
                        worker_mib = max(worker_mib, mib)
    if process.returncode:
        raise SystemExit(f"the run of {images} ended with {process.returncode}")
    return json.loads((output / "run.json").read_text())["timings"], driver_mib, worker_mib


@click.command(help=__doc__)
@click.option("--images", type=int, multiple=True, default=[2000, 20_000, 200_000], show_default=True)
@click.option("--rounds", default=3, show_default=True)
def main(images: tuple[int, ...], rounds: int) -> None:
    cost_ms, driver, worker = (
        {count: Figures() for count in images} for _ in ("ms an image", "driver", "largest worker")
    )
    for _ in range(rounds):
        for count in images:
            with TemporaryDirectory() as folder:
                draw(Path(folder) / "images", count)
                timings, driver_mib, worker_mib = measure(Path(folder) / "images", Path(folder) / "out")
            cost_ms[count].add(1000 / timings["steady_images_per_s"])
            driver[count].add(driver_mib)
            worker[count].add(worker_mib)
    print("| images | ms an image | driver, MiB | largest worker, MiB |")
    print("|---|---|---|---|")
    for count in images:
        print(f"| {count:,} | {cost_ms[count]} | {driver[count]} | {worker[count]} |")
    print(f"medians of {rounds} rounds (least - most); {noise()}")


if __name__ == "__main__":
    main()
