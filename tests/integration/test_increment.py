"""A folder that grows, changes and shrinks: only what is new is computed, and there is one row an image."""

from __future__ import annotations

import json
import os
from pathlib import Path

import duckdb
import numpy as np
import pytest
from PIL import Image

import batchseg
from batchseg.errors import OutputError
from batchseg.pipeline import dry_run

pytestmark = [pytest.mark.usefixtures("ray_session"), pytest.mark.filterwarnings("ignore")]


def draw(folder: Path, number: int, level: int) -> None:
    Image.fromarray(np.full((6, 9), level, np.uint8)).save(folder / f"{number:04d}.png")


def night(folder: Path, *, prune: bool = False) -> dict:
    config = batchseg.load_config(
        overrides={
            "source": str(folder / "images"),
            "segmentor": "threshold",
            "output": str(folder / "out"),
            "prune": prune,
        }
    )
    assert batchseg.run(config).exit_code == 0
    return json.loads((folder / "out" / "run.json").read_text())


def test_only_what_is_new_or_changed_is_computed(tmp_path: Path) -> None:
    images = tmp_path / "images"
    images.mkdir()
    for number in range(500):
        draw(images, number, 10)
    assert night(tmp_path)["computed"] == {"ok": 500}
    for number in range(500, 550):
        draw(images, number, 10)
    for number in range(10):
        draw(images, number, 200)
        os.utime(images / f"{number:04d}.png", (2e9, 2e9))
    for number in range(100, 105):
        (images / f"{number:04d}.png").unlink()

    record = night(tmp_path)
    assert record["computed"] == {"ok": 60}
    assert record["images"] == {"listed": 545, "done_before": 485, "pruned": 0}
    rows = f"from '{tmp_path}/out/images/*.parquet'"
    assert duckdb.sql(f"select count(*), count(distinct id) {rows}").fetchall() == [(550, 550)]
    changed = f"select sum(pixels) from '{tmp_path}/out/pixels/*.parquet' where predicted = 1"
    assert duckdb.sql(changed).fetchall() == [(10 * 6 * 9,)]

    record = night(tmp_path, prune=True)
    assert record["computed"] == {}
    assert record["placement"] is None
    assert record["images"]["pruned"] == 5
    assert duckdb.sql(f"select count(*), count(distinct id) {rows}").fetchall() == [(545, 545)]
    assert sum(1 for _ in (tmp_path / "out" / "masks").iterdir()) == 545

    draw(images, 600, 10)
    record = night(tmp_path)
    assert record["computed"] == {"ok": 1}
    assert record["placement"]["actors"] == 1  # one image does not load the model twice


def test_rows_of_other_classes_do_not_stay_beside_new_ones(tmp_path: Path) -> None:
    images, out = tmp_path / "images", tmp_path / "out"
    images.mkdir()
    for number in range(4):
        draw(images, number, 250)

    def job(*levels: int, **more: object) -> batchseg.RunConfig:
        parts = {"source": str(images), "segmentor": {"kind": "threshold", "levels": levels}}
        return batchseg.load_config(overrides={**parts, "output": str(out), **more})

    batchseg.run(job(100, 200))
    (images / "0003.png").unlink()
    before = [path.name for path in (out / "images").iterdir()]
    for start in (batchseg.run, dry_run):
        with pytest.raises(OutputError, match=r"rows of 1 images that are not in the source.* --prune"):
            start(job(100, recompute=True))
    assert [path.name for path in (out / "images").iterdir()] == before

    record = batchseg.run(job(100, recompute=True, prune=True)).record
    assert (record["computed"], record["images"]["pruned"]) == ({"ok": 3}, 1)
    counts = duckdb.sql(f"select predicted, sum(pixels) from '{out}/pixels/*.parquet' group by 1").fetchall()
    assert counts == [(1, 3 * 6 * 9)]
