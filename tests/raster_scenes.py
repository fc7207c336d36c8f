"""Rasters on the map with their truths, a quick model of them, and runs over both."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import rasterio
from band_files import bands_of
from rasterio.crs import CRS
from rasterio.transform import Affine

import batchseg

MODEL = str(Path(__file__).parent / "raster_model.py") + ":Waves"
CLASSES = 5
UTM = {"crs": CRS.from_epsg(32632), "transform": Affine(10, 0, 5e5, 0, -10, 5e6)}
TILED = {"tiled": True, "blockxsize": 64, "blockysize": 64, "compress": "deflate"}
CUTS = (4096, 100, 47)  # the whole, a few parts of several windows, and many of one or two
PASSING = ("run_id", "finished_at", "segment_s")


def write_tiff(path: Path, pixels_HWC: np.ndarray, **options: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    height, width, count = pixels_HWC.shape
    size = {"height": height, "width": width, "count": count, "dtype": pixels_HWC.dtype}
    with rasterio.open(path, "w", driver="GTiff", **size, **{**UTM, **options}) as file:
        file.write(pixels_HWC.transpose(2, 0, 1))
    return path


def make_scene(
    folder: Path, size: tuple[int, int] = (150, 210), kind: str = "uint8", channels: int = 3, **options: Any
) -> Path:
    """One raster, images/a.tif, and its truth, which has pixels that count nowhere."""
    pixels = bands_of(kind, channels, size, seed=4)
    write_tiff(folder / "images/a.tif", pixels, **TILED, **options)
    rng = np.random.default_rng(5)
    truth = rng.choice([0, 1, 2, 3, 4, 255], (-(-size[0] // 16), -(-size[1] // 16))).astype(np.uint8)
    truth = truth.repeat(16, 0).repeat(16, 1)[: size[0], : size[1]]
    write_tiff(folder / "truth/a.tif", truth[..., None], **TILED)
    return folder


def settings(scene: Path, out: str, tiling: dict[str, Any], **more: Any) -> dict[str, Any]:
    source = {"path": str(scene / "images"), "truth": str(scene / "truth"), **more.pop("source", {})}
    segmentor = {"kind": "custom", "model": MODEL, "precision": "fp32", **more.pop("segmentor", {})}
    return {
        "source": {name: value for name, value in source.items() if value is not None},
        "segmentor": segmentor,
        "output": {"path": str(scene / out)},
        "tiling": {"size": 64, **tiling},
        **more,
    }


def run(scene: Path, out: str, tiling: dict[str, Any], **more: Any) -> batchseg.RunResult:
    return batchseg.run(batchseg.load_config(overrides=settings(scene, out, tiling, **more)))


def results_of(scene: Path, out: str) -> tuple[dict[str, bytes], list[dict[str, Any]], list[dict[str, Any]]]:
    """Masks as bytes, rows, and counted pixels; without what differs from run to run by nature."""
    root = scene / out
    masks = {path.name: path.read_bytes() for path in (root / "masks").rglob("*.tif")}
    rows = pq.read_table(root / "images").drop_columns([*PASSING]).sort_by("id").to_pylist()
    pixels = pq.read_table(root / "pixels").to_pylist()
    return masks, rows, sorted(pixels, key=str)


def damage_block(path: Path, row: int, column: int) -> None:
    """Overwrite the bytes of one block of a TIFF."""
    with rasterio.open(path) as file:
        place, size = (
            int(file.get_tag_item(f"BLOCK_{name}_{column}_{row}", "TIFF", bidx=1))
            for name in ("OFFSET", "SIZE")
        )
    data = bytearray(path.read_bytes())
    data[place : place + size] = b"\xa5" * size
    path.write_bytes(data)


def mask_of(scene: Path, out: str, name: str = "a.tif") -> np.ndarray:
    with rasterio.open(scene / out / "masks" / name) as file:
        return file.read(1)


def parts_told(scene: Path, out: str) -> dict[str, Any]:
    return json.loads((scene / out / "run.json").read_text())["parts"]


def part_files(scene: Path, out: str) -> list[str]:
    root = scene / out / ".parts"
    return sorted(path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file())


def check_equal_cuts(scene: Path, tiling: dict[str, Any], **more: Any) -> None:
    """Masks, rows and counts are the same however the raster is cut, and no part is left behind."""
    whole, *cut = CUTS
    run(scene, "whole", {**tiling, "part": whole}, **more)
    expected = results_of(scene, "whole")
    assert expected[1][0]["status"] == "ok", expected[1]
    for part in cut:
        run(scene, f"cut{part}", {**tiling, "part": part}, **more)
        assert parts_told(scene, f"cut{part}")["computed"] > 1
        assert results_of(scene, f"cut{part}") == expected
        assert not part_files(scene, f"cut{part}")
