"""Rasters on Ray: a part whose actor is killed is computed again and no other, on a disk and in a store."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from object_store import KEYS, object_store
from raster_scenes import MODEL, make_scene, mask_of, part_files, parts_told, results_of, run
from ray_nodes import environment

from batchseg.inspect.verify import verify

TILING = {"part": 60}  # of 150 x 210 pixels, in steps of 48
PARTS = 4 * 5


def seen(notes: Path) -> int:
    """Windows that all processes together saw."""
    return sum(path.stat().st_size for path in notes.iterdir())


@pytest.mark.usefixtures("ray_session")
def test_an_actor_that_is_killed_costs_the_part_under_way(tmp_path: Path) -> None:
    scene, notes, undisturbed = make_scene(tmp_path), tmp_path / "notes", tmp_path / "undisturbed_notes"
    for folder, out, dies_after in ((undisturbed, "undisturbed", 0), (notes, "out", 20)):
        folder.mkdir()
        options = {"notes": str(folder), "dies_after": dies_after}
        more = {"actors": 2, "batch_size": 2, "options": options}
        assert run(scene, out, TILING, segmentor=more).statuses == {"ok": 1}
    assert (notes / "died").exists()
    assert results_of(scene, "out")[0] == results_of(scene, "undisturbed")[0]
    assert parts_told(scene, "out")["computed"] == PARTS
    assert seen(notes) - seen(undisturbed) <= 4 * 2  # a part of one step lies in four windows at most
    assert not part_files(scene, "out")


@pytest.mark.slow
def test_rasters_in_an_object_store(tmp_path: Path) -> None:
    scene = make_scene(tmp_path)
    shutil.copy(scene / "images/a.tif", scene / "images/b.tif")
    with object_store() as store:
        for path in [*scene.rglob("*.tif")]:
            store.put(path.relative_to(scene).as_posix(), path.read_bytes())
        words = [sys.executable, "-m", "batchseg", "run", store.uri("images"), "--truth", store.uri("truth")]
        words += ["--model", MODEL, "--output", store.uri("out"), "--tile", "64", "--set", "tiling.part=60"]
        env = {**environment(), **KEYS, "AWS_EC2_METADATA_DISABLED": "true"}
        done = subprocess.run(words, env=env, capture_output=True, text=True, timeout=280, check=False)
        assert done.returncode == 0, done.stderr
        found = store.get("out/masks/a.tif")
        assert not [key for key in store.keys("out") if ".parts" in key and not key.endswith("/")]
        places = {store.uri(name): str(scene / name) for name in ("images", "truth", "out")}
    subprocess.run([places.get(word, word) for word in words], check=True)
    assert found == (scene / "out/masks/a.tif").read_bytes()
    assert mask_of(scene, "out").shape == (150, 210)
    assert verify(str(scene / "out")).counts == {}
