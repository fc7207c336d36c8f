"""`batchseg run --split`: only the images that a training learnt from, or was judged by."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner, Result
from PIL import Image

from batchseg.cli.group import cli
from batchseg.schema import SPLIT

PARTS = {
    "a.png": "train",
    "b.png": "train",
    "c.png": "validation",
    "sub/d.png": "validation",
    "e.png": "left_out",
}


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """The images of a training, one that came later, and the split beside them."""
    folder = tmp_path / "photos"
    for name in (*PARTS, "later.png"):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((6, 9), 200, np.uint8)).save(path)
    write_split(tmp_path / "split.parquet", folder)
    return folder


def write_split(path: Path, folder: Path, parts: dict[str, str] = PARTS) -> None:
    rows = [{"id": name, "uri": str(folder / name), "split": part} for name, part in parts.items()]
    pq.write_table(pa.Table.from_pylist(rows, schema=SPLIT), path)


def run(folder: Path, *words: str, split: str | None = "validation", out: str = "out") -> Result:
    parent = folder.parent
    taken = ["--split", split, "--set", f"split_file={parent}/split.parquet"] if split else []
    model = [] if "--model" in words else ["--model", "threshold"]
    base = ["run", str(folder), *model, "--output", str(parent / out)]
    return CliRunner().invoke(cli, [*base, *taken, *words])


def segmented(folder: Path, out: str = "out") -> list[str]:
    rows = duckdb.sql(f"select id from '{folder.parent}/{out}/images/*.parquet' order by id").fetchall()
    return [name for (name,) in rows]


@pytest.mark.usefixtures("in_tasks")
def test_one_part_alone_is_segmented_and_the_others_are_counted(photos: Path) -> None:
    result = run(photos)
    assert result.exit_code == 0, result.output
    assert segmented(photos) == ["c.png", "sub/d.png"]
    assert "validation alone; not taken: 1 left_out, 2 train, 1 unknown" in result.stderr
    record = json.loads((photos.parent / "out" / "run.json").read_text())
    assert record["split"] == {"left_out": 1, "train": 2, "unknown": 1, "validation": 2}
    assert record["images"]["listed"] == 2 and record["config"]["split"] == "validation"
    # the same again has nothing to do; the other part would blur the figures
    assert json.loads(run(photos, "--json").stdout)["images"]["done_before"] == 2
    other = run(photos, split="train")
    assert other.exit_code == 1
    assert "holds 2 images that are not among those of split train" in other.stderr
    assert run(photos, split="train", out="other").exit_code == 0
    assert segmented(photos, "other") == ["a.png", "b.png"]


@pytest.mark.usefixtures("in_tasks")
def test_two_of_a_part_that_differ_in_the_extension_alone_have_a_mask_each(photos: Path) -> None:
    Image.fromarray(np.full((6, 9), 10, np.uint8)).save(photos / "c.bmp")
    write_split(photos.parent / "split.parquet", photos, {**PARTS, "c.bmp": "validation"})
    assert run(photos).exit_code == 0
    brightest = {}
    for path in (photos.parent / "out" / "masks").rglob("*.png"):
        with Image.open(path) as mask:
            brightest[path.name] = np.asarray(mask).max()
    assert brightest == {"c.png": 0, "c.png.png": 1, "d.png": 1}


def counted(result: Result) -> dict[str, int]:
    assert result.exit_code == 0, result.output
    counts: dict[str, int] = json.loads(result.stdout)["split"]
    return counts


def test_images_that_were_moved_are_told_by_their_ids(photos: Path) -> None:
    moved = photos.rename(photos.parent / "moved")
    assert counted(run(moved, "--dry-run", "--json")) == {
        "left_out": 1,
        "train": 2,
        "unknown": 1,
        "validation": 2,
    }


def test_where_images_lie_counts_for_more_than_their_ids(photos: Path) -> None:
    """Seen from a folder below, `d.png` is the `sub/d.png` of the training; `a.png` is another image."""
    shutil.copy(photos / "a.png", photos / "sub" / "a.png")
    shutil.copy(photos.parent / "split.parquet", photos / "split.parquet")
    assert counted(run(photos / "sub", "--dry-run", "--json")) == {"unknown": 1, "validation": 1}


def test_a_manifest_with_names_of_its_own_is_told_by_where_its_images_lie(photos: Path) -> None:
    rows = [{"id": f"case {number}", "image": str(photos / name)} for number, name in enumerate(PARTS)]
    pq.write_table(pa.Table.from_pylist(rows), photos.parent / "list.parquet")
    result = run(photos.parent / "list.parquet", "--dry-run", "--json")
    assert counted(result) == {"left_out": 1, "train": 2, "validation": 2}
    assert json.loads(result.stdout)["images"]["listed"] == 2


def test_a_trained_model_brings_its_split_along_and_says_what_it_has_seen(
    photos: Path, sample_data: Path
) -> None:
    model = photos.parent / "model"
    shutil.copytree(sample_data / "model", model)
    words = ("--model", str(model), "--dry-run", "--json")
    without = run(photos, "--model", str(model), "--split", "train", "--dry-run", split=None)
    assert without.exit_code == 2
    assert f"split train: there is no {model}/split.parquet that says which images" in without.stderr
    shutil.copy(photos.parent / "split.parquet", model / "split.parquet")
    assert counted(run(photos, *words, split=None)) == {
        "left_out": 1,
        "train": 2,
        "unknown": 1,
        "validation": 2,
    }
    chosen = run(photos, *words, "--split", "train", split=None)
    assert json.loads(chosen.stdout)["images"]["listed"] == 2
    # other images of the same names are not said to be those of the training
    shutil.copytree(photos, photos.parent / "others")
    assert counted(run(photos.parent / "others", *words, split=None)) == {}


def test_the_split_is_no_part_of_the_model(photos: Path, sample_data: Path) -> None:
    """A mask does not depend on it: with or without, earlier results stay valid."""
    model, found = photos.parent / "model", []
    shutil.copytree(sample_data / "model", model)
    for _ in range(2):
        result = run(photos, "--model", str(model), "--dry-run", "--json", split=None)
        found.append(json.loads(result.stdout)["model"]["fingerprint"])
        shutil.copy(photos.parent / "split.parquet", model / "split.parquet")
    assert found[0] == found[1]


@pytest.mark.parametrize(
    ("words", "code", "sentence"),
    [
        (["--prune"], 2, "prune would remove every image of the other split"),
        (["--set", "split_file=nowhere.parquet"], 2, "nowhere.parquet that says which images these are"),
        (["--set", "split_file=LIST"], 1, "has no column uri; it is not the split of a training"),
        (["--set", "split_file=IMAGE"], 1, "a.png: cannot be read"),
        (["--include", "e.png"], 1, "none of its images for validation is in this source, which holds e.png"),
    ],
    ids=str,
)
def test_what_cannot_be_chosen_says_so(photos: Path, words: list[str], code: int, sentence: str) -> None:
    pq.write_table(pa.table({"id": ["a.png"]}), photos.parent / "list.pq")
    places = {"LIST": str(photos.parent / "list.pq"), "IMAGE": str(photos / "a.png")}
    for short, path in places.items():
        words = [word.replace(short, path) for word in words]
    result = run(photos, *words)
    assert result.exit_code == code, result.output
    assert sentence in result.stderr and "Traceback" not in result.stderr


def test_a_file_without_a_part_is_refused(photos: Path) -> None:
    result = run(photos, "--set", "split=null")
    assert result.exit_code == 2 and "split_file needs split" in result.stderr


def test_what_trained_one_member_of_an_ensemble_trained_it(photos: Path, sample_data: Path) -> None:
    """Two folds: what judged one of them trained the other, but for one image that was left out there."""
    models = [photos.parent / "folds" / str(fold) for fold in range(2)]
    second = {"a.png": "validation", "c.png": "train", "sub/d.png": "left_out", "e.png": "validation"}
    for model, parts in zip(models, (PARTS, second), strict=True):
        shutil.copytree(sample_data / "model", model)
        write_split(model / "split.parquet", photos, parts)
    words = [part for model in models for part in ("--model", str(model))]
    result = run(photos, *words, "--dry-run", "--json", split=None)
    assert json.loads(result.stdout)["split"] == {"train": 3, "unknown": 1, "validation": 2}
    refused = run(photos, *words, "--split", "train", "--dry-run", split=None)
    assert refused.exit_code == 2 and "split train: there is no split.parquet" in refused.stderr
