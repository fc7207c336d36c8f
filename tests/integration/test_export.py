"""Exports of whole runs and evaluations: masks as they are written, of images wherever they lie."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import geopandas
import numpy as np
import pytest
import raster_scenes
from click.testing import CliRunner
from object_store import KEYS, Store, object_store
from PIL import Image
from pycocotools.coco import COCO
from rasterio.features import rasterize

import batchseg
from batchseg.cli.group import cli
from batchseg.config.load import validate

pytestmark = [
    pytest.mark.usefixtures("in_tasks"),
    # pycocotools hands numpy arrays of its own, which do not know of `copy`
    pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning"),
]
LABELS = """
classes:
  - {name: background, truth_ids: [7], colour: '#101010'}
  - {name: lesion, truth_ids: [21], colour: '#c80000'}
"""


def maps_of(file: Path) -> dict[str, np.ndarray]:
    """Class ids of each image of a COCO file, 0 where there is no object."""
    coco, maps = COCO(file), {}
    for image in coco.imgs.values():
        maps[image["file_name"]] = np.zeros((image["height"], image["width"]), int)
        for each in coco.loadAnns(coco.getAnnIds(imgIds=image["id"])):
            maps[image["file_name"]] += coco.annToMask(each) * each["category_id"]
    return maps


def test_a_run_and_its_worst_images(sample_data: Path, tmp_path: Path) -> None:
    results = str(tmp_path / "results")
    batchseg.run(str(sample_data / "images"), model="threshold", output=results)
    opened = batchseg.open_results(results)
    for settings, count in (({}, len(opened.images)), ({"where": "height > 1", "images": 3}, 3)):
        out = tmp_path / f"{count}.json"
        report = batchseg.export(results, to="coco", output=out, settings=settings)
        assert (report.written, report.lacking) == (count, 0)
        for name, found in maps_of(out).items():
            np.testing.assert_array_equal(found == 1, opened.mask(name) == 1)


def evaluated(tmp_path: Path, mask_ids: str) -> dict[str, np.ndarray]:
    """Scores of masks whose values are class ids, the data set's own, or colours; and where lesions are."""
    labels = tmp_path / "labels.yaml"
    labels.write_text(LABELS)
    values = {"class": (0, 1), "truth": (7, 21), "colours": ((16, 16, 16), (200, 0, 0))}[mask_ids]
    rng, wanted = np.random.default_rng(0), {}
    for name in ("a.png", "b/a.png"):
        lesion = rng.random((9, 11)) < 0.4
        wanted[name] = lesion
        truth = np.where(lesion, 21, 7).astype(np.uint8)
        for folder, pixels in (("masks", np.array(values, np.uint8)[lesion.astype(int)]), ("truth", truth)):
            path = tmp_path / folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels).save(path)
    config = {
        "masks": str(tmp_path / "masks"),
        "truth": str(tmp_path / "truth"),
        "output": str(tmp_path / "scores"),
        "labels": str(labels),
        "mask_ids": "truth" if mask_ids == "truth" else "class",
    }
    assert batchseg.evaluate(validate(batchseg.EvaluateConfig, config, "the test")).metrics["accuracy"] == 1
    return wanted


@pytest.mark.parametrize("mask_ids", ["class", "truth", "colours"])
def test_masks_that_were_evaluated(tmp_path: Path, mask_ids: str) -> None:
    wanted, labels = evaluated(tmp_path, mask_ids), tmp_path / "labels.yaml"
    report = batchseg.export(str(tmp_path / "scores"), to="coco", output=tmp_path / "out.json")
    assert (report.written, report.problems) == (2, [])
    for name, found in maps_of(tmp_path / "out.json").items():
        np.testing.assert_array_equal(found == 1, wanted[name])
    (tmp_path / "masks/a.png").unlink()
    again = batchseg.export(str(tmp_path / "scores"), to="coco", output=tmp_path / "again.json")
    assert again.problems == [
        ("a.png", f"its mask {tmp_path / 'masks/a.png'} cannot be used: there is no such file")
    ]
    labels.unlink()  # the record has it
    assert batchseg.export(str(tmp_path / "scores"), to="coco", output=tmp_path / "more.json").written == 1
    np.testing.assert_array_equal(maps_of(tmp_path / "more.json")["b/a.png"] == 1, wanted["b/a.png"])


@pytest.mark.parametrize("mask_ids", ["class", "truth", "colours"])
def test_masks_that_an_earlier_batchseg_evaluated(tmp_path: Path, mask_ids: str) -> None:
    """Its record does not say how they were read, nor what the label map was."""
    wanted = evaluated(tmp_path, mask_ids)
    file, scores = tmp_path / "scores/run.json", str(tmp_path / "scores")
    record = json.loads(file.read_text())
    del record["truth_label_map"], record["mask_reading"], record["truth_reading"]
    file.write_text(json.dumps(record))
    report = batchseg.export(scores, to="coco", output=tmp_path / "out.json")
    assert (report.written, report.problems) == (2, [])
    for name, found in maps_of(tmp_path / "out.json").items():
        np.testing.assert_array_equal(found == 1, wanted[name])
    (tmp_path / "labels.yaml").unlink()
    with pytest.raises(batchseg.BatchsegError, match="their label map is gone"):
        batchseg.export(scores, to="coco", output=tmp_path / "more.json")


def test_rasters_lie_on_the_map(tmp_path: Path) -> None:
    scene = raster_scenes.make_scene(tmp_path)
    raster_scenes.run(scene, "out", {})
    out = tmp_path / "out.parquet"
    words = ["export", str(scene / "out"), str(out), "--to", "geoparquet", "--where", "id like '%.tif'"]
    assert CliRunner().invoke(cli, words, catch_exceptions=False).exit_code == 0
    found, labels_HW = geopandas.read_parquet(out), raster_scenes.mask_of(scene, "out")
    assert found.crs == 32632 and found.is_valid.all()
    drawn = rasterize(
        zip(found.geometry, found["class_id"] + 1, strict=True),
        labels_HW.shape,
        transform=raster_scenes.UTM["transform"],
    )
    np.testing.assert_array_equal(drawn, np.where(labels_HW < raster_scenes.CLASSES, labels_HW + 1, 0))


@pytest.fixture(scope="module")
def store() -> Iterator[Store]:
    with object_store() as store:
        yield store


@pytest.mark.slow
def test_results_and_exports_on_an_object_store(
    sample_data: Path, tmp_path: Path, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    for key, value in {**KEYS, "AWS_EC2_METADATA_DISABLED": "true"}.items():
        monkeypatch.setenv(key, value)
    results = tmp_path / "results"
    batchseg.run(str(sample_data / "images"), model="threshold", output=str(results))
    for path in results.rglob("*"):
        if path.is_file():
            store.put(f"results/{path.relative_to(results)}", path.read_bytes())
    here, there = tmp_path / "here.json", store.uri("exports/there.json")
    batchseg.export(str(results), to="coco", output=here)
    batchseg.export(store.uri("results"), to="coco", output=there)
    assert store.get("exports/there.json") == here.read_bytes()
    with pytest.raises(batchseg.BatchsegError, match="is there already"):
        batchseg.export(store.uri("results"), to="coco", output=there)
    batchseg.export(store.uri("results"), to="coco", output=there, settings={"overwrite": True, "images": 1})
    assert len(json.loads(store.get("exports/there.json"))["images"]) == 1
