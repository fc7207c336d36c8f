"""What datumaro and Label Studio's own library write, read as truths.

BATCHSEG_READERS is a Python that has both.
"""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import annotation_files as files
import numpy as np
import pytest
from image_files import save
from numpy.typing import NDArray
from test_annotations import NAMES, listed, read

READERS = os.environ.get("BATCHSEG_READERS", "")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not READERS, reason="BATCHSEG_READERS names no Python with datumaro and label-studio-sdk"
    ),
]


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two images, on which each class is one patch, later ones over earlier ones."""
    folder = tmp_path_factory.mktemp("tools")
    maps = {}
    for index, size in enumerate(((13, 21), (30, 17))):
        ids = maps[f"a/{index}"] = np.zeros(size, np.uint8)
        for class_id in (1, 2, 3):
            ids[3 * class_id - 2 : 3 * class_id + 2, class_id : class_id + 9] = class_id
        (folder / "photos" / "a").mkdir(parents=True, exist_ok=True)
        (folder / "photos" / "a" / f"{index}.jpg").write_bytes(save(ids, "JPEG"))
    np.savez(folder / "maps.npz", **maps)
    (folder / "names.json").write_text(json.dumps(NAMES))
    script = Path(__file__).with_name("labelling_tools.py")
    subprocess.run([READERS, str(script), str(folder)], check=True, capture_output=True)
    voc = {
        str(path.relative_to(folder / "voc")): path.read_bytes()
        for path in sorted((folder / "voc").rglob("*"))
        if path.is_file()
    }
    (folder / "voc.zip").write_bytes(files.zipped(voc))
    return folder


def maps_of(written: Path) -> dict[str, NDArray[np.uint8]]:
    return {f"{name}.jpg": ids for name, ids in np.load(written / "maps.npz").items()}


@pytest.mark.parametrize(
    "name",
    [
        "coco/annotations/instances_default.json",
        "panoptic/annotations/panoptic_default.json",
        "voc.zip",
        "label-studio.json",
    ],
)
def test_masks_are_equal_to_the_pixel(written: Path, name: str) -> None:
    truths, facts = listed(written / "photos", written / name)
    assert facts is not None and not facts.notes
    for image_id, ids in maps_of(written).items():
        assert np.array_equal(read(truths[image_id]), ids)


def test_polygons_along_pixels_are_equal_to_the_pixel(written: Path) -> None:
    truths, _ = listed(written / "photos", written / "polygons/annotations/instances_default.json")
    for image_id, ids in maps_of(written).items():
        expected = np.zeros_like(ids)
        for class_id in (1, 2, 3):
            rows, columns = np.nonzero(ids == class_id)
            expected[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1] = class_id
        assert np.array_equal(read(truths[image_id]), expected)
