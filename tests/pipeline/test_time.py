"""Slow images: chunks end when their time is up, and what is left over is computed all the same."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from result_tables import mask_files, tables

import batchseg
from batchseg.config.run import RunConfig
from batchseg.engine import graph
from batchseg.engine.placement import Placement
from batchseg.pipeline import execute
from batchseg.results.folder import Held

IMAGES = 30

pytestmark = [pytest.mark.usefixtures("ray_session")]


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    (tmp_path / "images").mkdir()
    for index in range(IMAGES):
        grey = np.random.default_rng(index).integers(0, 256, (6, 8), np.uint8)
        Image.fromarray(grey).save(tmp_path / "images" / f"{index:02}.png")
    return tmp_path / "images"


def job(photos: Path, name: str) -> RunConfig:
    output = str(photos.parent / name)
    return batchseg.load_config(overrides={"source": str(photos), "segmentor": "threshold", "output": output})


@pytest.mark.parametrize("kept_in_actors", [True, False])
def test_images_that_are_left_over_are_computed_by_another_plan(
    photos: Path, monkeypatch: pytest.MonkeyPatch, kept_in_actors: bool
) -> None:
    monkeypatch.setattr(graph, "KEPT_IN_ACTORS", kept_in_actors)
    batchseg.run(job(photos, "whole"))
    commits: list[int] = []
    real = Held.commit

    def counted(self: Held, part: str, rows: object) -> None:
        commits.append(len(rows))  # type: ignore[arg-type]
        real(self, part, rows)

    monkeypatch.setattr(Held, "commit", counted)
    # one image a chunk, whatever its size: as if each took longer than a chunk may
    monkeypatch.setattr(graph, "CHUNK_S", 0.0)
    monkeypatch.setattr(execute, "CHUNK_S", 0.0)
    monkeypatch.setattr(Placement, "chunk_rows", lambda self, images: IMAGES // 3)
    result = batchseg.run(job(photos, "cut"))
    assert (result.statuses, sum(commits)) == ({"ok": IMAGES}, IMAGES)
    assert len(commits) > 1  # what came out of the first chunks was committed before the others
    assert tables(photos.parent / "cut") == tables(photos.parent / "whole")
    assert mask_files(photos.parent / "cut") == mask_files(photos.parent / "whole")
