"""CVAT and Label Studio: decoded as their formats are defined, and by datumaro and label-studio-sdk."""

from __future__ import annotations

import json
import os
import subprocess
import zipfile
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from exported import IDS, LABELS, NAMES, blobs, label_maps, objects_of, without_void, write_masks
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

import batchseg
from batchseg.images.run_lengths import packed_brush

READERS = os.environ.get("BATCHSEG_READERS")
with_readers = pytest.mark.skipif(
    READERS is None, reason="BATCHSEG_READERS names no Python with datumaro and label-studio-sdk"
)
MAPS = label_maps()


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_masks(tmp_path_factory.mktemp("tools") / "results", MAPS)


def annotations_of(results: Path) -> ElementTree.Element:
    out = results.parent / "cvat.zip"
    batchseg.export(str(results), to="cvat", output=out, settings={"overwrite": True})
    with zipfile.ZipFile(out) as file:
        assert file.namelist() == ["annotations.xml"] and file.testzip() is None
        return ElementTree.fromstring(file.read("annotations.xml"))


def unpacked(bits: str) -> np.ndarray:
    """rle-pack, word for word as its definition goes."""
    at = 0

    def read(size: int) -> int:
        nonlocal at
        at += size
        return int(bits[at - size : at], 2)

    count = read(32)
    word = read(5) + 1
    sizes = [read(4) + 1 for _ in range(4)]
    values: list[int] = []
    while len(values) < count:
        is_run, length = read(1), 0
        length = read(sizes[read(2)]) + 1
        values += [read(word)] * length if is_run else [read(word) for _ in range(length)]
    assert len(values) == count and set(bits[at:]) <= {"0"} and len(bits) - at < 8
    return np.array(values)


def test_cvat_has_a_mask_an_object(results: Path) -> None:
    root = annotations_of(results)
    labels = {each.findtext("name"): each.findtext("color") for each in root.iter("label")}
    assert labels == {
        name: "#{:02x}{:02x}{:02x}".format(*colour)
        for name, colour in zip(NAMES[1:], LABELS.colours[1:], strict=True)
    }
    images = {image.get("name"): image for image in root.iter("image")}
    assert set(images) == {name.replace("\x01", "%01") for name in IDS}
    assert [image.get("id") for image in root.iter("image")] == list("012345")
    for name, labels_HW in MAPS.items():
        image = images[name.replace("\x01", "%01")]
        assert (int(image.get("height", 0)), int(image.get("width", 0))) == labels_HW.shape
        masks, wanted = image.findall("mask"), objects_of(labels_HW)
        assert len(masks) == len(wanted)
        for mask, (class_id, mask_HW) in zip(masks, wanted, strict=True):
            left, top, width, height = (int(mask.get(key, 0)) for key in ("left", "top", "width", "height"))
            counts = [int(each) for each in mask.get("rle", "").split(", ")]
            flat = np.repeat(np.arange(len(counts)) % 2, counts)
            drawn = np.zeros_like(mask_HW)
            drawn[top : top + height, left : left + width] = flat.reshape(height, width)
            np.testing.assert_array_equal(drawn, mask_HW)
            assert mask.get("label") == NAMES[class_id]


def test_the_same_masks_make_the_same_zip(results: Path) -> None:
    annotations_of(results)
    first = (results.parent / "cvat.zip").read_bytes()
    annotations_of(results)
    assert (results.parent / "cvat.zip").read_bytes() == first


def test_label_studio_has_a_brush_a_class(results: Path) -> None:
    out = results.parent / "tasks.json"
    report = batchseg.export(str(results), to="label-studio", output=out)
    tasks = json.loads(out.read_text())
    assert [task["data"]["id"] for task in tasks] == list(IDS)
    assert tasks[1]["data"]["image"] == "/data/local-files/?d=images/1%20%C3%BC.jpg"
    assert '<Label value="sky &amp; &lt;sea&gt;" background="#' in report.remarks[0]
    for task, labels_HW in zip(tasks, MAPS.values(), strict=True):
        (prediction,) = task["predictions"]
        assert (prediction["model_version"], prediction["score"]) == ("m", 0.5)
        found = np.zeros(labels_HW.shape, int)
        for brush in prediction["result"]:
            assert (brush["type"], brush["from_name"], brush["to_name"]) == ("brushlabels", "label", "image")
            assert (brush["original_height"], brush["original_width"]) == labels_HW.shape
            bits = "".join(f"{each:08b}" for each in brush["value"]["rle"])
            pixels_HWC = unpacked(bits).reshape(*labels_HW.shape, 4)
            assert (pixels_HWC == pixels_HWC[..., :1]).all()
            (name,) = brush["value"]["brushlabels"]
            found[pixels_HWC[..., 3] == 255] += NAMES.index(name)
        np.testing.assert_array_equal(found, without_void(labels_HW))


@given(st.lists(st.sampled_from([0, 1, 2, 3, 4, 5, 63, 64, 65, 16383, 16384, 16385, 40000]), min_size=1))
def test_runs_of_every_length(counts: list[int]) -> None:
    bits = "".join(f"{each:08b}" for each in packed_brush(counts).tolist())
    values = unpacked(bits)
    wanted = np.repeat(np.arange(len(counts)) % 2 * 255, np.array(counts) * 4)
    np.testing.assert_array_equal(values, wanted)


@pytest.mark.slow
@with_readers
@pytest.mark.parametrize("kind", ["cvat", "label-studio"])
def test_the_tools_own_readers_find_every_pixel(tmp_path: Path, kind: str) -> None:
    maps = {"a.png": blobs(1), "sub/b c.png": blobs(2, (300, 200)), "ü.png": blobs(3, (8, 5))}
    results = write_masks(tmp_path / "results", maps)
    path = tmp_path / ("cvat.zip" if kind == "cvat" else "tasks.json")
    batchseg.export(str(results), to=kind, output=path)
    if kind == "cvat":
        with zipfile.ZipFile(path) as file:
            file.extractall(path := tmp_path / "cvat")
        for name, labels_HW in maps.items():  # which datumaro wants beside the annotations
            (path / "images" / name).parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(labels_HW).save(path / "images" / name)
    script, out = Path(__file__).parent / "readers.py", tmp_path / "found.npz"
    words = [str(READERS), str(script), kind, str(path), str(out), *NAMES[1:]]
    subprocess.run(words, check=True, capture_output=True, timeout=280)
    with np.load(out) as found:
        for name, labels_HW in maps.items():
            key = name.removesuffix(".png") if kind == "cvat" else name
            np.testing.assert_array_equal(found[key], without_void(labels_HW))
