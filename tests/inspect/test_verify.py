"""Verify: every kind of damage is named, and after --repair and another run none is left."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner
from crashes import Killed, killed_at
from PIL import Image
from result_tables import tables

import batchseg
from batchseg.cli.group import cli
from batchseg.config.load import validate
from batchseg.errors import OutputError
from batchseg.inspect.verify import verify
from batchseg.results.folder import Results
from batchseg.results.rewrite import replace_parts
from batchseg.results.tables import read_part

pytestmark = [pytest.mark.usefixtures("in_tasks")]


def run(folder: Path, **more: Any) -> None:
    """Six images of 12 x 8 and one that cannot be read; truth for all, one of another size."""
    batchseg.run(
        batchseg.load_config(
            overrides={
                "source": {"path": str(folder / "images"), "truth": str(folder / "truth"), **more},
                "segmentor": "threshold",
                "output": {"path": str(folder / "results")},
                "gates": {"max_failed": "100%"},
            }
        )
    )


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("verified")
    rng = np.random.default_rng(5)
    for index in range(6):
        pixels = rng.integers(0, 256, (8, 12), dtype=np.uint8)
        truth = (pixels[: 7 if index == 5 else 8] > 90).astype(np.uint8)
        truth[0] = 255
        for name, picture in (("images", pixels), ("truth", truth)):
            path = folder / name / f"set_{index % 2}" / f"{index}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(picture).save(path)
    (folder / "images" / "broken.png").write_bytes(b"no image")
    (folder / "truth" / "broken.png").write_bytes(b"no truth")
    run(folder)
    return folder


@pytest.fixture
def scene(original: Path, tmp_path: Path) -> Path:
    """A copy at another place, so that each test does its own damage."""
    shutil.copytree(original, tmp_path, dirs_exist_ok=True)
    return tmp_path


MASK = "masks/set_0/2.png"


def part(results: Path, table: str) -> Path:
    return min((results / table).glob("*.parquet"))


def rewrite(path: Path, change: Callable[[pa.Table], pa.Table]) -> None:
    pq.write_table(change(pq.read_table(path, partitioning=None)), path)


def set_value(table: pa.Table, column: str, row: int, value: Any) -> pa.Table:
    values = table[column].to_pylist()
    values[row] = value
    field = table.schema.field(column)
    return table.set_column(table.schema.get_field_index(column), field, pa.array(values, field.type))


def delete_mask(results: Path) -> None:
    (results / MASK).unlink()


def truncate_mask(results: Path) -> None:
    data = (results / MASK).read_bytes()
    (results / MASK).write_bytes(data[: len(data) - 40])


def shrink_mask(results: Path) -> None:
    picture = Image.open(results / MASK)
    picture.crop((0, 0, 11, 8)).save(results / MASK)


def change_pixel(results: Path, value: int | None = None) -> None:
    picture = Image.open(results / MASK)
    before = picture.getpixel((3, 3))
    picture.putpixel((3, 3), 1 - before if value is None else value)
    picture.save(results / MASK)


def strange_pixel(results: Path) -> None:
    change_pixel(results, 77)


def colour_mask(results: Path) -> None:
    Image.open(results / MASK).convert("RGB").save(results / MASK)


def add_mask(results: Path) -> None:
    shutil.copy(results / MASK, results / "masks" / "set_1" / "stranger.png")


def mask_of_failed(results: Path) -> None:
    shutil.copy(results / MASK, results / "masks" / "broken.png")


def delete_pixels(results: Path) -> None:
    part(results, "pixels").unlink()


def delete_images(results: Path) -> None:
    part(results, "images").unlink()


def corrupt_images(results: Path) -> None:
    part(results, "images").write_bytes(b"PAR1 and nothing else")


def foreign_table(results: Path) -> None:
    rewrite(part(results, "images"), lambda table: table.drop_columns(["status"]))


def duplicate_row(results: Path) -> None:
    rewrite(part(results, "images"), lambda table: pa.concat_tables([table, table.slice(0, 1)]))


def forget_row(results: Path) -> None:
    rewrite(
        part(results, "images"),
        lambda table: table.filter(pa.array([index != ok_row(table) for index in range(len(table))])),
    )


def lose_pixels(results: Path) -> None:
    rewrite(part(results, "pixels"), lambda table: table.slice(1))


def impossible_class(results: Path) -> None:
    rewrite(part(results, "pixels"), lambda table: set_value(table, "predicted", 0, 9))


def wrong_truth(results: Path) -> None:
    def change(table: pa.Table) -> pa.Table:
        row = table["truth"].to_pylist().index(1)
        return set_value(table, "truth", row, None)

    rewrite(part(results, "pixels"), change)


def no_size(results: Path) -> None:
    rewrite(part(results, "images"), lambda table: set_value(table, "width", ok_row(table), None))


def no_mask_named(results: Path) -> None:
    rewrite(part(results, "images"), lambda table: set_value(table, "mask", ok_row(table), None))


def escape(results: Path) -> None:
    """A row that names a file outside the folder: it is never read, nor removed."""
    (results.parent / "precious.txt").write_text("precious")
    rewrite(part(results, "images"), lambda table: set_value(table, "mask", ok_row(table), "../precious.txt"))


def share_mask(results: Path) -> None:
    def change(table: pa.Table) -> pa.Table:
        rows = [row for row, mask in enumerate(table["mask"].to_pylist()) if mask][:2]
        return set_value(table, "mask", rows[1], table["mask"][rows[0]].as_py())

    rewrite(part(results, "images"), change)


def ok_row(table: pa.Table) -> int:
    return table["status"].to_pylist().index("ok")


def change_classes(results: Path) -> None:
    rewrite(results / "classes.parquet", lambda table: set_value(table, "support", 1, 12345))


def rename_class(results: Path) -> None:
    rewrite(results / "classes.parquet", lambda table: set_value(table, "class_name", 1, "other"))


def delete_classes(results: Path) -> None:
    (results / "classes.parquet").unlink()


def delete_record(results: Path) -> None:
    (results / "run.json").unlink()


def garble_record(results: Path) -> None:
    (results / "run.json").write_text("{")


def foreign_record(results: Path) -> None:
    (results / "run.json").write_text('{"run_id": "x", "images": {}, "model": {"classes": [1, 2]}}')


def interrupted(results: Path) -> None:
    record = json.loads((results / "run.json").read_text())
    (results / "run.json").write_text(json.dumps({**record, "status": "interrupted"}))


DAMAGE = [
    (delete_mask, {"mask_missing": 1}),
    (truncate_mask, {"mask_unreadable": 1}),
    (shrink_mask, {"mask_size": 1}),
    (change_pixel, {"mask_counts": 1}),
    (strange_pixel, {"mask_values": 1}),
    (colour_mask, {"mask_values": 1}),
    (add_mask, {"mask_stray": 1}),
    (mask_of_failed, {"mask_stray": 1}),
    (delete_pixels, {"part", "mask_stray", "record", "classes"}),
    (delete_images, {"part", "mask_stray", "record", "classes"}),
    (corrupt_images, {"part", "mask_stray", "record", "classes"}),
    (foreign_table, {"part", "mask_stray", "record", "classes"}),
    (duplicate_row, {"id": 2}),
    (forget_row, {"part", "mask_stray", "record"}),
    (lose_pixels, {"counts": 1, "classes": 1}),
    (impossible_class, {"counts": 1, "classes": 1}),
    (wrong_truth, {"counts": 1, "classes": 1}),
    (no_size, {"row": 1}),
    (no_mask_named, {"row": 1, "mask_stray": 1}),
    (escape, {"mask_missing": 1, "mask_stray": 1}),
    (share_mask, {"mask_shared": 2, "mask_stray": 1}),
    (change_classes, {"classes": 1}),
    (rename_class, {"classes": 1}),
    (delete_classes, {"classes": 1}),
    (delete_record, {"record": 1}),
    (garble_record, {"record": 1}),
    (foreign_record, {"record": 1}),
]


def test_a_finished_run_is_whole(scene: Path) -> None:
    report = verify(str(scene / "results"))
    assert (report.ok, report.counts, report.problems) == (True, {}, [])
    assert (report.rows, report.masks, report.decoded, report.repaired) == (7, 6, 6, None)


@pytest.mark.parametrize(("damage", "expected"), DAMAGE, ids=lambda value: getattr(value, "__name__", ""))
def test_damage_is_named_and_taken_away(
    scene: Path, damage: Callable[[Path], None], expected: set[str] | dict[str, int]
) -> None:
    results = scene / "results"
    damage(results)
    report = verify(str(results))
    assert not report.ok
    assert (set(report.counts) if isinstance(expected, set) else report.counts) == expected
    assert sum(report.counts.values()) == len(report.problems)
    assert all(problem.where and problem.sentence for problem in report.problems)

    repaired = verify(str(results), repair=True)
    assert (repaired.ok, repaired.counts) == (True, report.counts)
    assert set(verify(str(results)).counts) <= {"record"}  # fewer rows than images, until the next run
    if damage is escape:
        assert (scene / "precious.txt").read_text() == "precious"


@pytest.mark.parametrize(
    "damages",
    [
        [add_mask, mask_of_failed, delete_mask, change_classes, duplicate_row],
        [delete_pixels, truncate_mask, delete_record],
        [impossible_class, shrink_mask, rename_class],
    ],
    ids=["masks", "parts", "values"],
)
def test_after_repair_another_run_makes_everything_as_it_was(
    scene: Path, damages: list[Callable[[Path], None]]
) -> None:
    results = scene / "results"
    masks = {path: path.read_bytes() for path in (results / "masks").rglob("*.png")}
    classes = (results / "classes.parquet").read_bytes()
    for damage in damages:
        damage(results)
    assert verify(str(results), repair=True).counts
    run(scene)
    after = verify(str(results))
    assert (after.counts, after.rows, after.decoded) == ({}, 7, 6)
    assert {path: path.read_bytes() for path in (results / "masks").rglob("*.png")} == masks
    assert (results / "classes.parquet").read_bytes() == classes


def test_a_repair_that_knows_no_classes_is_no_run_that_was_cut_off(scene: Path) -> None:
    results = scene / "results"
    delete_record(results)
    delete_classes(results)
    assert verify(str(results), repair=True).repaired is not None
    after = verify(str(results))
    assert (after.interrupted, after.counts) == (None, {"record": 1, "classes": 1})


def test_quick_leaves_pixels_out_and_nothing_else(scene: Path) -> None:
    results = scene / "results"
    change_pixel(results)
    quick = verify(str(results), quick=True)
    assert (quick.counts, quick.decoded, quick.masks) == ({}, 0, 6)
    delete_mask(results)
    assert verify(str(results), quick=True).counts == {"mask_missing": 1}


def test_rows_of_images_that_are_gone_and_leftovers_of_a_killed_run_are_no_fault(scene: Path) -> None:
    results = scene / "results"
    record = json.loads((results / "run.json").read_text())
    record["images"]["listed"] = 3
    (results / "run.json").write_text(json.dumps(record))
    leftover = results / "masks" / "set_0" / ".tmp-0123456789ab"
    leftover.write_bytes(b"half a mask")
    assert verify(str(results)).counts == {}
    assert verify(str(results), repair=True).repaired is not None
    assert not leftover.exists()


@pytest.mark.parametrize("step", range(3, 8))
def test_repair_first_completes_what_was_half_moved(scene: Path, step: int) -> None:
    """Killed behind the log of a rewrite, the tables look as if rows were doubled or without pixels."""
    root = Results(str(scene / "results")).root
    before = tables(scene / "results")
    name = part(scene / "results", "images").name
    both = {kind: read_part(root / kind / name) for kind in ("images", "pixels")}
    with killed_at(step), pytest.raises(Killed):
        replace_parts(root, [name], [("29991231T235959-000000-00000.parquet", both)])
    report = verify(str(scene / "results"), repair=True)
    assert (report.counts, report.rows) == ({}, 7)
    assert tables(scene / "results") == before
    assert not list((scene / "results").rglob(".tmp-*"))


REPAIR_AS_NOBODY = """
import os, sys
from batchseg.inspect.verify import verify
from batchseg.errors import OutputError
import batchseg.images.decode, PIL.PngImagePlugin  # all that it needs, while it may read it
if os.geteuid() == 0:
    os.setgroups([]); os.setgid(65534); os.setuid(65534)
try:
    print(verify(sys.argv[1], repair=True))
except OutputError as exc:
    print(exc)
"""


def test_a_mask_that_may_not_be_read_is_not_taken_away(scene: Path) -> None:
    with tempfile.TemporaryDirectory() as open_folder:  # pytest keeps its own to their owner
        results = shutil.copytree(scene / "results", Path(open_folder) / "results")
        for path in (Path(open_folder), results, *results.rglob("*")):
            path.chmod(0o777)
        (results / MASK).chmod(0)
        words = [sys.executable, "-c", REPAIR_AS_NOBODY, str(results)]
        root = Path(batchseg.__file__).parent.parent
        done = subprocess.run(words, capture_output=True, text=True, check=True, cwd=root)
        assert done.stdout == f"{results / MASK}: cannot be read: Permission denied\n"
        assert (results / MASK).exists()


def test_many_problems_are_counted_and_some_are_listed(scene: Path) -> None:
    for index in range(50):
        (scene / "results" / "masks" / f"{index}.png").write_bytes(b"")
    report = verify(str(scene / "results"))
    assert (report.counts, len(report.problems)) == ({"mask_stray": 50}, 20)


def test_masks_where_the_model_abstains_and_16_bit_masks(tmp_path: Path) -> None:
    """Void is one value that is no class, 255 or 65535 by the number of classes; a second is a fault."""
    for name, classes, void in (("narrow", 3, 255), ("wide", 300, 65535)):
        results = written(tmp_path / name, classes, void)
        assert verify(str(results)).counts == {}
        picture = np.array(Image.open(results / "masks" / "a.png")).astype(np.uint16)
        picture[1] = [void, void, 301]
        Image.fromarray(picture).save(results / "masks" / "a.png")
        assert verify(str(results)).counts == {"mask_values": 1}


def written(results: Path, classes: int, void: int) -> Path:
    """A results folder of one image of 3 x 2, half of it void, put together through the library."""
    from batchseg.images.encode import encode_png
    from batchseg.labels.label_map import LabelMap
    from batchseg.metrics.confusion import ConfusionMatrix
    from batchseg.results.folder import Results
    from batchseg.stages.write import row_schema

    label_map = LabelMap.from_names([f"class {index}" for index in range(classes)])
    assert label_map.ignore_index == void
    labels_HW = np.array([[0, 1, 2], [label_map.void] * 3], label_map.dtype)
    sparse = ConfusionMatrix.from_maps(labels_HW, None, classes).sparse()
    pixels = [
        {"truth": None, "predicted": None if predicted < 0 else predicted, "pixels": count}
        for _, predicted, count in zip(*(column.tolist() for column in sparse), strict=True)
    ]
    row = {"id": "a.png", "uri": "a.png", "status": "ok", "width": 3, "height": 2, "mask": "masks/a.png"}
    row |= {
        "has_truth": False,
        "truth_status": "none",
        "model": "m",
        "run_id": "r",
        "finished_at": 0,
        "_pixels": pixels,
    }
    folder = Results(str(results))
    held = folder.open()
    held.commit("part.parquet", pa.Table.from_pylist([row], schema=row_schema(pa.schema([]))))
    (results / "masks").mkdir()
    (results / "masks" / "a.png").write_bytes(
        encode_png(labels_HW, label_map.colours, label_map.ignore_index)
    )
    held.finish(label_map)
    model = {"classes": label_map.names}
    folder.write_record({"run_id": "r", "status": "finished", "images": {"listed": 1}, "model": model})
    return results


def test_scores_of_existing_masks_have_no_masks_of_their_own(scene: Path, tmp_path: Path) -> None:
    data = {
        "masks": str(scene / "results" / "masks"),
        "truth": str(scene / "truth"),
        "output": str(tmp_path / "scores"),
        "labels": str(tmp_path / "labels.yaml"),
        "gates": {"max_failed": "100%"},
    }
    (tmp_path / "labels.yaml").write_text("classes: [dark, bright]")
    batchseg.evaluate(validate(batchseg.EvaluateConfig, data, "the test"))
    report = verify(str(tmp_path / "scores"))
    assert (report.counts, report.rows, report.masks) == ({}, 6, 0)


def test_what_is_no_results_folder_is_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="holds no results"):
        verify(str(tmp_path))


def test_nothing_is_repaired_while_a_run_is_at_work(scene: Path) -> None:
    results = Results(str(scene / "results"))
    delete_mask(scene / "results")
    with results.held(), pytest.raises(OutputError, match="another run"):
        verify(str(scene / "results"), repair=True)


@pytest.mark.parametrize("words", [(), ("--quick",), ("--json",), ("--quiet",)])
def test_the_command_says_it_in_its_exit_code(scene: Path, words: tuple[str, ...]) -> None:
    results = str(scene / "results")
    whole = CliRunner().invoke(cli, ["verify", results, *words])
    add_mask(scene / "results")
    damaged = CliRunner().invoke(cli, ["verify", results, *words])
    mended = CliRunner().invoke(cli, ["verify", results, "--repair", *words])
    assert [result.exit_code for result in (whole, damaged, mended)] == [0, 1, 0]
    if "--json" in words:
        assert json.loads(damaged.stdout)["counts"] == {"mask_stray": 1}
        assert json.loads(mended.stdout)["repaired"] == {"rows": 0, "parts": 0, "masks": 1}
    elif "--quiet" in words:
        assert (whole.output, damaged.output) == ("", "")
    else:
        assert "problems  none" in whole.stdout
        assert "masks/set_1/stranger.png: no row names this mask" in damaged.stdout
