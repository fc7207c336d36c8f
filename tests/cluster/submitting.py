"""What tests of `batchseg submit` have in common."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from time import monotonic
from typing import Any

import yaml
from processes import runs
from ray_nodes import ROOT, Nodes, environment

MODELS = Path(__file__).parent.parent / "integration"
IMAGES = 60


def job_file(scenes: Path, folder: Path, **more: Any) -> Path:
    """A job of threshold on the scenes; `more` is laid over it."""
    job = {
        "source": {"path": str(scenes / "images"), "truth": str(scenes / "truth")},
        "segmentor": {"kind": "threshold", "precision": "fp32"},
        "output": str(folder / "out"),
        **more,
    }
    (folder / "job.yaml").write_text(yaml.safe_dump(job))
    return folder / "job.yaml"


def words(*more: object) -> list[str]:
    return [sys.executable, "-m", "batchseg", "submit", *map(str, more)]


def submit(nodes: Nodes, *more: object, folder: Path = ROOT) -> subprocess.CompletedProcess[str]:
    """From a clean shell."""
    return subprocess.run(
        words("--address", nodes.address, *more),
        env={**environment(), **nodes.token},
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )


def start(nodes: Nodes, *more: object) -> subprocess.Popen[str]:
    """The same, to be watched; in a session of its own, so that it is alone in hearing its signals."""
    return subprocess.Popen(
        words("--address", nodes.address, *more),
        env={**environment(MODELS), **nodes.token},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def wait_for(happened: Callable[[], bool], process: subprocess.Popen[str]) -> None:
    deadline = monotonic() + 120
    while not happened():
        assert runs(process), process.communicate()
        assert monotonic() < deadline


def gated_job(scenes: Path, folder: Path) -> Path:
    """A job whose two actors wait after a quarter of the images each, until the gate is opened."""
    os.mkfifo(folder / "gate")
    options = {"gate": str(folder / "gate"), "images": IMAGES // 4}
    segmentor = {"model": "gated_model:Gated", "options": options, "actors": 2, "batch_size": 1}
    return job_file(scenes, folder, segmentor=segmentor)


def let_through(gate: Path) -> bool:
    """Let go who waits at the pipe, for one image; False if nobody does."""
    try:
        os.close(os.open(gate, os.O_WRONLY | os.O_NONBLOCK))
    except OSError:
        return False
    return True


def open_gate(folder: Path) -> None:
    """No gate blocks nobody; a plain file would count among the files of the model."""
    (folder / "gate").rename(folder / "old")
    while let_through(folder / "old"):
        pass


def masks(folder: Path) -> int:
    return sum(1 for _ in (folder / "out" / "masks").rglob("*.png"))
