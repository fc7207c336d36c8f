"""One cluster of real processes for all tests of submission."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from ray_nodes import Nodes, ray_nodes
from submitting import IMAGES, MODELS, gated_job


@pytest.fixture(scope="session")
def nodes() -> Iterator[Nodes]:
    """A head without CPUs, and two nodes with one each and a resource of their own."""
    with ray_nodes(MODELS, token=True) as nodes:
        nodes.add(1, '{"left": 1}')
        nodes.add(1, '{"right": 1}')
        yield nodes


@pytest.fixture(scope="session")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder, rng = tmp_path_factory.mktemp("scenes"), np.random.default_rng(3)
    for index in range(IMAGES):
        image = rng.integers(0, 256, (60, 80), dtype=np.uint8)
        for name, pixels in (("images", image), ("truth", (image > 99).astype(np.uint8))):
            (folder / name).mkdir(exist_ok=True)
            Image.fromarray(pixels).save(folder / name / f"{index:03d}.png")
    return folder


@pytest.fixture
def gated(scenes: Path, tmp_path: Path) -> Path:
    """A job that waits in the middle, until its gate is opened."""
    return gated_job(scenes, tmp_path)
