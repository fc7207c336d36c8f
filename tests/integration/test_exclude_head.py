"""`ray.exclude_head`: nothing of the job but its driver is on the head node."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from ray_nodes import environment

pytestmark = [pytest.mark.slow]


@pytest.fixture
def cluster() -> Iterator[Any]:
    """A head that says it has two GPUs, and one node with one."""
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 2, "num_gpus": 2})
    yield cluster
    cluster.shutdown()


def run(cluster: Any, folder: Path, *more: str) -> subprocess.CompletedProcess[str]:
    (folder / "notes").mkdir(exist_ok=True)
    command = [
        sys.executable,
        "-m",
        "batchseg",
        "run",
        str(folder / "images"),
        "--output",
        str(folder / "out"),
    ]
    command += ["--model", "placed_model:Placed", "--set", f"segmentor.options.notes={folder / 'notes'}"]
    command += ["--address", cluster.address, "--set", "ray.exclude_head=true", *more]
    env = environment(Path(__file__).parent)
    return subprocess.run(command, env=env, capture_output=True, text=True, timeout=240, check=False)


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_nothing_runs_on_the_head(cluster: Any, tmp_path: Path, device: str) -> None:
    (tmp_path / "images").mkdir()
    for index in range(20):
        Image.fromarray(np.full((8, 12), index, np.uint8)).save(tmp_path / "images" / f"{index}.png")
    alone = run(cluster, tmp_path)
    assert (alone.returncode, "no node but its head" in alone.stderr) == (2, True), alone.stderr
    node = cluster.add_node(num_cpus=2, num_gpus=1)
    cluster.wait_for_nodes()
    done = run(cluster, tmp_path, "--device", device, "--batch-size", "1")
    assert done.returncode == 0, done.stderr
    assert {path.name for path in (tmp_path / "notes").iterdir()} == {node.node_id}
