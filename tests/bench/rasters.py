"""Large rasters, their memory, how busy the actors are, what kill -9 costs: `python -m tests.bench.rasters`.

It makes a raster of each side with truth, georeferenced and of 11 classes, and computes it with two actors.
The largest is computed once more: an actor is killed after a third of the parts, the driver after two thirds,
and the same command is given again.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from threading import Event, Thread
from time import perf_counter

import click
import numpy as np
import psutil
import rasterio
from rasterio.crs import CRS
from rasterio.transform import Affine

CLASSES, BLOCK, BAND = 11, 40, 2048
SAMPLE_S = 0.25
MODEL = f"{Path(__file__).parent / 'raster_model.py'}:Cells"
PLACE = {"crs": CRS.from_epsg(32632), "transform": Affine(0.5, 0, 5e5, 0, -0.5, 5e6)}
LAYOUT = {"tiled": True, "blockxsize": 512, "blockysize": 512, "compress": "deflate", "zlevel": 1}


def make(folder: Path, side: int) -> Path:
    """images/a.tif and truth/a.tif, a band of rows at a time."""
    size = {"driver": "GTiff", "height": side, "width": side, "dtype": "uint8", **PLACE, **LAYOUT}
    for name in ("images", "truth"):
        (folder / name).mkdir(parents=True)
    with (
        rasterio.open(folder / "images/a.tif", "w", count=3, photometric="rgb", **size) as images,
        rasterio.open(folder / "truth/a.tif", "w", count=1, nodata=255, **size) as truths,
    ):
        for top in range(0, side, BAND):
            rows = min(BAND, side - top)
            y, x = np.arange(top, top + rows) // BLOCK, np.arange(side) // BLOCK
            classes = ((y[:, None] * 2_654_435_761 + x * 40_503) >> 7) % CLASSES
            window = ((top, top + rows), (0, side))
            truths.write(classes.astype(np.uint8)[None], window=window)
            levels = (classes * 255 // (CLASSES - 1)).astype(np.uint8)
            images.write(np.broadcast_to(levels, (3, *levels.shape)), window=window)
    return folder


@dataclass
class Watch:
    """The memory of a process and all that it started, in bytes, while it runs; shared pages count once."""

    process: psutil.Process
    peak: int = 0

    def __enter__(self) -> Watch:
        self.stop = Event()
        self.thread = Thread(target=self._look, daemon=True)
        self.thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop.set()
        self.thread.join()

    def _look(self) -> None:
        while not self.stop.wait(SAMPLE_S):
            self.peak = max(self.peak, sum(map(_pss, family(self.process))))


def family(process: psutil.Process) -> list[psutil.Process]:
    with suppress(psutil.NoSuchProcess):
        return [process, *process.children(recursive=True)]
    return []


def _pss(process: psutil.Process) -> int:
    with suppress(OSError):
        for line in Path(f"/proc/{process.pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) * 1024
    return 0


def command(folder: Path, out: str, notes: str) -> list[str]:
    (folder / notes).mkdir(exist_ok=True)
    job = {
        "source": {"path": str(folder / "images"), "truth": str(folder / "truth")},
        "segmentor": {
            "kind": "custom",
            "model": MODEL,
            "actors": 2,
            "options": {"notes": str(folder / notes)},
        },
        "output": str(folder / out),
        "tiling": 512,
    }
    (folder / f"{out}.yaml").write_text(json.dumps(job))
    return [sys.executable, "-m", "batchseg", "run", "--config", str(folder / f"{out}.yaml"), "--quiet"]


def windows(folder: Path, notes: str) -> int:
    return sum(path.stat().st_size for path in (folder / notes).iterdir())


def measure(folder: Path, side: int) -> int:
    """Compute a raster undisturbed, and print what it took; the peak of memory."""
    begun = perf_counter()
    process = subprocess.Popen(command(folder, "whole", "windows"))
    with Watch(psutil.Process(process.pid)) as watch:
        assert process.wait() == 0
    record = json.loads((folder / "whole/run.json").read_text())
    parts = record["parts"]
    print(
        f"{side:,} x {side:,}: {perf_counter() - begun:.0f} s, of which parts {parts['elapsed_s']:.0f} s; "
        f"{parts['computed']} parts, {windows(folder, 'windows'):,} windows; actors at work "
        f"{parts['utilisation']:.1%}; peak {watch.peak / 2**20:,.0f} MiB; accuracy "
        f"{record['metrics']['accuracy']:.4f}; stages {json.dumps(record['timings']['stage_s'])}",
        flush=True,
    )
    return watch.peak


def kept(folder: Path) -> int:
    return len(list((folder / "killed/.parts").rglob("*.npz")))


def disturb(folder: Path) -> None:
    """Kill an actor and then the driver of a run, go on, and print what was computed twice."""
    words = command(folder, "killed", "seen")
    total = json.loads((folder / "whole/run.json").read_text())["parts"]["computed"]
    process = subprocess.Popen(words)
    driver = psutil.Process(process.pid)
    wait_for(process, lambda: kept(folder) >= total / 3)
    actors = [each for each in family(driver) if _title(each).startswith("ray::MapWorker")]
    actors[0].kill()
    wait_for(process, lambda: kept(folder) >= total * 2 / 3)
    others = family(driver)
    process.kill()
    psutil.wait_procs(others, timeout=120)  # Ray ends them, now that their driver is gone
    before = kept(folder)
    assert subprocess.run(words, check=False).returncode == 0
    parts = json.loads((folder / "killed/run.json").read_text())["parts"]
    once, all_told = windows(folder, "windows"), windows(folder, "seen")
    same = (folder / "whole/masks/a.tif").read_bytes() == (folder / "killed/masks/a.tif").read_bytes()
    print(
        f"killed: {before} of {total} parts lay there, {parts['kept']} were kept and {parts['computed']} "
        f"computed; {all_told - once:,} windows were computed again, {(all_told - once) * total / once:.2f} "
        f"parts' worth; the mask is {'byte-equal' if same else 'ANOTHER'}"
    )


def _title(process: psutil.Process) -> str:
    with suppress(psutil.NoSuchProcess):
        return " ".join(process.cmdline())
    return ""


def wait_for(process: subprocess.Popen[bytes], until: Callable[[], bool]) -> None:
    while not until():
        with suppress(subprocess.TimeoutExpired):
            process.wait(SAMPLE_S)
            raise SystemExit("the run ended before it was killed")


@click.command(help=__doc__)
@click.option(
    "--side", "sides", type=click.IntRange(4097), multiple=True, default=(10_000, 30_000), show_default=True
)
@click.option("--folder", type=click.Path(path_type=Path), help="Where the rasters are made, and stay.")
def main(sides: tuple[int, ...], folder: Path | None) -> None:
    root = folder or Path(tempfile.mkdtemp(prefix="batchseg-rasters-"))
    peaks = {side: measure(make(root / f"{side}", side), side) for side in sorted(sides)}
    low, *_, high = [peaks[side] for side in sorted(peaks)] * 2
    print(f"peak memory: {high / low:.2f} times that of the smallest", flush=True)
    disturb(root / f"{max(peaks)}")
    if folder is None:
        shutil.rmtree(root)


if __name__ == "__main__":
    main()
