"""A results folder opened in Python: tables as Arrow, masks as arrays."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image
from result_rows import failed, row, table

import batchseg
from batchseg.config.load import validate
from batchseg.errors import OutputError
from batchseg.results.folder import Results
from batchseg.schema import CLASSES, IMAGES, PIXELS

PARTS = [f"20260101T000000-aaaaaa-0000{index}.parquet" for index in range(3)]


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory, ray_session: None) -> Path:
    folder = tmp_path_factory.mktemp("opened")
    (folder / "images").mkdir()
    for index in range(3):
        Image.fromarray(np.full((5, 7), 100 * index, np.uint8)).save(folder / "images" / f"{index}.png")
    (folder / "images" / "broken.png").write_bytes(b"")
    config = {"source": str(folder / "images"), "segmentor": "threshold", "output": str(folder / "results")}
    batchseg.run(batchseg.load_config(overrides=config))
    return folder


@pytest.mark.parametrize("scheme", ["", "file://"])
def test_tables_masks_and_the_record(scene: Path, scheme: str) -> None:
    results = batchseg.open_results(f"{scheme}{scene}/results")
    assert (results.images.schema.names, len(results.images)) == (IMAGES.names, 4)
    assert (results.pixels.schema, len(results.pixels)) == (PIXELS, 3)
    assert results.classes.schema == CLASSES
    assert results.record is not None
    assert results.record["computed"] == {"ok": 3, "unreadable": 1}
    for index, label in enumerate((0, 0, 1)):
        ids_HW = results.mask(f"{index}.png")
        assert (ids_HW.dtype, ids_HW.tolist()) == (np.uint8, [[label] * 7] * 5)
    with pytest.raises(OutputError, match=r"holds no mask of broken.png; its status is unreadable"):
        results.mask("broken.png")
    with pytest.raises(OutputError, match=r"has no row of nowhere.png"):
        results.mask("nowhere.png")


def test_masks_of_sixteen_bits(tmp_path: Path) -> None:
    held = Results(str(tmp_path)).open()
    held.commit(PARTS[0], table(row("a", width=3, height=2)))
    labels_HW = np.array([[0, 300, 2], [65535, 1, 0]], np.uint16)
    (tmp_path / "masks").mkdir()
    Image.fromarray(labels_HW).save(tmp_path / "masks" / "a.png")
    ids_HW = batchseg.open_results(str(tmp_path)).mask("a")
    assert (ids_HW.dtype, ids_HW.tolist()) == (np.uint16, labels_HW.tolist())


def test_where_a_run_was_cut_off_the_later_row_counts(tmp_path: Path) -> None:
    held = Results(str(tmp_path)).open()
    held.commit(PARTS[0], table(row("a", {(0, 0): 6}), row("b", {(0, 0): 6}), failed("c")))
    held.commit(PARTS[1], table(row("a", {(0, 1): 6}, run_id="later")))
    results = batchseg.open_results(str(tmp_path))
    assert sorted(results.images["id"].to_pylist()) == ["a", "b", "c"]
    assert sorted((each["id"], each["predicted"]) for each in results.pixels.to_pylist()) == [
        ("a", 1),
        ("b", 0),
    ]
    assert results.record is None
    with pytest.raises(OutputError, match=r"classes.parquet: cannot be read"):
        _ = results.classes


def test_nothing_is_read_before_it_is_asked_for(tmp_path: Path) -> None:
    held = Results(str(tmp_path)).open()
    held.commit(PARTS[0], table(row("a")))
    (tmp_path / "images" / PARTS[1]).write_bytes(b"no table")
    results = batchseg.open_results(str(tmp_path))
    with pytest.raises(OutputError, match="cannot be read"):
        _ = results.images


def test_columns_of_a_manifest_stand_to_the_right(tmp_path: Path) -> None:
    held = Results(str(tmp_path)).open()
    held.commit(PARTS[0], table({**row("a"), "site": "north"}, carried=pa.schema([("site", pa.string())])))
    held.commit(PARTS[1], table(row("b")))
    results = batchseg.open_results(str(tmp_path))
    assert results.images.select(["id", "site"]).to_pylist() == [
        {"id": "a", "site": "north"},
        {"id": "b", "site": None},
    ]


def test_columns_of_manifests_whose_types_clash_are_a_sentence(tmp_path: Path) -> None:
    held = Results(str(tmp_path)).open()
    held.commit(PARTS[0], table({**row("a"), "site": "north"}, carried=pa.schema([("site", pa.string())])))
    held.commit(PARTS[1], table({**row("b"), "site": 7}, carried=pa.schema([("site", pa.int64())])))
    results = batchseg.open_results(str(tmp_path))
    with pytest.raises(OutputError, match=r"images: a column of the manifests .*site has incompatible types"):
        _ = results.images


def test_results_of_before_there_was_a_column_for_it(tmp_path: Path) -> None:
    held = Results(str(tmp_path)).open()
    held.commit(PARTS[0], table(row("a")))
    path = tmp_path / "images" / PARTS[0]
    pq.write_table(pq.read_table(path, partitioning=None).drop_columns(["acknowledged"]), path)
    assert batchseg.open_results(str(tmp_path)).images["acknowledged"].null_count == 1
    assert batchseg.verify(str(tmp_path), quick=True).acknowledged == 0
    Results(str(tmp_path)).open()
    assert pq.read_schema(path).names == IMAGES.names  # a run brings it to today's


def test_what_is_no_results_folder_is_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="holds no results"):
        batchseg.open_results(str(tmp_path))


def test_masks_that_were_only_scored_are_where_they_were(scene: Path, tmp_path: Path) -> None:
    (tmp_path / "labels.yaml").write_text("classes: [dark, bright]")
    masks = str(scene / "results" / "masks")
    config = {
        "masks": masks,
        "truth": masks,
        "labels": str(tmp_path / "labels.yaml"),
        "output": str(tmp_path / "s"),
    }
    batchseg.evaluate(validate(batchseg.EvaluateConfig, config, "the test"))
    with pytest.raises(OutputError, match=r"holds no mask of 0.png; its mask is .*results/masks/0.png"):
        batchseg.open_results(str(tmp_path / "s")).mask("0.png")
