"""The main job through the library call: real files, real Ray, figures recomputed by scikit-learn."""

from __future__ import annotations

import json
import os
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image
from sklearn.metrics import accuracy_score, f1_score, jaccard_score, precision_score, recall_score

import batchseg
from batchseg.config.base import METRICS
from batchseg.config.load import merge
from batchseg.schema import IMAGES

pytestmark = [pytest.mark.usefixtures("in_tasks")]

TWO_LEVELS = "classes: [{name: dark, truth_ids: [0]}, {name: bright, truth_ids: [1, 2]}]\n"


def config(images: Path, results: Path, **more: Any) -> batchseg.RunConfig:
    """A threshold run; `more` is laid over it."""
    base = {"source": {"path": str(images)}, "segmentor": "threshold", "output": {"path": str(results)}}
    return batchseg.load_config(overrides=merge(base, more))


def images_of(output: Path) -> list[dict]:
    return duckdb.sql(f"select * from '{output}/images/*.parquet' order by id").to_arrow_table().to_pylist()


@pytest.fixture
def scenes(tmp_path: Path) -> Path:
    """Six grey images in two folders with truth of two classes, some pixels ignored."""
    rng = np.random.default_rng(7)
    for index in range(6):
        folder = f"set_{index % 2}"
        height, width = 20 + index, 30 + 2 * index
        image = rng.integers(0, 256, (height, width), dtype=np.uint8)
        truth = (image > 100).astype(np.uint8)
        truth[:3] = 255
        for name, pixels in (("images", image), ("truth", truth)):
            path = tmp_path / name / folder / f"{index}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels).save(path)
    return tmp_path


def test_every_figure_equals_scikit_learn(scenes: Path, tmp_path: Path) -> None:
    output = tmp_path / "results"
    result = batchseg.run(config(scenes / "images", output, source={"truth": str(scenes / "truth")}))
    assert result.exit_code == 0
    assert result.statuses == {"ok": 6}
    rows = images_of(output)
    assert [row["id"] for row in rows] == [f"set_{i}/{j}.png" for i in (0, 1) for j in range(i, 6, 2)]
    for row in rows:
        mask = np.asarray(Image.open(output / row["mask"]))
        truth = np.asarray(Image.open(scenes / "truth" / row["id"]))
        assert mask.shape == (row["height"], row["width"]) == truth.shape
        counted = truth != 255
        expected = figures(truth[counted], mask[counted])
        assert {name: row[name] for name in METRICS} == pytest.approx(expected, abs=1e-12)
        assert row["truth_pixels"] == counted.sum()


def figures(truth: np.ndarray, predicted: np.ndarray) -> dict[str, float]:
    weighted, macro = ({"average": average, "zero_division": 0} for average in ("weighted", "macro"))
    return {
        "accuracy": accuracy_score(truth, predicted),
        "recall_weighted": recall_score(truth, predicted, **weighted),
        "f1_weighted": f1_score(truth, predicted, **weighted),
        "recall_macro": recall_score(truth, predicted, **macro),
        "f1_macro": f1_score(truth, predicted, **macro),
        "precision_macro": precision_score(truth, predicted, **macro),
        "mean_iou": jaccard_score(truth, predicted, average="macro", zero_division=0),
    }


def test_pixels_add_up_to_images_and_classes(scenes: Path, tmp_path: Path) -> None:
    output = tmp_path / "results"
    batchseg.run(config(scenes / "images", output, source={"truth": str(scenes / "truth")}))
    areas = duckdb.sql(f"select id, sum(pixels)::int from '{output}/pixels/*.parquet' group by id").fetchall()
    assert dict(areas) == {row["id"]: row["width"] * row["height"] for row in images_of(output)}
    classes = duckdb.sql(f"select * from '{output}/classes.parquet' order by class_id").to_arrow_table()
    truth, predicted = [], []
    for row in images_of(output):
        mask = np.asarray(Image.open(output / row["mask"])).ravel()
        ids = np.asarray(Image.open(scenes / "truth" / row["id"])).ravel()
        truth.append(ids[ids != 255])
        predicted.append(mask[ids != 255])
    all_truth, all_predicted = np.concatenate(truth), np.concatenate(predicted)
    for name, score in (("recall", recall_score), ("precision", precision_score), ("iou", jaccard_score)):
        assert classes[name].to_pylist() == pytest.approx(score(all_truth, all_predicted, average=None))
    assert classes["support"].to_pylist() == np.bincount(all_truth).tolist()


def test_without_truth_metrics_are_null_and_masks_are_there(scenes: Path, tmp_path: Path) -> None:
    result = batchseg.run(config(scenes / "images", tmp_path / "results"))
    rows = images_of(tmp_path / "results")
    assert result.exit_code == 0
    assert {row["has_truth"] for row in rows} == {False}
    assert {row[name] for row in rows for name in METRICS} == {None}
    assert all((tmp_path / "results" / row["mask"]).is_file() for row in rows)


def test_a_second_run_computes_only_what_is_new_or_changed(scenes: Path, tmp_path: Path) -> None:
    job = config(scenes / "images", tmp_path / "results", source={"truth": str(scenes / "truth")})
    batchseg.run(job)
    assert batchseg.run(job).statuses == {}
    changed = scenes / "images" / "set_0" / "0.png"
    Image.fromarray(np.full((20, 30), 200, np.uint8)).save(changed)
    shutil.copy(scenes / "images" / "set_0" / "2.png", scenes / "images" / "set_0" / "9.png")
    shutil.copy(scenes / "truth" / "set_0" / "2.png", scenes / "truth" / "set_0" / "9.png")
    again = batchseg.run(job)
    assert (again.statuses, again.done_before) == ({"ok": 2}, 5)
    rows = images_of(tmp_path / "results")
    assert len(rows) == len({row["id"] for row in rows}) == 7
    mask = np.asarray(Image.open(tmp_path / "results" / "masks" / "set_0" / "0.png"))
    assert (mask == 1).all()
    assert Counter(row["run_id"] for row in rows)[again.run_id] == 2


def test_another_model_is_refused_until_recompute(scenes: Path, tmp_path: Path) -> None:
    batchseg.run(config(scenes / "images", tmp_path / "results"))
    other = {"segmentor": {"kind": "threshold", "levels": [50]}}
    with pytest.raises(batchseg.BatchsegError, match=r"segmentor.levels: \[128\] -> \[50\]"):
        batchseg.run(config(scenes / "images", tmp_path / "results", **other))
    result = batchseg.run(config(scenes / "images", tmp_path / "results", recompute=True, **other))
    assert result.statuses == {"ok": 6}
    rows = images_of(tmp_path / "results")
    assert len(rows) == 6
    assert {row["fingerprint"] for row in rows} == {result.record["model"]["fingerprint"]}


def test_prune_removes_what_the_source_no_longer_has(scenes: Path, tmp_path: Path) -> None:
    batchseg.run(config(scenes / "images", tmp_path / "results"))
    gone, renamed = scenes / "images" / "set_0" / "0.png", scenes / "images" / "set_1" / "1.png"
    gone.unlink()
    renamed.rename(renamed.with_suffix(".bmp"))  # PNG by content, and of the same mask
    batchseg.run(config(scenes / "images", tmp_path / "results"))
    assert len(images_of(tmp_path / "results")) == 7
    result = batchseg.run(config(scenes / "images", tmp_path / "results", prune=True))
    assert result.record["images"]["pruned"] == 2
    rows = images_of(tmp_path / "results")
    assert [row["id"] for row in rows] == [
        "set_0/2.png", "set_0/4.png", "set_1/1.bmp", "set_1/3.png", "set_1/5.png"
    ]  # fmt: skip
    masks = sorted(path.name for path in (tmp_path / "results" / "masks").rglob("*.png"))
    assert masks == ["1.bmp.png", "2.png", "3.png", "4.png", "5.png"]  # as it came beside 1.png
    counted = duckdb.sql(f"select count(distinct id) from '{tmp_path}/results/pixels/*.parquet'").fetchall()
    assert counted == [(5,)]
    with pytest.raises(batchseg.BatchsegError, match=r"beyond source\.limit"):
        config(scenes / "images", tmp_path / "results", prune=True, source={"limit": 2})


def test_folder_and_manifest_give_the_same_tables(scenes: Path, tmp_path: Path) -> None:
    ids = sorted(str(path.relative_to(scenes / "images")) for path in (scenes / "images").rglob("*.png"))
    manifest = pa.table(
        {
            "id": ids,
            "image": [f"images/{name}" for name in ids],
            "truth": [f"truth/{name}" for name in ids],
            "camera": pa.array(range(len(ids)), pa.int16()),
        }
    )
    pq.write_table(manifest, scenes / "list.parquet")
    batchseg.run(config(scenes / "images", tmp_path / "a", source={"truth": str(scenes / "truth")}))
    batchseg.run(config(scenes / "list.parquet", tmp_path / "b"))
    # when and in which batch an image was computed differs from run to run by nature
    passing = ("run_id", "finished_at", "segment_s", "camera")
    a, b = (
        [{k: v for k, v in row.items() if k not in passing} for row in images_of(tmp_path / name)]
        for name in "ab"
    )
    assert a == b
    assert [row["camera"] for row in images_of(tmp_path / "b")] == list(range(6))
    for table in ("pixels/*", "classes"):
        sql = "select * from '{}/{}.parquet' order by all"
        first, second = (duckdb.sql(sql.format(tmp_path / name, table)).fetchall() for name in "ab")
        assert first == second


def test_bytes_in_a_manifest_are_read_in_place(scenes: Path, tmp_path: Path) -> None:
    paths = sorted((scenes / "images").rglob("*.png"))
    truths = [scenes / "truth" / path.relative_to(scenes / "images") for path in paths]
    table = pa.table(
        {
            "id": [path.stem for path in paths],
            "image_bytes": [path.read_bytes() for path in paths],
            "truth_bytes": [path.read_bytes() for path in truths],
        }
    )
    pq.write_table(table, tmp_path / "bytes.parquet", row_group_size=4)
    result = batchseg.run(config(tmp_path / "bytes.parquet", tmp_path / "results"))
    assert result.statuses == {"ok": 6}
    for path in paths:
        mask = np.asarray(Image.open(tmp_path / "results" / "masks" / f"{path.stem}.png"))
        assert np.array_equal(mask, np.asarray(Image.open(path)) >= 128)


def test_tables_have_the_documented_schema(scenes: Path, tmp_path: Path) -> None:
    batchseg.run(config(scenes / "images", tmp_path / "results"))
    part = next((tmp_path / "results" / "images").glob("*.parquet"))
    assert pq.read_schema(part).equals(IMAGES, check_metadata=False)
    record = json.loads((tmp_path / "results" / "run.json").read_text())
    assert record["status"] == "finished"
    assert record["computed"] == {"ok": 6}
    assert (tmp_path / "results" / "runs" / f"{record['run_id']}.json").is_file()


def test_gates_set_the_exit_code(scenes: Path, tmp_path: Path) -> None:
    job = {"source": {"truth": str(scenes / "truth")}}
    met = config(scenes / "images", tmp_path / "a", gates={"minimum": {"accuracy": 0.5}}, **job)
    missed = config(scenes / "images", tmp_path / "b", gates={"minimum": {"accuracy": 0.999}}, **job)
    assert batchseg.run(met).exit_code == 0
    result = batchseg.run(missed)
    assert result.exit_code == 4
    assert result.gates[0].startswith("accuracy is 0.8")


def test_names_that_share_a_mask(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    for name in ("a.bmp", "a.png", "b.png"):
        Image.fromarray(np.zeros((4, 4), np.uint8)).save(tmp_path / "images" / name)
    result = batchseg.run(config(tmp_path / "images", tmp_path / "stem"))
    assert (result.statuses, result.exit_code) == ({"ok": 3}, 0)
    assert result.record["images"]["full_names"] == 1
    assert sorted(os.listdir(tmp_path / "stem" / "masks")) == ["a.png", "a.png.png", "b.png"]
    full = config(tmp_path / "images", tmp_path / "full", output={"mask_name": "full"})
    assert batchseg.run(full).statuses == {"ok": 3}
    assert sorted(os.listdir(tmp_path / "full" / "masks")) == ["a.bmp.png", "a.png.png", "b.png.png"]


def test_truth_that_matches_nothing_names_both_sides(scenes: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    Image.fromarray(np.zeros((4, 4), np.uint8)).save(other / "unrelated.png")
    with pytest.raises(batchseg.BatchsegError, match=r"set_0/0.png.*unrelated.png.*--truth-suffix"):
        batchseg.run(config(scenes / "images", tmp_path / "results", source={"truth": str(other)}))


def test_truth_ids_outside_the_label_map_stop_the_job_before_it_starts(scenes: Path, tmp_path: Path) -> None:
    for path in (scenes / "truth").rglob("*.png"):
        Image.fromarray(np.full_like(np.asarray(Image.open(path)), 7)).save(path)
    with pytest.raises(batchseg.BatchsegError, match=r"id 7 \(600 pixels\)"):
        batchseg.run(config(scenes / "images", tmp_path / "results", source={"truth": str(scenes / "truth")}))


def test_faults_of_the_truth_leave_the_mask(scenes: Path, tmp_path: Path) -> None:
    truth = scenes / "truth"
    (truth / "set_0" / "0.png").unlink()
    (truth / "set_0" / "2.png").write_bytes(b"no image")
    Image.fromarray(np.zeros((3, 3), np.uint8)).save(truth / "set_0" / "4.png")
    Image.fromarray(np.full((21, 32), 9, np.uint8)).save(truth / "set_1" / "1.png")
    job = config(
        scenes / "images",
        tmp_path / "results",
        source={"truth": str(truth)},
        gates={"max_failed": "100%"},
        accept=["failing_truth"],
    )
    result = batchseg.run(job)
    expected = ["none", "unreadable", "mismatch", "out_of_range", "ok", "ok"]
    rows = images_of(tmp_path / "results")
    assert (result.exit_code, [row["truth_status"] for row in rows]) == (0, expected)
    assert result.statuses == {"ok": 3, "truth_mismatch": 1, "truth_out_of_range": 1, "truth_unreadable": 1}
    for row in rows:
        assert row["status"] == "ok"
        assert (tmp_path / "results" / row["mask"]).is_file()
        assert (row["error"] is None) == (row["truth_status"] in ("none", "ok"))
        assert (row["accuracy"] is None) == (row["truth_status"] != "ok")


def test_a_label_map_of_the_users_own(scenes: Path, tmp_path: Path) -> None:
    (tmp_path / "labels.yaml").write_text(TWO_LEVELS)
    job = config(scenes / "images", tmp_path / "results", labels=str(tmp_path / "labels.yaml"))
    batchseg.run(job)
    classes = pq.read_table(tmp_path / "results" / "classes.parquet")
    assert classes["class_name"].to_pylist() == ["dark", "bright"]
    (tmp_path / "three.yaml").write_text("classes: [a, b, c]\n")
    with pytest.raises(batchseg.BatchsegError, match="3 classes, but the model predicts 2"):
        batchseg.run(config(scenes / "images", tmp_path / "other", labels=str(tmp_path / "three.yaml")))


def test_dry_run_counts_and_writes_nothing(scenes: Path, tmp_path: Path) -> None:
    found = batchseg.dry_run(
        config(scenes / "images", tmp_path / "results", source={"truth": str(scenes / "truth")})
    )
    todo = {"done_before": 0, "to_segment": 6, "to_score": 0, "to_prune": 0}
    assert found["images"] == {"listed": 6, "with_truth": 6, "without_truth": 0, **todo}
    assert not (tmp_path / "results").exists()
