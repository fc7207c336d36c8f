"""Large rasters: the result does not depend on how they are cut, and is what the whole would have."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
import tiff_files
from image_files import FILES
from PIL import Image
from raster_scenes import TILED, check_equal_cuts, make_scene, mask_of, results_of, run, write_tiff
from sklearn.metrics import accuracy_score, f1_score, recall_score
from tiff_files import tiff_of

from batchseg.inspect.verify import verify

pytestmark = [
    pytest.mark.usefixtures("in_process"),
    pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning"),
]


@pytest.mark.parametrize(
    ("blend", "overlap", "scale"),
    [
        ("gaussian", 0.25, 1.0),
        ("constant", 0.25, 0.5),
        ("gaussian", 0, 1.5),
        ("constant", 0.5, 1.5),
        ("gaussian", 0.5, 0.7),
        ("constant", 0, 1.0),
    ],
)
def test_parts_change_nothing(tmp_path: Path, blend: str, overlap: float, scale: float) -> None:
    scene = make_scene(tmp_path)
    check_equal_cuts(scene, {"blend": blend, "overlap": overlap, "scale": scale})
    with rasterio.open(scene / "whole/masks/a.tif") as mask, rasterio.open(scene / "images/a.tif") as image:
        assert (mask.crs, mask.transform, mask.shape) == (image.crs, image.transform, image.shape)
    assert verify(str(scene / "cut100")).counts == {}


@pytest.mark.parametrize(
    ("kind", "scale"),
    [
        ("uint8", None),
        ("uint16", None),
        ("uint16", [0, 60_000]),
        ("uint16", {"percentiles": [2, 98]}),
        ("int16", {"percentiles": [0, 100]}),
        ("float32", [[0, 1], [0, 2], [-1, 1]]),
    ],
)
def test_parts_of_bands_change_nothing(tmp_path: Path, kind: str, scale: Any) -> None:
    scene = make_scene(tmp_path, kind=kind, channels=4, nodata=0)
    (scene / "truth/a.tif").unlink()
    source = {"bands": [4, 1, 2], "scale": scale, "truth": None}
    check_equal_cuts(scene, {"overlap": 0.25}, source=source)


def test_the_record_tells_where_the_model_ran(tmp_path: Path) -> None:
    run(make_scene(tmp_path), "out", {"part": 60}, segmentor={"batch_size": 3})
    placement = json.loads((tmp_path / "out/run.json").read_text())["placement"]
    assert (placement["batch_size"], placement["largest_batch"]) == (3, 3)


def test_figures_are_those_of_the_whole(tmp_path: Path) -> None:
    scene = make_scene(tmp_path)
    result = run(scene, "cut", {"part": 100})
    with rasterio.open(scene / "truth/a.tif") as file:
        truth = file.read(1).ravel()
    truth, labels = truth[truth != 255], mask_of(scene, "cut").ravel()[truth != 255]
    (row,) = results_of(scene, "cut")[1]
    assert row["truth_pixels"] == len(truth)
    assert row["accuracy"] == accuracy_score(truth, labels)
    for figure, score in (("recall", recall_score), ("f1", f1_score)):
        for average in ("macro", "weighted"):
            expected = score(truth, labels, average=average, zero_division=0)
            assert row[f"{figure}_{average}"] == pytest.approx(expected, abs=1e-12)
    assert result.metrics["accuracy"] == row["accuracy"]


RNG = np.random.default_rng(3)
GREY, WIDE = RNG.integers(0, 256, (30, 41), np.uint8), RNG.integers(0, 65536, (30, 41, 3), np.uint16)
DARK = WIDE // 16
RGBA = RNG.integers(0, 256, (30, 41, 4), dtype=np.uint8)
LAYOUTS = {
    **{name: data for name, data in FILES.items() if name.startswith("tiff")},
    "planar": tiff_of(RGBA[..., :3], tiff_files.RGB, planar=tiff_files.PLANAR, rows=7),
    "tiles": tiff_of(RGBA[..., :3], tiff_files.RGB, tile=16, compression=tiff_files.DEFLATE),
    "big and alpha": tiff_of(RGBA, tiff_files.RGB, extra=[2], big=True, rows=9),
    "grey": tiff_of(GREY, tiff_files.MIN_IS_BLACK, rows=8),
    "0 is white": tiff_of(GREY, tiff_files.MIN_IS_WHITE, rows=8),
    "grey and alpha": tiff_of(RGBA[..., :2], tiff_files.MIN_IS_BLACK, extra=[2]),
    "16 bits": tiff_of(WIDE, tiff_files.RGB, rows=8),
    "12 of 16 bits": tiff_of(DARK, tiff_files.RGB, rows=8, tags={281: [4095] * 3}),
    "five bands": tiff_of(np.dstack([RGBA, GREY]), tiff_files.MIN_IS_BLACK, extra=[0] * 4),
    "five bands with colours": tiff_of(np.dstack([RGBA, GREY]), tiff_files.RGB, extra=[0] * 2),
    "16 bits of bands": tiff_of(WIDE, tiff_files.MIN_IS_BLACK, extra=[0] * 2),
    "16 bits of grey, big endian": tiff_of(WIDE[..., 0], tiff_files.MIN_IS_BLACK, order=">"),
    "0 is white of 16 bits": tiff_of(WIDE[..., 0], tiff_files.MIN_IS_WHITE),
    "ycbcr": tiff_of(RGBA[..., :3], tiff_files.YCBCR, tags={530: [1, 1]}),
    "cmyk": tiff_of(RGBA, tiff_files.CMYK),
    "lab": tiff_of(RGBA[..., :3], tiff_files.LAB),
    "signed": tiff_of(RGBA[..., 0].view(np.int8), tiff_files.MIN_IS_BLACK),
    "signed 16 bits": tiff_of(WIDE[..., 0].astype(np.int16), tiff_files.MIN_IS_BLACK),
    "floats": tiff_of(WIDE[..., 0].astype(np.float32), tiff_files.MIN_IS_BLACK),
}


AT_ONCE = ("tiff palette", "tiff fax", "tiff cmyk", "cmyk", "ycbcr")  # which rasterio reads in another way


@pytest.mark.parametrize("name", LAYOUTS)
def test_every_layout_is_read_in_parts_as_it_is_at_once(tmp_path: Path, name: str) -> None:
    scene = tmp_path / "scene"
    (scene / "images").mkdir(parents=True)
    (scene / "images/a.tif").write_bytes(LAYOUTS[name])
    tiling = {"size": 16, "overlap": 0.25}
    for part in (4096, 12):
        run(scene, f"{part}", {**tiling, "part": part}, source={"truth": None})
    (whole,), (cut,) = (results_of(scene, out)[1] for out in ("4096", "12"))
    if name in AT_ONCE:
        assert (cut["status"], "save it as RGB" in cut["error"]) == ("unsupported", True)
    elif whole["status"] != "ok":
        assert cut["status"] == whole["status"]
    else:
        assert cut["status"] == "ok", cut["error"]
        assert np.array_equal(mask_of(scene, "12"), mask_of(scene, "4096"))


def test_verify_knows_pixels_without_data(tmp_path: Path) -> None:
    scene = make_scene(tmp_path, kind="uint16", channels=3, nodata=0)
    with rasterio.open(scene / "images/a.tif", "r+") as file:
        file.write(np.zeros((3, 40, 30), np.uint16), window=((20, 60), (50, 80)))
        without = (file.read() == 0).any(axis=0)
    run(scene, "out", {"part": 60}, source={"bands": [1, 2, 3]})
    assert np.array_equal(mask_of(scene, "out") == 255, without)
    assert sum(each["pixels"] for each in results_of(scene, "out")[2]) == (~without).sum()
    assert verify(str(scene / "out")).counts == {}
    with rasterio.open(scene / "out/masks/a.tif", "r+") as file:  # a pixel more without a class
        file.write(np.full((1, 1, 1), 255, np.uint8), window=((100, 101), (100, 101)))
    assert not without[100, 100]
    assert verify(str(scene / "out")).counts == {"mask_counts": 1}


@pytest.mark.parametrize("layout", [{**TILED, "compress": "jpeg"}, {"compress": "jpeg", "blockysize": 16}])
@pytest.mark.parametrize("colours", ["ycbcr", "rgb"])
def test_jpeg_blocks_have_the_same_colours_at_once_and_in_parts(
    tmp_path: Path, layout: dict[str, Any], colours: str
) -> None:
    photo = Image.fromarray(RNG.integers(0, 256, (9, 11, 3), np.uint8)).resize((131, 90))
    write_tiff(tmp_path / "images/a.tif", np.array(photo), photometric=colours, **layout)
    check_equal_cuts(tmp_path, {"size": 32}, source={"truth": None})


@pytest.mark.parametrize("orientation", [1, 3, 6, 8])
@pytest.mark.parametrize("bands", [None, [1, 2, 3]])
def test_where_a_turned_picture_has_no_data_is_turned_with_it(
    tmp_path: Path, orientation: int, bands: list[int] | None
) -> None:
    pixels = np.random.default_rng(3).integers(0, 256, (24, 36, 4), np.uint8)
    pixels[..., 3] = np.where(np.arange(36) < 10, 0, 255)
    (tmp_path / "images").mkdir()
    (tmp_path / "images/a.tif").write_bytes(tiff_of(pixels, extra=(2,), tags={274: orientation}))
    turn = {1: 0, 3: 2, 6: -1, 8: 1}[orientation]  # quarters, anticlockwise
    for name, turned in (("exif", turn), ("stored", 0)):
        run(tmp_path, name, {"size": 16}, source={"truth": None, "bands": bands, "orientation": name})
        assert np.array_equal(mask_of(tmp_path, name) == 255, np.rot90(pixels[..., 3] == 0, turned))
    assert verify(str(tmp_path / "exif")).problems == []
