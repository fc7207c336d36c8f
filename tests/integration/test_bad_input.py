"""A folder as people bring it: every file ends as one row with the right status, and the job goes on."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import duckdb
import numpy as np
import pytest
from PIL import Image

import batchseg

pytestmark = [pytest.mark.usefixtures("in_tasks")]


def grey(value: int, height: int = 8, width: int = 12) -> Image.Image:
    return Image.fromarray(np.full((height, width), value, np.uint8))


def png_header(width: int, height: int) -> bytes:
    """The signature and IHDR of a PNG, and nothing after it."""
    body = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + body + struct.pack(">I", zlib.crc32(body))


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory, ray_session: None) -> dict[str, dict]:
    base = tmp_path_factory.mktemp("bad")
    folder = base / "images"
    folder.mkdir()
    grey(200).save(folder / "good.png")
    (folder / "empty.jpg").touch()
    grey(200, 64, 64).save(base / "whole.jpg")
    (folder / "truncated.jpg").write_bytes((base / "whole.jpg").read_bytes()[:-200])
    (folder / "text.jpg").write_text("this is not an image\n" * 50)
    (folder / "bomb.png").write_bytes(png_header(50_000, 50_000))
    Image.new("CMYK", (12, 8), (0, 0, 0, 0)).save(folder / "cmyk.jpg")
    exif = Image.Exif()
    exif[0x0112] = 6
    grey(200).save(folder / "rotated.jpg", exif=exif)
    Image.fromarray(np.full((8, 12), 200 * 257, np.uint16)).save(folder / "deep.png")
    grey(200).save(folder / "moving.gif", save_all=True, append_images=[grey(10)])
    (folder / "broken_link.png").symlink_to(base / "nowhere.png")
    grey(9).save(base / "outside.png")
    (folder / "leads_out.png").symlink_to(base / "outside.png")
    for name in ("with space.png", "quote'\".png", "new\nline.png", "Müller_画像.png"):
        grey(200).save(folder / name)
    (folder / "notes.txt").write_text("not an image, and not named like one")
    config = batchseg.load_config(
        overrides={
            "source": str(folder),
            "segmentor": "threshold",
            "output": str(base / "results"),
            "gates": {"max_failed": "100%"},
        }
    )
    assert batchseg.run(config).exit_code == 0
    found = duckdb.sql(f"select * from '{base}/results/images/*.parquet'").to_arrow_table().to_pylist()
    assert len(found) == len({row["id"] for row in found}) == len(list(folder.iterdir())) - 1
    return {row["id"]: {**row, "results": base / "results"} for row in found}


@pytest.mark.parametrize(
    ("name", "status"),
    [
        ("empty.jpg", "unreadable"),
        ("truncated.jpg", "unreadable"),
        ("text.jpg", "unreadable"),
        ("bomb.png", "too_large"),
        ("broken_link.png", "missing"),
        ("leads_out.png", "denied"),
    ],
)
def test_what_cannot_be_used_says_why(rows: dict[str, dict], name: str, status: str) -> None:
    row = rows[name]
    assert row["status"] == status
    assert row["error"]
    assert row["mask"] is None


@pytest.mark.parametrize(
    "name",
    [
        "good.png", "cmyk.jpg", "deep.png", "moving.gif", "with space.png", "quote'\".png", "new\nline.png",
        "Müller_画像.png",
    ],
)  # fmt: skip
def test_what_can_be_used_gets_its_mask(rows: dict[str, dict], name: str) -> None:
    row = rows[name]
    mask = Image.open(row["results"] / row["mask"])
    assert (row["status"], row["error"], mask.size) == ("ok", None, (12, 8))
    assert (np.asarray(mask) == 1).all()  # each of them is a bright image


def test_orientation_is_applied(rows: dict[str, dict]) -> None:
    row = rows["rotated.jpg"]
    assert (row["status"], row["width"], row["height"]) == ("ok", 8, 12)
    with Image.open(row["results"] / row["mask"]) as mask:
        assert mask.size == (8, 12)


def test_a_manifest_names_files_that_are_not_there(tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    grey(200).save(tmp_path / "a.png")
    manifest = {
        "id": ["a", "b", "../c"],
        "image": ["a.png", "gone.png", "a.png"],
        "truth": ["a.png", None, None],
    }
    pq.write_table(pa.table(manifest), tmp_path / "list.parquet")
    config = batchseg.load_config(
        overrides={
            "source": str(tmp_path / "list.parquet"),
            "segmentor": "threshold",
            "output": str(tmp_path / "results"),
            "gates": {"max_failed": 3},
            "labels": str(tmp_path / "labels.yaml"),
        }
    )
    (tmp_path / "labels.yaml").write_text(
        "classes: [{name: dark, truth_ids: [0]}, {name: bright, truth_ids: [200]}]"
    )
    assert batchseg.run(config).statuses == {"denied": 1, "missing": 1, "ok": 1}
    assert [path.name for path in tmp_path.rglob("*.png")].count("c.png") == 0


def test_a_failing_image_is_found_within_its_batch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "images").mkdir()
    for index in range(8):
        grey(200, 8, 12).save(tmp_path / "images" / f"{index}.png")
    grey(13).save(tmp_path / "images" / "unlucky.png")
    config = batchseg.load_config(
        overrides={
            "source": str(tmp_path / "images"),
            "segmentor": {"kind": "custom", "model": "fussy_model:Fussy", "batch_size": 9, "actors": 1},
            "output": str(tmp_path / "results"),
        }
    )
    monkeypatch.syspath_prepend(str(Path(__file__).parent))
    result = batchseg.run(config)
    assert (result.statuses, result.exit_code) == ({"model_failed": 1, "ok": 8}, 3)
    (failed,) = duckdb.sql(
        f"select id, error from '{tmp_path}/results/images/*.parquet' where status != 'ok'"
    ).fetchall()
    assert failed == ("unlucky.png", "the model failed: ValueError: thirteen (fussy_model.py:16)")
    assert result.faults == {
        "model_failed": "unlucky.png: the model failed: ValueError: thirteen (fussy_model.py:16)"
    }


@pytest.mark.parametrize("name", ["Größe und Raum", "результаты", "100% #1"])
def test_results_may_lie_below_a_name_in_any_letters(tmp_path: Path, name: str) -> None:
    """Ray's metrics, which say whose they are, take ASCII alone."""
    folder = tmp_path / name / "images"
    folder.mkdir(parents=True)
    grey(200).save(folder / "a.png")
    result = batchseg.run(folder, model="threshold", output=tmp_path / name / "results")
    assert (result.exit_code, result.segmented) == (0, 1)
    assert batchseg.verify(str(tmp_path / name / "results")).ok
