"""Thousands of damaged files: one row each or one sentence, in bounded memory, and no worker dies."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

import batchseg
from batchseg.errors import BatchsegError

pytestmark = [pytest.mark.usefixtures("ray_session")]

FILES = [1_000, pytest.param(5_000, marks=pytest.mark.slow)]
MANIFESTS = [100, pytest.param(500, marks=pytest.mark.slow)]
RUN_MANIFESTS = 4
GROWTH_MIB = 128
KINDS = ("jpg", "png", "webp", "tif", "gif", "bmp")


def mutated(rng: np.random.Generator, data: bytes, changes: int = 20) -> bytes:
    """Some bytes changed; now and then a piece cut out, doubled, or put to zero."""
    array = np.frombuffer(data, np.uint8).copy()
    for place in rng.integers(len(array), size=rng.integers(1, changes)):
        array[place] = rng.integers(256)
    start, end = np.sort(rng.integers(len(array), size=2))
    damage = rng.integers(8)
    if damage == 0:
        return array[:end].tobytes()
    if damage == 1:
        return np.concatenate([array[:start], array[end:]]).tobytes()
    if damage == 2:
        return np.concatenate([array[:end], array[start:]]).tobytes()
    if damage == 3:
        array[start:end] = 0
    return array.tobytes()


def pictures() -> list[tuple[str, bytes]]:
    """Every format in the kinds of pixel it is used with."""
    rng = np.random.default_rng(5)
    colours = rng.integers(0, 256, (9, 12, 3), dtype=np.uint8)
    colour = Image.fromarray(colours).resize((120, 90))
    pictures = {
        "jpg": [(colour, {}), (colour.convert("L"), {"progressive": True}), (colour.convert("CMYK"), {})],
        "png": [(colour, {}), (colour.quantize(16), {}), (colour.convert("RGBA"), {}), (_deep(rng), {})],
        "webp": [(colour, {}), (colour, {"lossless": True})],
        "tif": [(colour, {"compression": "tiff_lzw"}), (colour, {"compression": "jpeg"}), (_deep(rng), {})],
        "gif": [(colour.quantize(8), {})],
        "bmp": [(colour, {}), (colour.quantize(8), {})],
    }
    return [
        (kind, encoded(picture, kind, **options))
        for kind in KINDS
        for picture, options in pictures[kind]
    ]  # fmt: skip


def _deep(rng: np.random.Generator) -> Image.Image:
    return Image.fromarray(rng.integers(0, 2**16, (60, 80), dtype=np.uint16))


def encoded(picture: Image.Image, kind: str, **options: object) -> bytes:
    file = BytesIO()
    picture.save(file, {"jpg": "JPEG", "tif": "TIFF"}.get(kind, kind.upper()), **options)
    return file.getvalue()


@pytest.mark.parametrize("files", FILES)
def test_damaged_images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, files: int) -> None:
    monkeypatch.syspath_prepend(str(Path(__file__).parent))
    images, notes, rng, seeds = tmp_path / "images", tmp_path / "notes", np.random.default_rng(6), pictures()
    images.mkdir()
    notes.mkdir()
    for number in range(files):
        kind, data = seeds[number % len(seeds)]
        (images / f"{number:04d}.{kind}").write_bytes(mutated(rng, data))
    result = batchseg.run(
        batchseg.load_config(
            overrides={
                "source": str(images),
                "segmentor": {"model": "measured_model:Measured", "options": {"notes": str(notes)}},
                "output": str(tmp_path / "out"),
                "limits": {"max_pixels": 4_000_000},
                "gates": {"max_failed": "100%"},
            }
        )
    )
    assert result.exit_code == 0
    assert sum(result.statuses.values()) == files
    assert set(result.statuses) <= {"ok", "unreadable", "unsupported", "too_large"}
    assert min(result.statuses["ok"], result.statuses["unreadable"]) > files / 10  # the damage is mixed
    rows = f"from '{tmp_path}/out/images/*.parquet'"
    assert duckdb.sql(f"select count(*), count(distinct id) {rows}").fetchall() == [(files, files)]
    told = duckdb.sql(f"select id {rows} where (status = 'ok') = (error is null)").fetchall()
    assert len(told) == files
    assert max(int(note.read_text()) for note in notes.iterdir()) < GROWTH_MIB * 1024


@pytest.mark.parametrize("manifests", MANIFESTS)
def test_damaged_manifests(tmp_path: Path, manifests: int) -> None:
    picture = encoded(Image.new("RGB", (8, 6)), "png")
    for number in range(20):
        (tmp_path / f"{number}.png").write_bytes(picture)
    names = [f"{number}.png" for number in range(20)]
    ids = [f"{number:03d}" for number in range(400)]
    table = pa.table({"image": names * 20, "id": ids, "version": ids, "camera": ["a", "b"] * 200})
    seeds = []
    for compression in ("none", "snappy", "zstd"):
        file = BytesIO()
        pq.write_table(table, file, compression=compression, row_group_size=150, use_dictionary=False)
        seeds.append(file.getvalue())
    rng, listed, refused = np.random.default_rng(7), [], 0
    for number in range(manifests):
        manifest = tmp_path / f"{number}.parquet"
        manifest.write_bytes(mutated(rng, seeds[number % len(seeds)], 4))
        job = {"source": str(manifest), "segmentor": "threshold", "output": str(tmp_path / f"out{number}")}
        config = batchseg.load_config(overrides={**job, "gates": {"max_failed": "100%"}})
        try:
            listed.append((config, batchseg.dry_run(config)["images"]["listed"]))
        except BatchsegError as exc:
            refused += 1
            assert "\n" not in str(exc)
    assert refused > manifests / 10
    assert len(listed) >= RUN_MANIFESTS
    for config, images in listed[:RUN_MANIFESTS]:
        assert sum(batchseg.run(config).statuses.values()) == images
