"""Masks and scores have keys of their own: what a truth brings is scored, and no model is asked."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pytest
from result_tables import mask_files, tables

import batchseg
from batchseg.inspect.verify import verify
from tests.image_files import put

pytestmark = [pytest.mark.usefixtures("in_tasks")]

IMAGES = 4


@pytest.fixture
def scene(tmp_path: Path) -> Path:
    """Images and truths; of the last image there is none."""
    rng = np.random.default_rng(3)
    for index in range(IMAGES):
        image = rng.integers(0, 256, (10, 14), dtype=np.uint8)
        put(tmp_path / "images" / f"{index}.png", image)
        if index < IMAGES - 1:
            put(tmp_path / "truth" / f"{index}.png", (image > 90).astype(np.uint8))
    return tmp_path


def run(scene: Path, truth: bool = True, output: str = "out", **more: Any) -> batchseg.RunResult:
    source = {"path": str(scene / "images"), **({"truth": str(scene / "truth")} if truth else {})}
    parts = {"source": source, "segmentor": "threshold", "output": str(scene / output)}
    return batchseg.run(batchseg.load_config(overrides={**parts, **more}))


def work(result: batchseg.RunResult) -> tuple[int, int, int]:
    """How many were segmented, were scored alone, and were done."""
    images = result.record["images"]
    return images["segmented"], images["scored"], images["done_before"]


def rows(scene: Path) -> dict[str, dict[str, Any]]:
    found = duckdb.sql(f"select * from '{scene}/out/images/*.parquet'").to_arrow_table().to_pylist()
    assert len({row["id"] for row in found}) == len(found) == IMAGES
    return {row["id"]: row for row in found}


def assert_as_if_run_at_once(scene: Path, **more: Any) -> None:
    run(scene, output="fresh", **more)
    assert tables(scene / "out") == tables(scene / "fresh")
    assert mask_files(scene / "out") == mask_files(scene / "fresh")
    assert verify(str(scene / "out")).counts == {}


def test_truth_that_comes_weeks_later_is_scored_without_the_model(scene: Path) -> None:
    assert work(run(scene, truth=False)) == (IMAGES, 0, 0)
    before = {name: row["segment_s"] for name, row in rows(scene).items()}
    masks = {path: path.stat().st_mtime_ns for path in (scene / "out" / "masks").iterdir()}
    result = run(scene)
    assert work(result) == (0, IMAGES - 1, 1)
    assert result.metrics["accuracy"] is not None
    after = rows(scene)
    assert {name: row["segment_s"] for name, row in after.items()} == before
    assert [after[f"{n}.png"]["truth_status"] for n in range(IMAGES)] == ["ok"] * (IMAGES - 1) + ["none"]
    assert {path: path.stat().st_mtime_ns for path in (scene / "out" / "masks").iterdir()} == masks
    assert work(run(scene)) == (0, 0, IMAGES)
    assert_as_if_run_at_once(scene)


def test_a_corrected_truth_is_scored_again_and_nothing_else(scene: Path) -> None:
    run(scene)
    put(scene / "truth" / "1.png", np.ones((10, 14), np.uint8), 2_000_000_000)
    assert work(run(scene)) == (0, 1, IMAGES - 1)
    assert rows(scene)["1.png"]["accuracy"] < 0.9
    assert_as_if_run_at_once(scene)


def test_a_truth_that_goes_takes_its_figures_along(scene: Path) -> None:
    run(scene)
    (scene / "truth" / "0.png").unlink()
    assert work(run(scene)) == (0, 1, IMAGES - 1)
    row = rows(scene)["0.png"]
    assert (row["status"], row["truth_status"], row["accuracy"], row["has_truth"]) == (
        "ok",
        "none",
        None,
        False,
    )
    assert_as_if_run_at_once(scene)


def test_other_truth_ids_are_another_score_and_the_same_mask(scene: Path) -> None:
    maps = {"same": "[{name: dark, truth_ids: [0]}, {name: light, truth_ids: [1]}]"}
    maps["swapped"] = "[{name: dark, truth_ids: [1]}, {name: light, truth_ids: [0]}]"
    for name, classes in maps.items():
        (scene / f"{name}.yaml").write_text(f"classes: {classes}\n")
    first = run(scene, labels=str(scene / "same.yaml"))
    second = run(scene, labels=str(scene / "swapped.yaml"))
    assert work(second) == (0, IMAGES - 1, 1)
    assert second.metrics["accuracy"] == pytest.approx(1 - first.metrics["accuracy"])
    assert second.record["score_fingerprint"] != first.record["score_fingerprint"]
    assert second.record["model"]["fingerprint"] == first.record["model"]["fingerprint"]
    assert_as_if_run_at_once(scene, labels=str(scene / "swapped.yaml"))


def test_a_fault_of_a_truth_is_tried_again_by_scoring_alone(scene: Path) -> None:
    (scene / "truth" / "2.png").write_bytes(b"no image")
    first = run(scene)
    assert first.statuses == {"ok": IMAGES - 1, "truth_unreadable": 1}
    again = run(scene)
    assert (work(again), again.statuses) == ((0, 1, IMAGES - 1), {"truth_unreadable": 1})
    put(scene / "truth" / "2.png", np.zeros((10, 14), np.uint8))
    mended = run(scene)
    assert (work(mended), mended.statuses) == ((0, 1, IMAGES - 1), {"ok": 1})
    assert_as_if_run_at_once(scene)


def test_an_image_that_changed_with_its_truth_is_done_once(scene: Path) -> None:
    run(scene)
    put(scene / "images" / "0.png", np.full((6, 7), 200, np.uint8), 2_000_000_000)
    put(scene / "truth" / "0.png", np.ones((6, 7), np.uint8), 2_000_000_000)
    assert work(run(scene)) == (1, 0, IMAGES - 1)
    assert rows(scene)["0.png"]["accuracy"] == 1.0
    assert_as_if_run_at_once(scene)


def test_a_mask_that_was_damaged_is_told_of_and_segmented_by_the_next_run(scene: Path) -> None:
    run(scene, truth=False)
    mask = scene / "out" / "masks" / "1.png"
    mask.write_bytes(mask.read_bytes()[:40])
    first = run(scene)
    assert (work(first), first.statuses) == ((0, IMAGES - 2, 1), {"ok": IMAGES - 2, "unreadable": 1})
    assert "so the next run segments the image again" in rows(scene)["1.png"]["error"]
    assert not mask.exists()  # no row names it
    assert work(run(scene)) == (1, 0, IMAGES - 1)
    assert_as_if_run_at_once(scene)
