"""`source.scale` and `source.orientation` through the command line, the file and the library."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

import batchseg
from batchseg.cli.group import cli
from batchseg.config.base import Limits
from batchseg.config.load import load_config
from batchseg.config.source import ImageReading
from batchseg.errors import ConfigError
from batchseg.pipeline.model import OpenedModel
from batchseg.stages.decode import decode
from batchseg.stages.item import Item


def job(images: Path, output: Path, **source: Any) -> dict[str, Any]:
    return {
        "source": {"path": str(images), **source},
        "segmentor": {"kind": "threshold", "levels": [128]},
        "output": {"path": str(output), "overlays": True},
    }


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """A 12-bit gradient in 16 bits, and a turned photo whose left half is bright."""
    folder = tmp_path / "images"
    folder.mkdir()
    Image.fromarray(np.linspace(0, 4095, 40).astype(np.uint16).reshape(4, 10)).save(folder / "a.png")
    photo = np.zeros((16, 32, 3), np.uint8)
    photo[:, :16] = 255
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(photo).save(folder / "b.jpg", exif=exif, quality=95)
    return folder


def mask(output: Path, name: str) -> np.ndarray:
    with Image.open(output / "masks" / name) as picture:
        return np.array(picture)


@pytest.mark.usefixtures("in_tasks")
def test_scale_and_orientation_reach_masks_and_overlays(images: Path, tmp_path: Path) -> None:
    plain, set_ = tmp_path / "plain", tmp_path / "set"
    assert batchseg.run(load_config(overrides=job(images, plain))).statuses == {"ok": 2}
    other = job(images, set_, scale=4095, orientation="stored")
    assert batchseg.run(load_config(overrides=other)).statuses == {"ok": 2}
    assert not mask(plain, "a.png").any()
    values = np.linspace(0, 4095, 40).astype(np.uint16).reshape(4, 10).astype(float)
    assert np.array_equal(mask(set_, "a.png") > 0, np.floor(values * 255 / 4095 + 0.5) >= 128)
    assert mask(plain, "b.png").shape == (32, 16)
    assert mask(set_, "b.png").shape == (16, 32)
    assert mask(set_, "b.png")[:, :16].all()
    assert not mask(set_, "b.png")[:, 16:].any()
    with (
        Image.open(set_ / "overlays" / "b.jpg") as lying,
        Image.open(plain / "overlays" / "b.jpg") as upright,
    ):
        assert upright.height - lying.height == 32 - 16  # below either there is a legend of one line

    words = [
        "run",
        str(images),
        "--output",
        str(set_),
        "--model",
        "threshold",
        "--set",
        "segmentor.levels=[128]",
    ]
    refused = CliRunner().invoke(cli, words)
    assert refused.exit_code == 1
    assert "source.orientation: 'stored' -> 'exif'" in refused.stderr
    assert "source.scale: 4095.0 -> None" in refused.stderr
    same = CliRunner().invoke(cli, [*words, "--orientation", "stored", "--set", "source.scale=[0, 4095]"])
    assert same.exit_code == 0, same.output


def test_only_what_is_set_is_part_of_the_fingerprint(images: Path, tmp_path: Path) -> None:
    def key(**source: Any) -> str:
        return OpenedModel.open(load_config(overrides=job(images, tmp_path / "out", **source))).fingerprint

    assert key() == key(orientation="exif") == key(scale=None)
    assert key(scale=4095) == key(scale=[0, 4095])
    assert len({key(), key(scale=4095), key(scale=[1, 4095]), key(orientation="stored")}) == 4
    assert ImageReading().altering == []


@pytest.mark.parametrize("scale", [0, -1, [5, 5], [9, 3], [1], [1, 2, 3], "white", True, [True, 3]])
def test_a_scale_that_says_nothing_is_refused(images: Path, tmp_path: Path, scale: Any) -> None:
    with pytest.raises(ConfigError, match=r"source\.scale"):
        load_config(overrides=job(images, tmp_path / "out", scale=scale))


def test_a_manifest_has_the_same_settings(tmp_path: Path) -> None:
    source = {"path": str(tmp_path / "list.parquet"), "scale": [1, 2], "orientation": "stored"}
    config = load_config(overrides={"source": source, "segmentor": "threshold", "output": "out"})
    assert config.source.kind == "manifest"
    assert ImageReading.of(config.source) == ImageReading((1, 2), True)


def test_an_item_knows_the_orientation_of_its_file(images: Path) -> None:
    for reading in (ImageReading(), ImageReading(as_stored=True)):
        rows = [{"uri": str(images / name), "size": None} for name in ("a.png", "b.jpg")]
        items = decode(Limits(), reading=reading)(iter([Item(row) for row in rows]))
        assert [(item.orientation, item.fault) for item in items] == [(1, None), (6, None)]
