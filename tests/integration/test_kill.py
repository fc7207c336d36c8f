"""kill -9 of the driver, then the same command again, or of a worker: nothing is missing, doubled or torn."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from processes import runs
from result_tables import mask_files, tables

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]

IMAGES = 80


def masks(count: int) -> Callable[[Path], bool]:
    return lambda out: sum(1 for _ in (out / "masks").rglob("*.png")) >= count


def parts(table: str, count: int) -> Callable[[Path], bool]:
    return lambda out: len(list((out / table).glob("*.parquet"))) >= count


POINTS: dict[str, Callable[[Path], bool]] = {
    "locked": lambda out: (out / ".lock").exists(),
    "listing": lambda out: (out / ".work" / "listing.arrow").exists(),
    "planned": lambda out: (out / ".work" / "plan-segment.arrow").exists(),
    "begun": lambda out: bool(list((out / ".work").glob("all-*.json"))),
    "first mask": masks(1),
    "20 masks": masks(20),
    "40 masks": masks(40),
    "60 masks": masks(60),
    "all masks": masks(IMAGES),
    "first pixels": parts("pixels", 1),
    "first commit": parts("images", 1),
    "summed up": lambda out: (out / "classes.parquet").exists(),
}


@pytest.fixture(scope="module")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder, rng = tmp_path_factory.mktemp("scenes"), np.random.default_rng(11)
    for index in range(IMAGES):
        image = rng.integers(0, 256, (300, 400), dtype=np.uint8)
        for name, pixels in (("images", image), ("truth", (image > 99).astype(np.uint8))):
            path = folder / name / f"{index % 4}" / f"{index:03d}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels).save(path)
    return folder


def command(scenes: Path, out: Path, *more: str) -> list[str]:
    words = [
        sys.executable,
        "-m",
        "batchseg",
        "run",
        str(scenes / "images"),
        "--truth",
        str(scenes / "truth"),
    ]
    return [*words, "--model", "threshold", "--precision", "fp32", "--output", str(out), "--quiet", *more]


@pytest.fixture(scope="module")
def undisturbed(scenes: Path) -> Path:
    subprocess.run(command(scenes, scenes / "undisturbed"), check=True)
    return scenes / "undisturbed"


@pytest.mark.parametrize("point", POINTS)
def test_the_next_run_completes_what_was_killed(
    scenes: Path, undisturbed: Path, tmp_path: Path, point: str
) -> None:
    out = tmp_path / "out"
    with subprocess.Popen(command(scenes, out)) as process:
        while not POINTS[point](out) and runs(process):
            pass
        process.send_signal(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL, "it ended before it came to this point"
    subprocess.run(command(scenes, out), check=True)
    check_equal(out, undisturbed)


def check_equal(out: Path, undisturbed: Path) -> None:
    assert tables(out) == tables(undisturbed)
    assert mask_files(out) == mask_files(undisturbed)
    subprocess.run([sys.executable, "-m", "batchseg", "verify", str(out)], check=True)


@pytest.fixture
def cluster() -> Iterator[Any]:
    """Two nodes with raylets of their own; the first says that it has a GPU, which `threshold` never uses."""
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 2, "num_gpus": 1})
    cluster.add_node(num_cpus=2)
    cluster.wait_for_nodes()
    yield cluster
    cluster.shutdown()


def processes(title: bytes) -> list[int]:
    """Ids of Ray's workers by what they do now, which Ray keeps in their title."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):  # it may have ended meanwhile
            if path.read_bytes().startswith(title):
                found.append(int(path.parent.name))
    return found


def kill_one(title: bytes) -> bool:
    for pid in processes(title):
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
            return True
    return False


def kill_second_raylet(cluster: Any) -> bool:
    (node,) = cluster.worker_nodes
    cluster.remove_node(node, allow_graceful=False)
    return True


DEATHS: dict[str, tuple[str, Callable[[Any], bool]]] = {
    "an actor of the fused graph": ("cpu", lambda cluster: kill_one(b"ray::MapWorker")),
    "the model's actor": ("cuda", lambda cluster: kill_one(b"ray::MapWorker")),
    "a CPU worker": ("cuda", lambda cluster: kill_one(b"ray::MapBatches")),
    "a node with actors": ("cpu", kill_second_raylet),
    "a node with CPU workers": ("cuda", kill_second_raylet),
}


@pytest.mark.parametrize("death", DEATHS)
def test_the_job_outlives_its_workers(
    scenes: Path, undisturbed: Path, tmp_path: Path, cluster: Any, death: str
) -> None:
    out, (device, kill) = tmp_path / "out", DEATHS[death]
    # batches of one picture, so that the kill falls into the middle
    more = ("--address", cluster.address, "--device", device, "--batch-size", "1")
    with subprocess.Popen(command(scenes, out, *more)) as process:
        try:
            while not masks(1)(out) and runs(process):
                pass
            struck = False
            while not struck and runs(process):
                struck = kill(cluster)
            assert process.wait(timeout=300) == 0
            assert struck, "it ended before anything was killed"
        finally:
            process.kill()
    check_equal(out, undisturbed)
