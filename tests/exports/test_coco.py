"""COCO files, as pycocotools and torchmetrics read them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from exported import IDS, NAMES, VOID, label_maps, objects_of, without_void, write_masks
from PIL import Image
from pycocotools import mask as coco_masks
from pycocotools.coco import COCO
from torchmetrics.functional.detection import panoptic_quality

import batchseg

# pycocotools hands numpy arrays of its own, which do not know of `copy`
pytestmark = [pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")]
MAPS = label_maps()


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_masks(tmp_path_factory.mktemp("coco") / "results", MAPS, failed=("bad.png",))


@pytest.fixture(scope="module")
def coco(results: Path) -> COCO:
    out = results.parent / "coco.json"
    report = batchseg.export(str(results), to="coco", output=out)
    assert (report.chosen, report.written, report.lacking) == (6, 6, 0)
    assert report.objects == sum(len(objects_of(each)) for each in MAPS.values())
    assert "cannot tell from the background" in report.remarks[0]
    return COCO(out)


def test_every_object_is_an_annotation_of_its_pixels(coco: COCO) -> None:
    for image in coco.loadImgs(coco.getImgIds()):
        labels_HW = MAPS[image["file_name"]]
        assert (image["height"], image["width"]) == labels_HW.shape
        annotations = coco.loadAnns(coco.getAnnIds(imgIds=image["id"]))
        wanted = objects_of(labels_HW)
        assert len(annotations) == len(wanted)
        for each, (class_id, mask_HW) in zip(annotations, wanted, strict=True):
            np.testing.assert_array_equal(coco.annToMask(each), mask_HW)
            assert each["category_id"] == class_id
            assert each["area"] == mask_HW.sum() == coco_masks.area(each["segmentation"])
            assert each["bbox"] == coco_masks.toBbox(each["segmentation"]).tolist()
            assert each["iscrowd"] == 0


def test_ids_and_names(coco: COCO) -> None:
    assert sorted(image["file_name"] for image in coco.imgs.values()) == sorted(IDS)
    assert sorted(coco.imgs) == list(range(1, 7))
    assert sorted(coco.anns) == list(range(1, len(coco.anns) + 1))
    assert {key: each["name"] for key, each in coco.cats.items()} == dict([*enumerate(NAMES)][1:])


def panoptic_of(folder: Path) -> dict[str, np.ndarray]:
    """By id: category and number of the segment of each pixel, [H, W, 2]; -1 where there is none."""
    found = json.loads((folder / "panoptic.json").read_text())
    assert [each["isthing"] for each in found["categories"]] == [0, 1, 1, 1]
    names = {image["id"]: image["file_name"] for image in found["images"]}
    maps = {}
    for each in found["annotations"]:
        colours_HWC = np.array(Image.open(folder / "panoptic" / each["file_name"])).astype(int)
        numbers_HW = colours_HWC @ [1, 256, 65536]
        categories_HW = np.full(numbers_HW.shape, -1)
        assert {segment["id"] for segment in each["segments_info"]} == set(np.unique(numbers_HW)) - {0}
        for segment in each["segments_info"]:
            here = numbers_HW == segment["id"]
            rows, columns = np.nonzero(here)
            left, top = columns.min(), rows.min()
            assert segment["area"] == here.sum()
            assert segment["bbox"] == [left, top, columns.max() + 1 - left, rows.max() + 1 - top]
            categories_HW[here] = segment["category_id"]
        maps[names[each["image_id"]]] = np.stack([categories_HW, numbers_HW], 2)
    return maps


def test_panoptic_pngs_hold_every_pixel(results: Path) -> None:
    report = batchseg.export(str(results), to="coco-panoptic", output=results.parent / "panoptic")
    assert report.remarks == []  # void is told from the background
    for name, found in panoptic_of(results.parent / "panoptic").items():
        np.testing.assert_array_equal(found[..., 0], np.where(MAPS[name] == VOID, -1, MAPS[name].astype(int)))
        np.testing.assert_array_equal(np.where(found[..., 0] > 0, 1, 0), without_void(MAPS[name]) > 0)


def test_panoptic_quality_of_the_pngs_is_that_of_the_masks(results: Path) -> None:
    folder = results.parent / "panoptic again"
    batchseg.export(str(results), to="coco-panoptic", output=folder)
    for name, found in panoptic_of(folder).items():
        mine = np.where(found[..., :1] < 0, [[[0, 0]]], found * [[[1, 1]]])
        mine[found[..., 0] <= 0, 1] = 0
        own = np.zeros_like(mine)
        for number, (class_id, mask_HW) in enumerate(objects_of(MAPS[name]), 1):
            own[mask_HW] = class_id, number
        truth = np.roll(own, 2, axis=1)
        quality = [
            panoptic_quality(
                torch.tensor(each)[None], torch.tensor(truth)[None], things={1, 2, 3}, stuffs={0}
            )
            for each in (mine, own)
        ]
        assert quality[0] == quality[1]


def test_more_objects_than_a_byte_counts(tmp_path: Path) -> None:
    labels_HW = np.zeros((60, 60), np.uint8)
    labels_HW[::2, ::2] = 1
    results = write_masks(tmp_path / "results", {"a.png": labels_HW})
    batchseg.export(str(results), to="coco-panoptic", output=tmp_path / "out")
    assert len(np.unique(panoptic_of(tmp_path / "out")["a.png"][..., 1])) == 901


def test_no_image_at_all(tmp_path: Path) -> None:
    results = write_masks(tmp_path / "results", {"a.png": np.zeros((4, 5), np.uint8)})
    batchseg.export(str(results), to="coco", output=tmp_path / "o.json", settings={"where": "mean_iou > 2"})
    assert COCO(tmp_path / "o.json").imgs == {}
