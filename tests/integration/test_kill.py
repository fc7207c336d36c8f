"""kill -9 of the driver, then the same command again, or of a worker: nothing is missing, doubled or torn."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
from PIL import Image
from processes import runs
from result_tables import mask_files, tables

pytestmark = [pytest.mark.slow]

IMAGES = 80


@dataclass
class Watched:
    """A results folder while a run is at work in it: what is new since the run began counts."""

    out: Path
    begun_ns: int = field(default_factory=time.time_ns)
    chunks: set[str] = field(default_factory=set)

    def fresh(self, path: Path) -> bool:
        with suppress(FileNotFoundError):
            return path.stat().st_mtime_ns >= self.begun_ns
        return False

    def count(self, folder: str, glob: str) -> int:
        return sum(map(self.fresh, (self.out / folder).rglob(glob)))


Point = Callable[[Watched], bool]


def masks(count: int) -> Point:
    return lambda watched: watched.count("masks", "*.png") >= count


def parts(table: str, count: int) -> Point:
    return lambda watched: watched.count(table, "*.parquet") >= count


def work(name: str) -> Point:
    return lambda watched: watched.count(".work", name) > 0


def chunks(count: int) -> Point:
    """So many chunks were begun: each leaves a note while it is under way."""

    def point(watched: Watched) -> bool:
        watched.chunks |= {path.name for path in (watched.out / ".work").glob("all-*.json")}
        return len(watched.chunks) >= count

    return point


BEFORE: dict[str, Point] = {
    "locked": lambda watched: (watched.out / ".lock").exists(),
    "listing": work("listing.arrow"),
    "planned": work("plan-*.arrow"),
    "begun": work("all-*.json"),
}
AFTER: dict[str, Point] = {
    "first pixels": parts("pixels", 1),
    "first commit": parts("images", 1),
    "summed up": lambda watched: watched.fresh(watched.out / "classes.parquet"),
}
POINTS: dict[str, Point] = {
    **BEFORE,
    "first mask": masks(1),
    "20 masks": masks(20),
    "40 masks": masks(40),
    "60 masks": masks(60),
    "all masks": masks(IMAGES),
    **AFTER,
}
# no mask is written when masks are only scored
SCORING: dict[str, Point] = {f"{count} chunks": chunks(count) for count in (2, 3, 4, 5, 6)}


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


def kill_at(words: list[str], out: Path, point: Point) -> None:
    watched = Watched(out)
    with subprocess.Popen(words) as process:
        while not point(watched) and runs(process):
            pass
        process.send_signal(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL, "it ended before it came to this point"


@pytest.mark.parametrize("point", POINTS)
def test_the_next_run_completes_what_was_killed(
    scenes: Path, undisturbed: Path, tmp_path: Path, point: str
) -> None:
    out = tmp_path / "out"
    kill_at(command(scenes, out), out, POINTS[point])
    subprocess.run(command(scenes, out), check=True)
    check_equal(out, undisturbed)


@pytest.fixture(scope="module")
def other_model(scenes: Path) -> Path:
    """Results of another model, to be computed again."""
    levels = ("--set", "segmentor.levels=[50]")
    subprocess.run(command(scenes, scenes / "other_model", *levels), check=True)
    return scenes / "other_model"


@pytest.mark.parametrize("point", POINTS)
def test_a_recompute_that_was_killed_is_completed_and_can_go_back(
    scenes: Path, undisturbed: Path, other_model: Path, tmp_path: Path, point: str
) -> None:
    out = tmp_path / "out"
    shutil.copytree(other_model, out)
    words = command(scenes, out, "--recompute")
    kill_at(words, out, POINTS[point])
    if point in ("20 masks", "first commit"):  # back to the model before, in place of going on
        levels = ("--set", "segmentor.levels=[50]", "--recompute")
        subprocess.run(command(scenes, out, *levels), check=True)
        check_equal(out, other_model)
        return
    subprocess.run(words, check=True)
    check_equal(out, undisturbed)


@pytest.fixture(scope="module")
def other_truth(scenes: Path) -> Path:
    """Results that were scored against another truth."""
    others, out = scenes / "other_truth", scenes / "scored_otherwise"
    for path in (scenes / "truth").rglob("*.png"):
        target = others / path.relative_to(scenes / "truth")
        target.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(1 - np.asarray(Image.open(path))).save(target)
    subprocess.run(command(scenes, out, "--set", f"source.truth={others}"), check=True)
    return out


@pytest.mark.parametrize("point", [*BEFORE, *SCORING, *AFTER])
def test_scoring_anew_that_was_killed_is_completed(
    scenes: Path, undisturbed: Path, other_truth: Path, tmp_path: Path, point: str
) -> None:
    out = tmp_path / "out"
    shutil.copytree(other_truth, out)
    kill_at(command(scenes, out), out, {**BEFORE, **SCORING, **AFTER}[point])
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


def kill_one(cluster: Any, title: str) -> bool:
    """A worker of this cluster, and of no other on the machine; Ray keeps in its title what it does now."""
    for node in cluster.list_all_nodes():
        for raylet in node.all_processes["raylet"]:
            with suppress(psutil.NoSuchProcess):  # it may have ended meanwhile
                for worker in psutil.Process(raylet.process.pid).children():
                    if " ".join(worker.cmdline()).startswith(title):
                        worker.kill()
                        return True
    return False


def kill_second_raylet(cluster: Any) -> bool:
    (node,) = cluster.worker_nodes
    cluster.remove_node(node, allow_graceful=False)
    return True


DEATHS: dict[str, tuple[str, Callable[[Any], bool]]] = {
    "an actor of the fused graph": ("cpu", lambda cluster: kill_one(cluster, "ray::MapWorker")),
    "the model's actor": ("cuda", lambda cluster: kill_one(cluster, "ray::MapWorker")),
    "a CPU worker": ("cuda", lambda cluster: kill_one(cluster, "ray::MapBatches")),
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
            while not masks(1)(Watched(out, 0)) and runs(process):
                pass
            struck = False
            while not struck and runs(process):
                struck = kill(cluster)
            assert process.wait(timeout=300) == 0
            assert struck, "it ended before anything was killed"
        finally:
            process.kill()
    check_equal(out, undisturbed)
