"""Masks as TIFFs in whole runs: named, placed, verified, scored again, repainted and drawn."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import rasterio
from click.testing import CliRunner
from PIL import Image
from rasterio.crs import CRS
from rasterio.transform import Affine

import batchseg
from batchseg.cli.group import cli
from batchseg.config.source import FolderSource
from batchseg.errors import ConfigError
from batchseg.inspect.verify import verify
from batchseg.source.open import list_source, open_source
from batchseg.storage.location import locate

pytestmark = [
    pytest.mark.usefixtures("in_tasks"),
    pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning"),
]

UTM = {"crs": CRS.from_epsg(32632), "transform": Affine(10, 0, 5e5, 0, -10, 5e6)}
LABELS = "classes: [{name: dark, colour: '#102030'}, {name: bright, colour: '#c86400'}]\n"


def tiff(path: Path, pixels: np.ndarray, **place: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    size = {"height": pixels.shape[0], "width": pixels.shape[1], "count": pixels.shape[2], "dtype": "uint8"}
    with rasterio.open(path, "w", driver="GTiff", **size, **place) as file:
        file.write(pixels.transpose(2, 0, 1))


@pytest.fixture
def scene(tmp_path: Path) -> Path:
    """Three images: a TIFF on the map, another with a turned grid and control points, and a PNG."""
    rng = np.random.default_rng(8)
    for name, place in (
        ("a.tif", UTM),
        ("sub/b.TIFF", {**UTM, "transform": UTM["transform"] @ Affine.rotation(9)}),
    ):
        pixels = rng.integers(0, 256, (40, 50, 3), dtype=np.uint8)
        tiff(tmp_path / "images" / name, pixels, **place)
        truth = (pixels.mean(axis=2, keepdims=True) > 110).astype(np.uint8)
        tiff((tmp_path / "truth" / name).with_suffix(".tif"), truth, **place)
    Image.fromarray(rng.integers(0, 256, (20, 30, 3), dtype=np.uint8)).save(tmp_path / "images" / "c.png")
    (tmp_path / "labels.yaml").write_text(LABELS)
    return tmp_path


def run(scene: Path, folder: str = "out", format: str = "tiff", **more: Any) -> batchseg.RunResult:
    overlays = more.pop("overlays", False)
    settings = {
        "source": {"path": str(scene / "images"), "truth": str(scene / "truth")},
        "segmentor": {"kind": "threshold", "levels": [128]},
        "labels": str(scene / "labels.yaml"),
        "output": {"path": str(scene / folder), "format": format, "overlays": overlays},
    }
    return batchseg.run(batchseg.load_config(overrides={**settings, **more}))


def names(scene: Path, folder: str = "out") -> list[str]:
    masks = scene / folder / "masks"
    return sorted(path.relative_to(masks).as_posix() for path in masks.rglob("*") if path.is_file())


def image_rows(scene: Path) -> list[dict[str, Any]]:
    return pq.read_table(scene / "out/images").to_pylist()


def place_of(path: Path) -> tuple[Any, ...]:
    with rasterio.open(path) as file:
        return file.crs, file.transform, file.shape


def test_every_mask_is_a_tiff_where_its_image_lies(scene: Path) -> None:
    first, second = run(scene), run(scene, "png", "png")
    assert names(scene) == ["a.tif", "c.tif", "sub/b.tif"]
    assert names(scene, "png") == ["a.png", "c.png", "sub/b.png"]
    for mask, image in (("a.tif", "a.tif"), ("sub/b.tif", "sub/b.TIFF"), ("c.tif", "c.png")):
        assert place_of(scene / "out/masks" / mask) == place_of(scene / "images" / image)
        with Image.open(scene / "png/masks" / mask.replace(".tif", ".png")) as picture:
            expected = np.array(picture)
        with rasterio.open(scene / "out/masks" / mask) as file:
            assert np.array_equal(file.read(1), expected)
            assert file.colormap(1)[1] == (0xC8, 0x64, 0, 255)
    assert first.metrics == second.metrics and first.metrics["accuracy"] is not None
    assert verify(str(scene / "out")).counts == {}
    assert run(scene).record["images"]["done_before"] == 3


@pytest.mark.parametrize(
    ("format", "tiling", "expected"),
    [
        ("auto", None, ["a.png", "c.png", "sub/b.png"]),
        ("auto", 64, ["a.tif", "c.png", "sub/b.tif"]),
        ("png", 64, ["a.png", "c.png", "sub/b.png"]),
        ("tiff", None, ["a.tif", "c.tif", "sub/b.tif"]),
    ],
)
def test_the_names_follow_from_the_settings(
    scene: Path, format: str, tiling: int | None, expected: list[str]
) -> None:
    output = {"path": "b", "format": format}
    job = {"source": "a", "segmentor": "threshold", "output": output, "tiling": tiling}
    images = open_source(FolderSource(path=str(scene / "images")))
    tiffs = batchseg.load_config(overrides=job).tiffs
    listed = list_source(images, locate(str(scene / "listing.arrow")), "stem", tiffs)
    assert sorted(name for table in listed.tables() for name in table["mask"].to_pylist()) == expected
    assert listed.tiff_masks == sum(name.endswith(".tif") for name in expected)


def test_without_rasterio_it_is_said_once(scene: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "rasterio", None)
    with pytest.raises(ConfigError, match=r"TIFF masks, need the package rasterio: pip"):
        run(scene)
    assert not (scene / "out" / "masks").exists()
    run(scene, format="png")


def test_a_truth_in_another_crs_is_a_mismatch_and_is_scored_once_it_fits(scene: Path) -> None:
    with rasterio.open(scene / "truth/a.tif") as file:
        pixels = file.read().transpose(1, 2, 0)
    tiff(scene / "truth/a.tif", pixels, crs=CRS.from_epsg(4326), transform=UTM["transform"])
    run(scene)
    rows = {row["id"]: row for row in image_rows(scene)}
    assert (rows["a.tif"]["status"], rows["a.tif"]["truth_status"]) == ("ok", "mismatch")
    assert "the image is in EPSG:32632, its truth in EPSG:4326" in rows["a.tif"]["error"]
    assert rows["sub/b.TIFF"]["truth_status"] == "ok"
    tiff(scene / "truth/a.tif", pixels, **UTM)
    record = run(scene).record
    assert (record["images"]["segmented"], record["images"]["scored"]) == (0, 1)
    assert {row["truth_status"] for row in image_rows(scene)} == {"ok", "none"}


def test_a_corrupt_block_is_found_and_mended(scene: Path) -> None:
    run(scene)
    with rasterio.open(scene / "out/masks/a.tif") as file:
        offset = int(file.get_tag_item("BLOCK_OFFSET_0_0", "TIFF", bidx=1))
    with open(scene / "out/masks/a.tif", "r+b") as data:
        data.seek(offset + 20)
        data.write(b"\xff" * 30)
    with rasterio.open(scene / "out/masks/c.tif", "r+") as file:
        file.write(1 - file.read(1), 1)
    assert verify(str(scene / "out"), repair=True).counts == {"mask_unreadable": 1, "mask_counts": 1}
    assert run(scene).record["images"]["segmented"] == 2
    assert verify(str(scene / "out")).counts == {}


def test_colours_are_rewritten_in_place(scene: Path) -> None:
    run(scene)
    (scene / "labels.yaml").write_text(LABELS.replace("#c86400", "#00ff7f"))
    record = run(scene).record["images"]
    assert (record["segmented"], record["repainted"]) == (0, 3)
    run(scene, "fresh")
    for name in names(scene):
        assert (scene / "out/masks" / name).read_bytes() == (scene / "fresh/masks" / name).read_bytes()


def test_what_is_gone_is_pruned_with_its_overlay(scene: Path) -> None:
    run(scene, overlays=True)
    assert (scene / "out/overlays/a.tif.jpg").exists() and verify(str(scene / "out")).counts == {}
    (scene / "images/a.tif").unlink()
    run(scene, prune=True)
    assert names(scene) == ["c.tif", "sub/b.tif"]
    assert not (scene / "out/overlays/a.tif.jpg").exists()


def test_pictures_of_two_kinds_and_one_stem_have_a_mask_and_an_overlay_each(scene: Path) -> None:
    Image.new("RGB", (20, 30)).save(scene / "images" / "a.png")
    Image.new("RGB", (20, 30)).save(scene / "images" / "a.jpg")
    run(scene, format="auto", tiling=64, overlays=True)
    assert names(scene) == ["a.png", "a.png.png", "a.tif", "c.png", "sub/b.tif"]
    drawn = sorted(path.name for path in (scene / "out/overlays").rglob("*.jpg"))
    assert drawn == ["a.jpg", "a.png.jpg", "a.tif.jpg", "b.tif.jpg", "c.jpg"]


def test_a_candidate_takes_their_place_and_overlays_are_drawn_afterwards(scene: Path) -> None:
    run(scene)
    darker = {"kind": "threshold", "levels": [90]}
    run(scene, segmentor=darker, candidate=True)
    assert names(scene, "out/candidate") == ["a.tif", "c.tif", "sub/b.tif"]
    assert batchseg.promote(str(scene / "out")).promoted
    run(scene, "fresh", segmentor=darker)
    for name in names(scene):
        assert (scene / "out/masks" / name).read_bytes() == (scene / "fresh/masks" / name).read_bytes()
    report = batchseg.overlay(batchseg.OverlayConfig(results=str(scene / "out"), kind="triptych"))
    assert (report.written, report.problems) == (3, [])
    assert (scene / "out/overlays/sub/b.tif.jpg").exists()
    assert verify(str(scene / "out")).counts == {}


def test_masks_of_a_folder_are_evaluated(scene: Path) -> None:
    metrics = run(scene).metrics
    done = batchseg.evaluate(
        str(scene / "out/masks"),
        truth=str(scene / "truth"),
        output=str(scene / "scores"),
        labels=str(scene / "labels.yaml"),
    )
    assert done.metrics == metrics


def test_the_command_line_has_them(tmp_path: Path) -> None:
    words = [
        "config",
        "show",
        "photos",
        "--model",
        "threshold",
        "--output",
        "o",
        "--format",
        "tiff",
        "--tile",
        "256",
    ]
    (tmp_path / "job.yaml").write_text("tiling: {size: 512, overlap: 0.5}\n")
    shown = CliRunner().invoke(cli, [*words, "--config", str(tmp_path / "job.yaml")]).stdout
    assert "format: tiff" in shown and "size: 256" in shown and "overlap: 0.5" in shown
    (tmp_path / "job.yaml").write_text("tiling: 512\n")
    assert "size: 256" in CliRunner().invoke(cli, [*words, "--config", str(tmp_path / "job.yaml")]).stdout
