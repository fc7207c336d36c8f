"""Doctor: what a source holds and what a run would stumble over, from headers and some truths."""

from __future__ import annotations

import json
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner
from PIL import Image

import batchseg
from batchseg.cli.group import cli
from batchseg.config.doctor import DoctorConfig
from batchseg.config.load import validate
from batchseg.errors import ConfigError, LabelMapError, SourceError
from batchseg.inspect.doctor import DoctorReport, doctor


def look(path: Path, **more: Any) -> DoctorReport:
    source = {name: more.pop(name) for name in ("truth", "truth_suffix", "include", "limit") if name in more}
    source = {name: str(value) if isinstance(value, Path) else value for name, value in source.items()}
    return doctor(validate(DoctorConfig, {"source": {"path": str(path), **source}, **more}, "the test"))


def save(path: Path, pixels: np.ndarray, **more: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path, **more)
    return path


@pytest.fixture
def scene(tmp_path: Path) -> Path:
    """Four images of three formats, each with a truth of two classes and one ignored row."""
    for index, name in enumerate(("a/0.jpg", "a/1.png", "b/2.tif", "b/3.png")):
        height, width = 10 + index, 20
        save(tmp_path / "images" / name, np.full((height, width, 3), 90, np.uint8))
        truth = np.zeros((height, width), np.uint8)
        truth[:2], truth[2] = 1, 255
        save((tmp_path / "truth" / name).with_suffix(".png"), truth)
    return tmp_path


def test_a_sound_source(scene: Path) -> None:
    report = look(scene / "images", truth=scene / "truth", segmentor="threshold")
    assert (report.ok, report.counts, report.images, report.with_truth) == (True, {}, 4, 4)
    assert report.sizes.formats == {"JPEG": 1, "PNG": 2, "TIFF": 1}
    assert report.sizes.pixels == 20 * (10 + 11 + 12 + 13)
    files = [path for path in (scene / "images").rglob("*.*") if path.is_file()]
    assert report.sizes.bytes == sum(path.stat().st_size for path in files)
    assert (report.sizes.smallest, report.sizes.largest) == ((20, 10, "a/0.jpg"), (20, 13, "b/3.png"))
    assert report.sample is not None
    assert (report.sample.files, report.sample.ignored, report.sample.outside) == (4, 4 * 20, {})
    assert sorted(report.sample.classes.values()) == [4 * 40, 20 * (46 - 12)]
    assert report.unmatched is not None
    assert report.unmatched.files == 0


def test_headers_alone_tell_these_faults(scene: Path) -> None:
    images = scene / "images"
    (images / "empty.png").write_bytes(b"")
    (images / "text.jpg").write_text("no image at all")
    save(images / "bomb.png", np.zeros((3000, 3000), np.uint8))
    (images / "link.png").symlink_to(images / "nowhere.png")
    save(images / "a" / "1.bmp", np.zeros((4, 4), np.uint8))
    report = look(images, limits={"max_pixels": 10_000})
    found = {problem.where: problem.kind for problem in report.problems}
    assert found == {
        "empty.png": "unreadable",
        "text.jpg": "unreadable",
        "bomb.png": "too_large",
        "link.png": "missing",
        "a/1.png": "name_collision",
    }
    assert sum(report.sizes.formats.values()) == 4
    assert look(images, limits={"max_pixels": 10_000}, mask_name="full").counts == {
        "unreadable": 2,
        "too_large": 1,
        "missing": 1,
    }


def test_no_pixel_is_decoded(tmp_path: Path) -> None:
    """A file whose pixels are damaged has a sound header, and so passes."""
    path = save(tmp_path / "a.png", np.random.default_rng(1).integers(0, 256, (200, 300, 3), dtype=np.uint8))
    path.write_bytes(path.read_bytes()[:1000])
    report = look(tmp_path)
    assert (report.counts, report.sizes.largest) == ({}, (300, 200, "a.png"))


def test_headers_longer_than_the_first_bytes(tmp_path: Path) -> None:
    """A TIFF with its directory at the end, a JPEG behind a long profile, a WebP that must be whole."""
    noise = np.random.default_rng(2).integers(0, 256, (300, 400, 3), dtype=np.uint8)
    save(tmp_path / "profile.jpg", noise, icc_profile=bytes(200_000))
    save(tmp_path / "whole.webp", noise, lossless=True)
    save(tmp_path / "late.tif", noise, compression="tiff_lzw")
    assert look(tmp_path).sizes.formats == {"JPEG": 1, "TIFF": 1, "WebP": 1}
    assert look(tmp_path).sizes.pixels == 3 * 300 * 400


def test_truth_that_is_missing_strange_or_of_another_size(scene: Path) -> None:
    truth = scene / "truth"
    (truth / "a" / "0.png").unlink()
    save(truth / "a" / "1.png", np.full((11, 20), 9, np.uint8))
    save(truth / "b" / "2.png", np.zeros((5, 5), np.uint8))
    save(truth / "b" / "stranger.png", np.zeros((5, 5), np.uint8))
    report = look(scene / "images", truth=truth, segmentor="threshold")
    found = {problem.where: problem.kind for problem in report.problems}
    assert found == {"a/1.png": "truth_out_of_range", "b/2.tif": "truth_mismatch"}
    assert (report.images, report.with_truth) == (4, 3)  # truth for a part of a folder is normal
    assert report.sample is not None
    assert report.sample.outside == {"9": 11 * 20}
    assert report.unmatched is not None
    assert (report.unmatched.files, report.unmatched.examples) == (1, ["b/stranger.png"])


def test_names_that_never_match_and_the_rule_that_mends_them(scene: Path) -> None:
    for path in list((scene / "truth").rglob("*.png")):
        path.rename(path.with_name(f"{path.stem}_ids.png"))
        save(path.with_name(f"{path.stem}_colour.png"), np.zeros((2, 2), np.uint8))
    broken = look(scene / "images", truth=scene / "truth")
    assert (broken.counts, broken.with_truth) == ({"source": 1}, 0)
    assert "--truth-suffix" in broken.problems[0].sentence
    mended = look(scene / "images", truth=scene / "truth", truth_suffix="=_ids")
    assert mended.counts == {}
    assert mended.unmatched is not None
    assert mended.unmatched.files == 0  # what does not end as the rule says was never meant


def test_a_phone_photo_stands_upright_beside_its_truth(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    save(tmp_path / "images" / "a.jpg", np.zeros((10, 20, 3), np.uint8), exif=exif)
    save(tmp_path / "truth" / "a.png", np.zeros((20, 10), np.uint8))
    assert look(tmp_path / "images", truth=tmp_path / "truth").counts == {}


def test_truth_in_colours_with_and_without_a_label_map(tmp_path: Path) -> None:
    pixels = np.zeros((4, 4, 3), np.uint8)
    pixels[0], pixels[1, 0] = (255, 0, 0), (1, 2, 3)
    save(tmp_path / "images" / "a.png", pixels)
    save(tmp_path / "truth" / "a.png", pixels)
    labels = tmp_path / "labels.yaml"
    labels.write_text('classes: [{name: night, colour: "#000000"}, {name: red, colour: "#ff0000"}]')
    plain = look(tmp_path / "images", truth=tmp_path / "truth")
    held = look(tmp_path / "images", truth=tmp_path / "truth", labels=str(labels))
    assert plain.sample is not None
    assert held.sample is not None
    assert plain.sample.classes == {"#000000": 11, "#010203": 1, "#ff0000": 4}
    assert held.sample.classes == {"night": 11, "red": 4}
    assert held.sample.outside == {"#010203": 1}
    assert held.counts == {"truth_out_of_range": 1}


def test_as_many_truths_as_asked_for_are_spread_over_the_source(scene: Path) -> None:
    report = look(scene / "images", truth=scene / "truth", truths=2)
    assert report.sample is not None
    assert (report.sample.files, report.sample.classes["1"]) == (2, 2 * 40)
    assert report.sample.classes["0"] == 20 * (10 + 13 - 6)  # the first and the last


def test_a_manifest_of_bytes(scene: Path) -> None:
    file = BytesIO()
    Image.fromarray(np.zeros((6, 7), np.uint8)).save(file, "PNG")
    table = pa.table({"id": ["a", "b", "c"], "image_bytes": [file.getvalue(), b"", None]})
    pq.write_table(table, scene / "list.parquet")
    report = look(scene / "list.parquet")
    assert report.counts == {"unreadable": 1, "missing": 1}
    assert report.sizes.largest == (7, 6, "a")
    assert report.unmatched is None


def test_what_cannot_be_listed_is_a_sentence(scene: Path) -> None:
    pq.write_table(pa.table({"id": ["a", "a"], "image": ["x.png", "y.png"]}), scene / "twice.parquet")
    with pytest.raises(SourceError, match="same id in several rows"):
        look(scene / "twice.parquet")
    with pytest.raises(LabelMapError, match="classes, but the model predicts 2"):
        look(scene / "images", segmentor="threshold", labels="voc")


def test_an_empty_folder_is_a_problem(tmp_path: Path) -> None:
    report = look(tmp_path)
    assert (report.counts, report.sizes.largest, report.sample) == ({"source": 1}, None, None)


def test_the_command_from_a_file(scene: Path) -> None:
    source = {"path": str(scene / "images"), "truth": str(scene / "truth")}
    job = {"source": source, "segmentor": "threshold", "limits": {"max_pixels": 1}}
    (scene / "job.yaml").write_text(json.dumps(job))
    words = ["doctor", "--config", str(scene / "job.yaml"), "--json"]
    small = CliRunner().invoke(cli, words)
    assert (small.exit_code, json.loads(small.stdout)["counts"]["too_large"]) == (1, 4), small.output
    enough = CliRunner().invoke(cli, [*words, "--set", "limits.max_pixels=100000", "--limit", "2"])
    assert (enough.exit_code, json.loads(enough.stdout)["images"]) == (0, 2), enough.output
    nothing = CliRunner().invoke(cli, ["doctor"])
    assert (nothing.exit_code, "source: is required" in nothing.stderr) == (2, True)


def test_the_command(scene: Path) -> None:
    words = ["doctor", str(scene / "images"), "--truth", str(scene / "truth"), "--model", "threshold"]
    sound = CliRunner().invoke(cli, words)
    assert sound.exit_code == 0, sound.output
    assert "1 JPEG, 2 PNG, 1 TIFF" in sound.stdout
    assert "problems  none" in sound.stdout
    (scene / "images" / "empty\x1b[2J.png").write_bytes(b"")
    faulty = CliRunner().invoke(cli, [*words, "--limit", "9"])
    assert faulty.exit_code == 1
    assert "empty\\x1b[2J.png: the file is empty" in faulty.stdout
    report = json.loads(CliRunner().invoke(cli, [*words, "--json"]).stdout)
    assert (report["ok"], report["counts"]) == (False, {"unreadable": 1})
    assert report["sizes"]["formats"] == {"JPEG": 1, "PNG": 2, "TIFF": 1}
    assert CliRunner().invoke(cli, [*words, "--truths", "-1"]).exit_code == 2


def test_plain_arguments_are_the_options_of_the_command(tmp_path: Path) -> None:
    for folder in ("images", "truth"):
        (tmp_path / folder).mkdir()
        for name in ("a.png", "b.png"):
            Image.fromarray(np.zeros((4, 6), np.uint8)).save(tmp_path / folder / name)
    source = str(tmp_path / "images")
    report = batchseg.doctor(source, truth=str(tmp_path / "truth"), model="threshold", exclude=["b*"])
    config = batchseg.read_config(
        batchseg.DoctorConfig,
        overrides={
            "source": {"path": source, "truth": str(tmp_path / "truth"), "exclude": ["b*"]},
            "segmentor": "threshold",
        },
    )
    assert report == batchseg.doctor(config)
    assert (report.images, report.with_truth, report.ok) == (1, 1, True)
    with pytest.raises(ConfigError, match="unknown key"):
        batchseg.doctor(source, colour="red")
    with pytest.raises(ConfigError, match="labels: belongs into the DoctorConfig"):
        batchseg.doctor(config, labels="voc")
