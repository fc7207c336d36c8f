"""Rasters that are interrupted, damaged, in the wrong place or too much for the disk: nothing is lost."""

from __future__ import annotations

import errno
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from click.testing import CliRunner
from raster_scenes import (
    TILED,
    damage_block,
    make_scene,
    mask_of,
    part_files,
    parts_told,
    results_of,
    run,
    settings,
    write_tiff,
)
from rasterio.crs import CRS
from rasterio.transform import Affine

import batchseg
from batchseg.cli.group import cli
from batchseg.errors import Interrupted, OutputError
from batchseg.results.tally import Tally
from batchseg.stages import raster_mask
from batchseg.storage.location import Location

pytestmark = [
    pytest.mark.usefixtures("in_process"),
    pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning"),
]

TILING = {"part": 60}  # of 150 x 210 pixels, in steps of 48
PARTS = 4 * 5


@pytest.fixture
def scene(tmp_path: Path) -> Path:
    return make_scene(tmp_path)


def row_of(scene: Path, out: str = "out") -> dict[str, Any]:
    (row,) = results_of(scene, out)[1]
    return row


def interrupt_after(parts: int) -> Callable[[Tally], None]:
    def look(tally: Tally) -> None:
        if tally.parts is not None and tally.parts.done == parts:
            raise KeyboardInterrupt

    return look


def interrupted(scene: Path, parts: int = 7, **more: Any) -> None:
    config = batchseg.load_config(overrides=settings(scene, "out", {**TILING, **more}))
    with pytest.raises(Interrupted, match=rf"0 of \d images and {parts} parts of others are committed"):
        batchseg.run(config, interrupt_after(parts))
    assert len(part_files(scene, "out")) == parts


def test_an_interrupted_run_goes_on_within_the_raster(scene: Path) -> None:
    run(scene, "undisturbed", TILING)
    interrupted(scene)
    run(scene, "out", TILING)
    assert {**parts_told(scene, "out"), "elapsed_s": 0, "utilisation": 0} == {
        **{"computed": PARTS - 7, "kept": 7},
        **{"elapsed_s": 0, "utilisation": 0},
    }
    assert results_of(scene, "out") == results_of(scene, "undisturbed")
    assert not (scene / "out/.parts").exists()


def test_parts_of_other_settings_are_swept(scene: Path) -> None:
    interrupted(scene)
    run(scene, "out", {**TILING, "overlap": 0.5})
    assert parts_told(scene, "out")["kept"] == 0
    assert not (scene / "out/.parts").exists()


def test_a_raster_that_is_gone_leaves_no_parts(scene: Path) -> None:
    shutil.copy(scene / "images/a.tif", scene / "images/b.tif")
    interrupted(scene, PARTS + 3)
    (scene / "images/a.tif").unlink()
    (scene / "truth/a.tif").rename(scene / "truth/b.tif")
    run(scene, "out", TILING)
    assert (parts_told(scene, "out")["computed"], parts_told(scene, "out")["kept"]) == (PARTS, 0)
    assert [row["id"] for row in results_of(scene, "out")[1]] == ["b.tif"]
    for folder in ("images", "truth"):
        (scene / folder / "b.tif").rename(scene / folder / "c.tif")
    run(scene, "out", TILING, prune=True)
    assert [row["id"] for row in results_of(scene, "out")[1]] == ["c.tif"]
    assert not (scene / "out/.parts").exists()


def test_kill_9_costs_the_part_under_way(scene: Path, tmp_path: Path) -> None:
    script = "import sys, pytest, without_ray\nfrom batchseg.__main__ import main\n"
    script += "without_ray.stay_in_process(pytest.MonkeyPatch())\nmain()"
    notes = tmp_path / "notes"
    notes.mkdir()
    options = {"notes": str(notes), "dies_after": 40}
    config = batchseg.load_config(overrides=settings(scene, "out", TILING, segmentor={"options": options}))
    (tmp_path / "job.yaml").write_text(config.model_dump_json())
    words = [sys.executable, "-c", script, "run", "--config", str(tmp_path / "job.yaml"), "--quiet"]
    paths = [str(Path(__file__).parents[1]), str(Path(__file__).parents[2])]
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}
    assert subprocess.run(words, env=env, check=False).returncode == -9
    kept = len(part_files(scene, "out"))
    assert kept > 0
    subprocess.run(words, env=env, check=True)
    told = parts_told(scene, "out")
    assert (told["kept"], told["computed"]) == (kept, PARTS - kept)
    run(scene, "undisturbed", TILING)
    assert results_of(scene, "out")[0] == results_of(scene, "undisturbed")[0]


def test_a_damaged_block_costs_its_part(scene: Path) -> None:
    shutil.copy(scene / "images/a.tif", scene / "images/b.tif")
    damage_block(scene / "images/a.tif", 1, 1)  # rows and columns 64 to 127
    result = run(scene, "out", TILING)
    assert result.statuses == {"unreadable": 1, "ok": 1}
    row, other = results_of(scene, "out")[1]
    assert re.match(
        r"part 7 of 20 \(rows 48 to 95, columns 48 to 95\): the TIFF cannot be read", row["error"]
    )
    assert (other["status"], row["mask"]) == ("ok", None)
    left = part_files(scene, "out")
    assert 0 < sum(name.endswith(".json") for name in left) < PARTS == len(left)
    failed = sum(name.endswith(".json") for name in left)
    run(scene, "out", TILING)
    assert (parts_told(scene, "out")["computed"], parts_told(scene, "out")["kept"]) == (
        failed,
        PARTS - failed,
    )
    shutil.copy(scene / "images/b.tif", scene / "images/a.tif")
    run(scene, "out", TILING)
    assert parts_told(scene, "out")["computed"] == PARTS
    assert np.array_equal(mask_of(scene, "out"), mask_of(scene, "out", "b.tif"))
    assert not (scene / "out/.parts").exists()


def test_a_damaged_truth_costs_the_score(scene: Path) -> None:
    damage_block(scene / "truth/a.tif", 1, 1)
    run(scene, "out", TILING)
    row = row_of(scene)
    assert (row["status"], row["truth_status"], row["has_truth"]) == ("ok", "unreadable", False)
    assert "label file: the TIFF cannot be read" in row["error"]
    assert {each["truth"] for each in results_of(scene, "out")[2]} == {None}
    assert mask_of(scene, "out").shape == (150, 210)


@pytest.mark.parametrize(
    ("size", "place", "sentence"),
    [
        ((150, 209), {}, "the image is 210 x 150 pixels, its truth 209 x 150"),
        ((150, 210), {"crs": CRS.from_epsg(32633)}, "the image is in EPSG:32632, its truth in EPSG:32633"),
        ((150, 210), {"transform": Affine(10, 0, 5e5, 0, -10, 4e6)}, "the image lies at"),
    ],
)
def test_truth_elsewhere(scene: Path, size: tuple[int, int], place: dict[str, Any], sentence: str) -> None:
    write_tiff(scene / "truth/a.tif", np.zeros((*size, 1), np.uint8), **TILED, **place)
    run(scene, "out", TILING)
    row = row_of(scene)
    assert (row["status"], row["truth_status"]) == ("ok", "mismatch")
    assert sentence in row["error"]


def full(*_: Any, **__: Any) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_a_disk_that_fills_up_while_parts_are_joined(scene: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = batchseg.load_config(overrides=settings(scene, "out", TILING))
    (scene / "job.yaml").write_text(config.model_dump_json())
    words = ["run", "--config", str(scene / "job.yaml"), "--quiet"]
    with monkeypatch.context() as patch:
        patch.setattr(raster_mask, "write_label_tiff", full)
        done = CliRunner().invoke(cli, words)
    assert done.exit_code == 1
    assert re.fullmatch(r"batchseg: .*a\.tif: cannot be written: No space left on device\n", done.output)
    assert len(part_files(scene, "out")) == PARTS
    assert CliRunner().invoke(cli, words).exit_code == 0
    assert (parts_told(scene, "out")["computed"], parts_told(scene, "out")["kept"]) == (0, PARTS)


def test_a_disk_that_fills_up_while_parts_are_kept(scene: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write = Location.write
    with monkeypatch.context() as patch:
        patch.setattr(Location, "write", lambda at, data: full() if at.name == "7.npz" else write(at, data))
        with pytest.raises(OutputError, match="cannot be written: No space left on device"):
            run(scene, "out", TILING)
    run(scene, "out", TILING)
    assert parts_told(scene, "out")["kept"] == 7


def test_a_part_that_was_torn_is_computed_again(scene: Path) -> None:
    run(scene, "undisturbed", TILING)
    interrupted(scene)
    torn = next((scene / "out/.parts").rglob("3.npz"))
    torn.write_bytes(torn.read_bytes()[:-30])
    with pytest.raises(OutputError, match=r"3\.npz: the file is damaged, and was deleted"):
        run(scene, "out", TILING)
    run(scene, "out", TILING)
    assert parts_told(scene, "out")["computed"] == 1
    assert results_of(scene, "out") == results_of(scene, "undisturbed")


def test_turned_pixels_are_refused(scene: Path) -> None:
    with rasterio.open(scene / "images/a.tif") as file:
        pixels = file.read()
    from image_files import with_orientation
    from PIL import Image

    path = scene / "images/a.tif"
    Image.fromarray(pixels.transpose(1, 2, 0)).save(path, exif=with_orientation(6))
    (scene / "truth/a.tif").unlink()
    run(scene, "out", TILING, source={"truth": None})
    row = row_of(scene)
    assert row["status"] == "unsupported"
    assert "its pixels are stored turned (Orientation 6)" in row["error"]
    run(scene, "stored", TILING, source={"truth": None, "orientation": "stored"})
    assert row_of(scene, "stored")["status"] == "ok"
