"""What a person sees of a source on the command line: what is passed over, links, columns, samples, names."""

from __future__ import annotations

import json
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.dataset as pads
import pyarrow.parquet as pq
import pytest
import yaml
from click.testing import Result
from command_line import command
from PIL import Image

import batchseg
from batchseg.config.load import load_config
from batchseg.errors import ConfigError

pytestmark = [pytest.mark.usefixtures("in_tasks")]


def picture(seed: int) -> bytes:
    file = BytesIO()
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, (6, 8), np.uint8)).save(file, "PNG")
    return file.getvalue()


def put(root: Path, *names: str) -> Path:
    for seed, name in enumerate(names):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(picture(seed))
    return root


def segment(source: Path, *words: Path | str) -> Result:
    return command("run", source, "--model", "threshold", "--output", source.parent / "out", *words)


def record(source: Path) -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads((source.parent / "out" / "run.json").read_text())
    return loaded


def images(source: Path) -> dict[str, dict[str, Any]]:
    table = pads.dataset(source.parent / "out" / "images", format="parquet").to_table()
    return {row["id"]: row for row in table.to_pylist()}


# -- what is passed over


@pytest.fixture
def mixed(tmp_path: Path) -> Path:
    folder = put(tmp_path / "photos", "a.png", "b.heic", "c.HEIC", "IMG_1", ".hidden.png", "sub/d.jp2")
    put(tmp_path / "elsewhere", "e.png")
    (folder / "more").symlink_to(tmp_path / "elsewhere", target_is_directory=True)
    return folder


PASSED = {".heic": 2, "no extension": 1, "hidden": 1, ".jp2": 1, "links to folders": 1}


def test_a_run_says_what_it_passed_over(mixed: Path) -> None:
    done = segment(mixed)
    assert done.exit_code == 0, done.output
    assert record(mixed)["images"]["passed_over"] == PASSED
    for part in (
        "passed over",
        "2 .heic",
        "1 no extension",
        "1 hidden",
        "1 links to folders",
        "--follow-links",
    ):
        assert part in done.stderr


def test_a_dry_run_and_doctor_say_it_too(mixed: Path) -> None:
    dry = yaml.safe_load(segment(mixed, "--dry-run").stdout)
    assert dry["images"]["passed_over"] == PASSED
    seen = command("doctor", mixed)
    assert seen.exit_code == 0
    assert "passed over " in seen.stdout and "2 .heic" in seen.stdout and "--follow-links" in seen.stdout
    assert json.loads(command("doctor", mixed, "--json").stdout)["passed_over"] == PASSED


def test_nothing_is_said_of_nothing(tmp_path: Path) -> None:
    done = segment(put(tmp_path / "photos", "a.png"))
    assert "passed over" not in done.stderr and "full names" not in done.stderr
    assert record(tmp_path / "photos")["images"]["passed_over"] == {}


@pytest.mark.parametrize("how", ["run", "dry run", "doctor"])
def test_a_folder_without_images_says_what_lies_there(mixed: Path, how: str) -> None:
    (mixed / "a.png").unlink()
    done = {
        "run": lambda: segment(mixed),
        "dry run": lambda: segment(mixed, "--dry-run"),
        "doctor": lambda: command("doctor", mixed),
    }[how]()
    assert done.exit_code == 1
    assert "no images" in done.output
    for part in ("2 .heic, such as b.heic", "such as IMG_1", "such as sub/d.jp2", "--follow-links follows"):
        assert part in done.output


def test_links_are_followed_on_request(mixed: Path) -> None:
    done = segment(mixed, "--follow-links")
    assert done.exit_code == 0, done.output
    assert {*images(mixed)} == {"a.png", "more/e.png"}
    assert (mixed.parent / "out/masks/more/e.png").is_file()
    assert "links to folders" not in record(mixed)["images"]["passed_over"]


# -- Parquet beside images


def test_parquet_beside_images_is_a_question(tmp_path: Path) -> None:
    folder = put(tmp_path / "photos", "a.png", "b.png")
    pq.write_table(pa.table({"image": ["a.png"]}), folder / "list.parquet")
    for asked in (segment(folder), command("doctor", folder)):
        assert asked.exit_code == 2
        assert "list.parquet" in asked.stderr and "--set source.kind=folder" in asked.stderr
        assert "source.kind: manifest" in asked.stderr
    assert segment(folder, "--set", "source.kind=folder").exit_code == 0
    assert {*images(folder)} == {"a.png", "b.png"}
    assert record(folder)["images"]["passed_over"] == {".parquet": 1}
    seen = [json.loads(command("doctor", *words, "--json").stdout)["images"] for words in (
        (folder, "--set", "source.kind=manifest"), (folder / "list.parquet",), (folder, "--include", "*"),
        (folder, "--column", "image=image"))]  # fmt: skip
    assert seen == [1, 1, 2, 1]


def test_parquet_alone_is_a_manifest_and_its_sentence_names_the_other_way(tmp_path: Path) -> None:
    folder = put(tmp_path / "photos", "deep/a.png")
    pq.write_table(pa.table({"feature": [0.5]}), folder / "features.parquet")
    done = segment(folder)
    assert done.exit_code == 1
    assert "no column `image`" in done.stderr and "--set source.kind=folder" in done.stderr


# -- manifests


def test_columns_and_one_empty_cell(tmp_path: Path) -> None:
    put(tmp_path / "lists" / "in", "a.png", "b.png")
    put(tmp_path / "images", "c.png")
    table = {
        "file_name": ["in/a.png", None, "../images/c.png"],
        "width": [1, 2, 3],
        "Status": ["x", "y", "z"],
    }
    manifest = tmp_path / "lists" / "x.parquet"
    pq.write_table(pa.table(table), manifest)
    asked = segment(manifest)
    assert asked.exit_code == 1
    assert "--column image=file_name" in asked.stderr
    done = segment(manifest, "--column", "image=file_name")
    assert done.exit_code == 3, done.output
    found = images(manifest)
    assert {name: (row["status"], row["mask"]) for name, row in found.items()} == {
        "in/a.png": ("ok", "masks/in/a.png"),
        "x.parquet/0/1": ("missing", None),
        "../images/c.png": ("ok", "masks/images/c.png"),
    }
    assert [row["manifest_width"] for row in found.values()] == [1, 2, 3]
    assert {row["manifest_Status"] for row in found.values()} == {"x", "y", "z"}
    assert {row["width"] for row in found.values()} == {8, None}


def test_columns_in_a_file(tmp_path: Path) -> None:
    put(tmp_path, "a.png")
    pq.write_table(pa.table({"path": ["a.png"]}), tmp_path / "x.parquet")
    source = {"path": str(tmp_path / "x.parquet"), "columns": {"image": "path"}}
    job = {"source": source, "segmentor": "threshold", "output": str(tmp_path / "out")}
    (tmp_path / "job.yaml").write_text(yaml.safe_dump(job))
    assert batchseg.run(load_config(tmp_path / "job.yaml")).statuses == {"ok": 1}


@pytest.mark.parametrize("word", ["image", "=x", "image="])
def test_a_column_needs_both_names(tmp_path: Path, word: str) -> None:
    done = segment(tmp_path / "x.parquet", "--column", word)
    assert done.exit_code == 2
    assert f"--column {word}: must be OURS=THEIRS" in done.stderr


def test_hugging_faces_parquet(tmp_path: Path) -> None:
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    cells = [{"bytes": picture(0), "path": "a.png"}, {"bytes": picture(1), "path": None}]
    label = BytesIO()
    Image.fromarray(np.eye(6, 8, dtype=np.uint8)).save(label, "PNG")
    truths = [{"bytes": label.getvalue(), "path": "a.png"}, None]
    table = pa.table({"image": pa.array(cells, kind), "label": pa.array(truths, kind)})
    pq.write_table(table, tmp_path / "train.parquet")
    done = segment(tmp_path / "train.parquet", "--column", "truth=label")
    assert done.exit_code == 0, done.output
    found = images(tmp_path / "train.parquet")
    assert {name: row["truth_status"] for name, row in found.items()} == {
        "a.png": "ok",
        "train.parquet/0/1": "none",
    }
    again = segment(tmp_path / "train.parquet", "--column", "truth=label")
    assert again.exit_code == 0
    assert record(tmp_path / "train.parquet")["images"]["done_before"] == 2
    cells[1] = {"bytes": picture(2), "path": None}
    table = pa.table({"image": pa.array(cells, kind), "label": pa.array(truths, kind)})
    pq.write_table(table, tmp_path / "train.parquet")
    assert segment(tmp_path / "train.parquet", "--column", "truth=label").exit_code == 0
    assert record(tmp_path / "train.parquet")["images"]["segmented"] == 1


def test_no_truth_in_any_row_is_none_for_all(tmp_path: Path) -> None:
    put(tmp_path, "a.png", "b.png")
    pq.write_table(
        pa.table({"image": ["a.png", "b.png"], "truth": [float("nan"), None]}), tmp_path / "x.parquet"
    )
    assert segment(tmp_path / "x.parquet").exit_code == 0
    assert {row["truth_status"] for row in images(tmp_path / "x.parquet").values()} == {"none"}


# -- samples


def test_a_sample_is_drawn_and_recorded(tmp_path: Path) -> None:
    folder = put(tmp_path / "photos", *(f"{index:02d}.png" for index in range(12)))
    assert segment(folder, "--sample", "4", "--seed", "1").exit_code == 0
    source = record(folder)["config"]["source"]
    assert (source["sample"], source["seed"], len(images(folder))) == (4, 1, 4)
    assert segment(folder, "--sample", "4", "--seed", "1").exit_code == 0
    assert record(folder)["images"]["done_before"] == 4
    seen = json.loads(command("doctor", folder, "--sample", "5", "--json").stdout)
    assert seen["images"] == 5


def test_evaluate_takes_samples_and_limits_and_links(tmp_path: Path) -> None:
    truth = tmp_path / "truth"
    truth.mkdir()
    for index in range(6):
        Image.fromarray(np.full((4, 4), index % 2, np.uint8)).save(truth / f"{index}.png")
    (tmp_path / "labels.yaml").write_text("classes: [dark, bright]")
    (tmp_path / "masks").mkdir()
    (tmp_path / "masks" / "linked").symlink_to(truth, target_is_directory=True)
    (tmp_path / "mirror").mkdir()
    (tmp_path / "mirror" / "linked").symlink_to(truth, target_is_directory=True)
    words = ("evaluate", tmp_path / "masks", tmp_path / "mirror", "--labels", tmp_path / "labels.yaml",
             "--output", tmp_path / "out", "--follow-links")  # fmt: skip
    assert command(*words, "--sample", "4").exit_code == 0
    assert len(images(tmp_path / "masks")) == 4
    assert command(*words, "--limit", "2").exit_code == 0
    assert {*images(tmp_path / "masks")} == {"linked/0.png", "linked/1.png"}
    assert command(*words, "--limit", "2", "--sample", "2").exit_code == 2


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("--sample", "2", "--limit", "2"), "limit takes the first images and sample some at random"),
        (("--sample", "2", "--prune"), "prune would remove every image beyond source.sample"),
        (("--limit", "2", "--prune"), "prune would remove every image beyond source.limit"),
        (("--sample", "0"), "greater than or equal to 1"),
    ],
)
def test_what_a_sample_excludes(tmp_path: Path, words: tuple[str, ...], sentence: str) -> None:
    done = segment(put(tmp_path / "photos", "a.png"), *words)
    assert done.exit_code == 2
    assert sentence in done.stderr


# -- names of masks


def test_names_that_differ_in_the_extension_alone_are_both_kept_and_said(tmp_path: Path) -> None:
    folder = put(tmp_path / "photos", "a.bmp", "a.png", "b.png")
    done = segment(folder)
    assert done.exit_code == 0, done.output
    assert {name: row["mask"] for name, row in images(folder).items()} == {
        "a.bmp": "masks/a.png",
        "a.png": "masks/a.png.png",
        "b.png": "masks/b.png",
    }
    assert "full names" in done.stderr
    assert record(folder)["images"]["full_names"] == 1
    for name, seed in (("a.png", 0), ("a.png.png", 1)):
        mask = np.asarray(Image.open(tmp_path / "out/masks" / name))
        image = np.asarray(Image.open(BytesIO(picture(seed))))
        assert np.array_equal(mask, image >= 128)
    assert json.loads(command("doctor", folder, "--json").stdout)["counts"] == {}


# -- places that nothing serves


def test_doctor_says_of_a_url_what_a_run_says(tmp_path: Path) -> None:
    pq.write_table(pa.table({"image": ["http://example.invalid/a.png"]}), tmp_path / "x.parquet")
    seen = command("doctor", tmp_path / "x.parquet")
    assert segment(tmp_path / "x.parquet").exit_code == 3
    (row,) = images(tmp_path / "x.parquet").values()
    assert row["error"] in seen.stdout
    assert "ConfigError" not in seen.output
    sentences = {command(*words).stderr for words in (
        ("doctor", "http://example.invalid/a"),
        ("run", "http://example.invalid/a", "--model", "threshold", "--output", tmp_path / "o"))}  # fmt: skip
    assert len(sentences) == 1 and "cannot open this location" in sentences.pop()


def test_a_mapping_that_says_what_it_is_is_not_asked(tmp_path: Path) -> None:
    folder = put(tmp_path / "photos", "a.png")
    pq.write_table(pa.table({"image": ["a.png"]}), folder / "list.parquet")
    job = {"segmentor": "threshold", "output": "o"}
    kinds = [
        load_config(overrides={"source": {"path": str(folder), **more}, **job}).source.kind
        for more in ({"kind": "folder"}, {"kind": "manifest"}, {"truth": "t"}, {"root": "r"})
    ]
    assert kinds == ["folder", "manifest", "folder", "manifest"]
    with pytest.raises(ConfigError, match=r"holds Parquet \(list\.parquet\) beside images \(a\.png\)"):
        load_config(overrides={"source": str(folder), **job})
