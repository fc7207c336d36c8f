"""Programs that take turns, so that a slow minute of the machine meets all of them."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from time import perf_counter

import numpy as np
from PIL import Image

EDGE = 0.1  # of the images at either end, where not every process is at work


@dataclass
class Figures:
    """What a contestant did, a value a round."""

    values: list[float] = field(default_factory=list)

    def add(self, value: float) -> None:
        self.values.append(value)

    @property
    def last(self) -> float:
        return self.values[-1]

    @property
    def median(self) -> float:
        return median(self.values)

    def __str__(self) -> str:
        return f"{self.median:.2f} ({min(self.values):.2f} - {max(self.values):.2f})"


def milliseconds(method: Callable[..., object], *given: object) -> float:
    """What a call takes."""
    start = perf_counter()
    method(*given)
    return 1000 * (perf_counter() - start)


def finish(words: Sequence[str | Path], checkout: Path | None = None) -> tuple[float, str]:
    """Seconds and output of a program that must succeed; what it says on the way is shown if it does not.

    Args:
        checkout: whose batchseg it is to use; None: the one that is found.
    """
    changed = {} if checkout is None else {"PYTHONPATH": str(checkout)}
    start = perf_counter()
    done = subprocess.run(
        [str(word) for word in words],
        capture_output=True,
        text=True,
        check=False,
        cwd=checkout,
        env={**os.environ, **changed},
    )
    if done.returncode:
        raise SystemExit(f"{' '.join(map(str, words))} ended with {done.returncode}:\n{done.stderr[-4000:]}")
    return perf_counter() - start, done.stdout


def steady_rate(masks: Path) -> float:
    """Masks a second between the first and the last tenth, by the times when the files were written."""
    times_N = np.sort([file.stat().st_mtime_ns / 1e9 for file in masks.glob("*.png")])
    edge = max(1, round(EDGE * len(times_N)))
    return float((len(times_N) - 2 * edge) / (times_N[-edge - 1] - times_N[edge - 1]))


def agreement(masks: Path, others: Path) -> float:
    """Share of the pixels that two folders of masks give the same class."""
    same = total = 0
    for file in sorted(masks.glob("*.png")):
        ours, theirs = (np.asarray(Image.open(folder / file.name)) for folder in (masks, others))
        same += int((ours == theirs).sum())
        total += ours.size
    return same / total


def noise() -> str:
    """How many others want the cores, by the kernel's count."""
    return f"load of the last minute {os.getloadavg()[0]:.2f} on {os.cpu_count()} cores"


def emptied(folder: Path) -> Path:
    """The folder, new."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return folder
