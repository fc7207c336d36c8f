"""An S3 server for real: images read from it, results written to it, through an outage, with wrong keys."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from threading import Event

import numpy as np
import pytest
import rasterio
import requests
from object_store import KEYS, Store, object_store
from PIL import Image
from processes import runs
from rasterio.transform import Affine
from ray_nodes import environment
from result_tables import mask_files, tables

pytestmark = [pytest.mark.slow]

IMAGES = 40
OUTAGE_S = 5.0


@pytest.fixture(scope="module")
def store() -> Iterator[Store]:
    """A bucket with images and truth."""
    with object_store() as store:
        rng = np.random.default_rng(5)
        for index in range(IMAGES):
            image = rng.integers(0, 256, (40, 60), dtype=np.uint8)
            for name, pixels in (("images", image), ("truth", (image > 99).astype(np.uint8))):
                file = BytesIO()
                Image.fromarray(pixels).save(file, "PNG")
                store.put(f"scenes/{name}/{index % 3}/{index:02d}.png", file.getvalue())
        yield store


def download(store: Store, prefix: str, folder: Path) -> Path:
    for key in store.keys(prefix):
        if not key.endswith("/"):
            path = folder / key
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(store.get(key))
    return folder / prefix


def words(store: Store, output: str, *more: str) -> list[str]:
    source = ["run", store.uri("scenes/images"), "--truth", store.uri("scenes/truth")]
    return [sys.executable, "-m", "batchseg", *source, "--model", "threshold", "--precision", "fp32",
            "--output", store.uri(output), *more]  # fmt: skip


def batchseg(words: list[str], keys: dict[str, str] = KEYS) -> subprocess.CompletedProcess[str]:
    env = {**environment(), **keys, "AWS_EC2_METADATA_DISABLED": "true"}
    return subprocess.run(words, env=env, capture_output=True, text=True, timeout=280, check=False)


def test_the_same_tables_as_from_a_disk(store: Store, tmp_path: Path) -> None:
    done = batchseg(words(store, "plain"))
    assert done.returncode == 0, done.stderr
    verified = batchseg([sys.executable, "-m", "batchseg", "verify", store.uri("plain")])
    assert verified.returncode == 0, verified.stderr
    again = batchseg(words(store, "plain"))
    assert (again.returncode, f"{IMAGES} done before" in again.stderr) == (0, True), again.stderr
    download(store, "scenes", tmp_path)
    source = [str(tmp_path / "scenes" / "images"), "--truth", str(tmp_path / "scenes" / "truth")]
    local = words(store, "plain")
    local[4:7], local[-1] = source, str(tmp_path / "local")
    assert batchseg(local).returncode == 0
    found = download(store, "plain", tmp_path)
    elsewhere = ("uri", "source_version", "truth_version")
    assert tables(found, elsewhere) == tables(tmp_path / "local", elsewhere)
    assert mask_files(found) == mask_files(tmp_path / "local")
    assert not [key for key in store.keys("plain") if key.endswith(".lock") or "/.work/" in key]


def test_a_page_of_results_in_the_store(store: Store, tmp_path: Path) -> None:
    assert batchseg(words(store, "shown", "--limit", "4", "--report")).returncode == 0
    assert "shown/report.html" in store.keys("shown")
    local = str(tmp_path / "page.html")
    again = batchseg([sys.executable, "-m", "batchseg", "report", store.uri("shown"), "--output", local])
    assert again.returncode == 0, again.stderr
    page = (tmp_path / "page.html").read_text()
    for layer in ("photo", "truth", "predicted", "difference"):
        assert page.count(f'class="layer {layer}') == 4
    assert "cannot be shown" not in page


def test_an_outage_costs_time_and_nothing_else(store: Store) -> None:
    env = {**environment(), **KEYS, "AWS_EC2_METADATA_DISABLED": "true"}
    more = ("--set", "segmentor.batch_size=1", "--quiet")
    with subprocess.Popen(words(store, "outage", *more), env=env, stderr=-1, text=True) as process:
        try:
            while not any("/masks/" in key for key in store.keys("outage")):
                assert runs(process), process.communicate()
            store.proxy.cut()
            Event().wait(OUTAGE_S)
            assert runs(process), "it was in the middle"
            store.proxy.mend()
            _, errors = process.communicate(timeout=280)
        finally:
            process.kill()
    assert process.returncode == 0, errors
    verified = batchseg([sys.executable, "-m", "batchseg", "verify", store.uri("outage"), "--json"])
    assert verified.returncode == 0, verified.stdout
    masks = [key for key in store.keys("outage/masks") if key.endswith(".png")]
    assert len(masks) == IMAGES


def test_a_model_in_the_store_is_fetched_once(store: Store, sample_data: Path, tmp_path: Path) -> None:
    for path in (sample_data / "model").iterdir():
        store.put(f"models/digits/{path.name}", path.read_bytes())
    for model, output in ((store.uri("models/digits"), "fetched"), (str(sample_data / "model"), "local")):
        command = [sys.executable, "-m", "batchseg", "run", store.uri("scenes/images"), "--limit", "8"]
        command += ["--model", model, "--output", store.uri(output)]
        done = batchseg(command, {**KEYS, "BATCHSEG_CACHE": str(tmp_path)})
        assert done.returncode == 0, done.stderr
    cached = [path for path in (tmp_path / "models").iterdir() if path.is_dir()]
    assert [sorted(path.name for path in folder.iterdir()) for folder in cached] == [
        sorted(path.name for path in (sample_data / "model").iterdir())
    ]
    one, other = (mask_files(download(store, name, tmp_path)) for name in ("fetched", "local"))
    assert len(one) == 8
    assert one == other


def test_rasters_are_read_and_written_by_window(store: Store, tmp_path: Path) -> None:
    rng = np.random.default_rng(6)
    place = {"crs": "EPSG:32632", "transform": Affine(10, 0, 5e5, 0, -10, 5e6)}
    pixels = rng.integers(0, 256, (3, 90, 120), dtype=np.uint8)
    for name, bands in (
        ("images", pixels),
        ("truth", (pixels.mean(axis=0) > 99)[np.newaxis].astype(np.uint8)),
    ):
        size = {"height": 90, "width": 120, "count": len(bands), "dtype": "uint8"}
        with rasterio.open(tmp_path / "a.tif", "w", driver="GTiff", **size, **place) as file:
            file.write(bands)
        store.put(f"rasters/{name}/a.tif", (tmp_path / "a.tif").read_bytes())
    command = [
        "run",
        store.uri("rasters/images"),
        "--truth",
        store.uri("rasters/truth"),
        "--model",
        "threshold",
    ]
    output = ["--output", store.uri("mapped"), "--format", "tiff"]
    done = batchseg([sys.executable, "-m", "batchseg", *command, *output])
    assert done.returncode == 0, done.stderr
    assert batchseg([sys.executable, "-m", "batchseg", "verify", store.uri("mapped")]).returncode == 0
    with rasterio.MemoryFile(store.get("mapped/masks/a.tif")) as memory, memory.open() as mask:
        assert (mask.crs, mask.transform) == (rasterio.crs.CRS.from_epsg(32632), place["transform"])
        assert mask.shape == (90, 120)


def test_a_missing_bucket_is_one_sentence(store: Store) -> None:
    for place in ("scenes/images", "plain"):
        wrong = [word.replace(f"data/{place}", f"nowhere/{place}") for word in words(store, "plain")]
        done = batchseg(wrong)
        assert (done.returncode, done.stderr.count("\n")) == (1, 1), done.stderr
        assert "there is no such bucket" in done.stderr or "no such folder" in done.stderr


def test_wrong_keys_are_one_sentence(store: Store) -> None:
    asked = requests.post(f"http://127.0.0.1:{store.port}/moto-api/reset-auth", data=b"0", timeout=10)
    assert asked.status_code == 200
    done = batchseg(words(store, "denied"))
    assert (done.returncode, done.stderr.count("\n")) == (1, 1), done.stderr
    assert "access is denied; check the credentials" in done.stderr
