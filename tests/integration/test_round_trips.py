"""What is exported to a labelling tool comes back as the same truth."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy import ndimage

import batchseg

CLASSES = ["background", "road", "car", "traffic light"]
NAMES = ("day/a.png", "day/b c.png", "night/a.png")


@pytest.fixture
def scene(tmp_path: Path, in_tasks: None) -> Path:
    """Evaluated masks: smooth regions of every class, and some noise."""
    generator = np.random.default_rng(3)
    for name in NAMES:
        smooth = np.stack([ndimage.gaussian_filter(generator.normal(size=(37, 53)), 3) for _ in CLASSES])
        ids_HW = smooth.argmax(0).astype(np.uint8)
        ids_HW[generator.random(ids_HW.shape) < 0.02] = 2
        path = tmp_path / "masks" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(ids_HW).save(path)
    (tmp_path / "labels.yaml").write_text(json.dumps({"classes": CLASSES}))
    judge(tmp_path, tmp_path / "masks", "results")
    return tmp_path


def judge(folder: Path, truth: Path, output: str) -> dict[str, list[object]]:
    """The confusion matrices of all masks against a truth."""
    result = batchseg.evaluate(
        str(folder / "masks"),
        truth=str(truth),
        labels=str(folder / "labels.yaml"),
        output=str(folder / output),
    )
    assert result.statuses == {"ok": len(NAMES)}
    assert result.metrics["accuracy"] == 1
    pixels = batchseg.open_results(str(folder / output)).pixels
    return pixels.sort_by([("id", "ascending"), ("truth", "ascending")]).to_pydict()  # type: ignore[no-any-return]


@pytest.mark.parametrize(
    ("kind", "name"),
    [("coco", "coco.json"), ("coco-panoptic", "panoptic"), ("cvat", "cvat.zip"), ("label-studio", "ls.json")],
)
def test_what_is_exported_is_read_as_the_same_truth(scene: Path, kind: str, name: str) -> None:
    out = scene / name
    report = batchseg.export(str(scene / "results"), to=kind, output=str(out))
    assert report.written == len(NAMES)
    if kind == "label-studio":  # as a reviewer who accepts every prediction leaves it
        tasks = json.loads(out.read_text())
        for task in tasks:
            task["annotations"] = task.pop("predictions")
        out.write_text(json.dumps(tasks))
    truth = out / "panoptic.json" if out.is_dir() else out
    assert judge(scene, truth, "again") == judge(scene, scene / "masks", "by masks")
