"""A folder that grows, changes and shrinks: only what is new is computed, and there is one row an image."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import duckdb
import numpy as np
import pytest
from PIL import Image

import batchseg
from batchseg.errors import OutputError
from batchseg.pipeline.run import dry_run
from batchseg.results.tally import Tally

pytestmark = [pytest.mark.usefixtures("in_tasks")]


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
    found = {"listed": 545, "done_before": 485, "segmented": 60, "scored": 0, "without_truth": 545}
    others = {"pruned": 0, "repainted": 0, "full_names": 0, "passed_over": {}, "decided": 0}
    assert record["images"] == {**found, **others}
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


@pytest.fixture
def three_classes(tmp_path: Path) -> Callable[..., batchseg.RunConfig]:
    """Makes jobs on four images in a folder whose results are those of three classes."""
    (tmp_path / "images").mkdir()
    for number in range(4):
        draw(tmp_path / "images", number, 250)
    (tmp_path / "images" / "broken.png").write_bytes(b"no image")

    def job(*levels: int, source: dict[str, object] | None = None, **more: object) -> batchseg.RunConfig:
        images = {"path": str(tmp_path / "images"), **(source or {})}
        parts = {"source": images, "output": str(tmp_path / "out"), **more}
        segmentor = {"kind": "threshold", "levels": levels}
        return batchseg.load_config(overrides={**parts, "segmentor": segmentor})

    batchseg.run(job(100, 200))
    return job


def classes_in(folder: Path) -> list[tuple[int, int]]:
    query = f"select predicted, sum(pixels) from '{folder}/out/pixels/*.parquet' group by 1 order by 1"
    return duckdb.sql(query).fetchall()


def test_rows_of_other_classes_do_not_stay_beside_new_ones(
    tmp_path: Path, three_classes: Callable[..., batchseg.RunConfig]
) -> None:
    (tmp_path / "images" / "0003.png").unlink()
    (tmp_path / "images" / "broken.png").unlink()  # its row has no classes
    for start in (batchseg.run, dry_run):
        with pytest.raises(
            OutputError, match=r"another model for 1 images that the source does not list; .* --prune"
        ):
            start(three_classes(100, recompute=True))
        with pytest.raises(
            OutputError,
            match=r"another model for 3 images beyond source\.limit or source\.sample; leave that",
        ):
            start(three_classes(100, recompute=True, source={"limit": 1}))
    assert classes_in(tmp_path) == [(2, 4 * 6 * 9)]
    record = batchseg.run(three_classes(100, recompute=True, prune=True)).record
    assert (record["computed"], record["images"]["pruned"]) == ({"ok": 3}, 2)
    assert classes_in(tmp_path) == [(1, 3 * 6 * 9)]


def test_nor_after_an_interrupt_or_without_a_record(
    tmp_path: Path, three_classes: Callable[..., batchseg.RunConfig]
) -> None:
    """What is replaced or pruned goes before work begins, rows and masks alike."""

    def interrupt(tally: Tally) -> None:
        raise KeyboardInterrupt

    half = {"include": ["0000.png", "0001.png"]}
    with pytest.raises(KeyboardInterrupt):
        batchseg.run(three_classes(100, recompute=True, source=half, prune=True), interrupt)
    assert not list((tmp_path / "out").glob("images/*.parquet"))
    assert not list((tmp_path / "out" / "masks").iterdir())
    (tmp_path / "out" / "run.json").unlink()
    result = batchseg.run(three_classes(100, source=half))
    assert (result.statuses, result.done_before) == ({"ok": 2}, 0)
    assert classes_in(tmp_path) == [(1, 2 * 6 * 9)]


def test_what_an_interrupted_change_left_is_of_one_model(
    tmp_path: Path, three_classes: Callable[..., batchseg.RunConfig]
) -> None:
    """So that the older model may go on as well as the newer one."""

    def interrupt(tally: Tally) -> None:
        if tally.done:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        batchseg.run(three_classes(100, recompute=True), interrupt)
    assert {predicted for predicted, _ in classes_in(tmp_path)} == {1}
    result = batchseg.run(three_classes(100, 200, recompute=True))
    assert result.statuses == {"ok": 4, "unreadable": 1}
    assert classes_in(tmp_path) == [(2, 4 * 6 * 9)]


def test_going_back_before_anything_was_computed_needs_no_recompute(
    tmp_path: Path, three_classes: Callable[..., batchseg.RunConfig]
) -> None:
    def interrupt(tally: Tally) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        batchseg.run(three_classes(100, recompute=True), interrupt)
    result = batchseg.run(three_classes(100, 200, source={"include": ["0000.png"]}))
    assert (result.done_before, result.statuses, result.exit_code) == (0, {"ok": 1}, 0)
    assert classes_in(tmp_path) == [(2, 6 * 9)]
