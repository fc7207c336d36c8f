"""Rasters that nobody could hold: looked at by some of their pixels, before a run and by doctor."""

from __future__ import annotations

import json
import tracemalloc
import uuid
from pathlib import Path

import numpy as np
import pytest
import rasterio
from click.testing import CliRunner
from raster_scenes import MODEL, UTM

from batchseg.cli.group import cli
from batchseg.config.base import Limits
from batchseg.config.looks import Tiling
from batchseg.config.source import FolderSource, ImageReading
from batchseg.config.truth import TruthSettings
from batchseg.errors import RowFault
from batchseg.inspect.image_sample import sample_images
from batchseg.inspect.image_sizes import look
from batchseg.inspect.truth_sample import Looking, sample_truths
from batchseg.labels.label_map import LabelMap
from batchseg.source.open import list_source, open_source
from batchseg.storage.location import locate
from batchseg.storage.reader import image_reader
from tests.band_files import geotiff

SIDE = 30_000
TILING = Tiling(size=512)


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """30,000 x 30,000 pixels, of which the file holds a corner: blocks that are not written are 0."""
    folder = tmp_path_factory.mktemp("large")
    size = {"driver": "GTiff", "height": SIDE, "width": SIDE, "dtype": "uint8", **UTM}
    size |= {"tiled": True, "compress": "deflate", "SPARSE_OK": True}
    for name, count, value in (("images", 3, 200), ("truth", 1, 3)):
        (folder / name).mkdir()
        with rasterio.open(folder / name / "a.tif", "w", count=count, **size) as file:
            corner = np.full((count, SIDE // 2, 1024), value, np.uint8)
            file.write(corner, window=((0, SIDE // 2), (0, 1024)))
    return folder


def listing_of(scene: Path, tmp_path: Path):
    source = open_source(FolderSource(path=str(scene / "images"), truth=str(scene / "truth")))
    return list_source(source, locate(str(tmp_path / "listing.arrow")), "stem", "of tiffs")


def test_samples_are_small_and_spread(scene: Path, tmp_path: Path) -> None:
    listing = listing_of(scene, tmp_path)
    tracemalloc.start()
    images = sample_images(listing, 8, ImageReading(), Limits(), tiling=TILING)
    looking = Looking(TruthSettings(), Limits(), ImageReading(), tiling=TILING)
    truths = sample_truths(listing, 8, LabelMap.from_names(tuple("abcd")), looking)
    assert tracemalloc.get_traced_memory()[1] < 200 * 2**20
    tracemalloc.stop()
    # of 8 x 8 blocks the upper four of the first column are within what was written
    assert images.files == 1
    assert images.mean_rgb == pytest.approx([200 * 4 / 64] * 3, abs=0.5)
    assert truths.faults == []
    assert truths.sample.classes == {"a": 60 * 256**2, "d": 4 * 256**2}


def test_limits_bound_a_part_where_there_are_parts(scene: Path) -> None:
    uri = str(scene / "images/a.tif")
    limits = Limits(max_bytes=1000)
    header = look(image_reader(), uri, limits, tiling=TILING)
    assert (header.name, header.width, header.height) == ("TIFF", SIDE, SIDE)
    with pytest.raises(RowFault, match=r"limits\.max_bytes"):
        look(image_reader(), uri, limits)
    with pytest.raises(RowFault, match=r"the image is 30,000 x 30,000"):
        look(image_reader(), uri, Limits())
    with pytest.raises(RowFault, match=r"the image is 4,\d{3} x 4,\d{3} = .* limits.max_pixels is 1,000,000"):
        look(image_reader(), uri, Limits(max_pixels=1_000_000), tiling=TILING)


@pytest.mark.parametrize("is_local", [True, False])
def test_a_header_by_band_takes_no_more_than_its_header(tmp_path: Path, is_local: bool) -> None:
    data = geotiff(np.ones((3000, 2000, 4), np.uint16))
    place = locate(str(tmp_path / "a.tif") if is_local else f"mock://{uuid.uuid4().hex}/a.tif")
    place.write(data)
    look(image_reader(), str(place), Limits(), by_band=True)  # what the first one loads is not counted
    tracemalloc.start()
    header = look(image_reader(), str(place), Limits(), by_band=True)
    assert tracemalloc.get_traced_memory()[1] < 2**21 < len(data)
    tracemalloc.stop()
    assert (header.name, header.height, header.width, header.bytes) == ("TIFF", 3000, 2000, len(data))


@pytest.mark.parametrize(("more", "code"), [(["--tile", "512"], 0), ([], 1)])
def test_doctor_knows_what_a_run_would_do(scene: Path, more: list[str], code: int) -> None:
    words = ["doctor", str(scene / "images"), "--truth", str(scene / "truth"), "--model", MODEL, "--json"]
    done = CliRunner().invoke(cli, [*words, *more])
    assert done.exit_code == code, done.output
    report = json.loads(done.output)
    assert report["counts"] == ({} if more else {"too_large": 1})
    if more:
        assert report["sizes"]["largest"][:2] == [SIDE, SIDE]


def test_doctor_refuses_windows_that_the_model_cannot_read(sample_data: Path) -> None:
    words = ["doctor", str(sample_data / "images"), "--model", str(sample_data / "model"), "--tile", "8"]
    done = CliRunner().invoke(cli, words)
    assert (done.exit_code, "tiling.size (--tile) is 8 pixels" in done.output) == (2, True), done.output
