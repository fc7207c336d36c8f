"""Masks of any size on their way to the disk: whole or not at all, and a full disk in one sentence."""

from __future__ import annotations

import errno
import uuid
from pathlib import Path

import numpy as np
import pytest
import rasterio

from batchseg.errors import OutputError, RowFault
from batchseg.images import geotiff
from batchseg.images.label_rasters import open_labels
from batchseg.images.raster import Area
from batchseg.labels.label_map import LabelMap
from batchseg.schema import Status
from batchseg.stages.raster_mask import write_raster_mask
from batchseg.storage.location import Location, locate
from batchseg.storage.reader import truth_reader

pytestmark = pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")

LABELS = np.random.default_rng(0).integers(0, 3, (600, 40), dtype=np.uint8)
LABEL_MAP = LabelMap.from_names(("dark", "bright"))


def written(results: Location, below: str = "a/b.tif", broken: OSError | None = None) -> None:
    def bands():
        yield LABELS[:300]
        if broken is not None:
            raise broken
        yield LABELS[300:]

    write_raster_mask(results / "masks", below, bands(), LABELS.shape, label_map=LABEL_MAP)


def test_a_mask_is_written_below_masks(tmp_path: Path) -> None:
    written(locate(str(tmp_path)))
    with rasterio.open(tmp_path / "masks" / "a" / "b.tif") as mask:
        assert np.array_equal(mask.read(1), np.where(LABELS == 2, 255, LABELS))


def test_of_a_mask_that_does_not_fit_on_the_disk_nothing_is_left(tmp_path: Path) -> None:
    full = OSError(errno.ENOSPC, "No space left on device")
    with pytest.raises(OutputError, match=r"masks/a/b\.tif: cannot be written: No space left on device$"):
        written(locate(str(tmp_path)), broken=full)
    assert list((tmp_path / "masks" / "a").iterdir()) == []


def test_what_gdal_could_not_write_is_a_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: object, **more: object) -> None:
        raise rasterio.errors.RasterioIOError("Write failed")

    monkeypatch.setattr(rasterio, "open", refuse)
    monkeypatch.setattr(geotiff.shutil, "disk_usage", lambda _: type("usage", (), {"free": 0}))
    with pytest.raises(OutputError, match=r"masks/a/b\.tif: cannot be written: No space left on device$"):
        written(locate(str(tmp_path)))


def test_a_folder_of_the_masks_name_costs_one_image(tmp_path: Path) -> None:
    (tmp_path / "masks" / "a" / "b.tif").mkdir(parents=True)
    with pytest.raises(RowFault) as caught:
        written(locate(str(tmp_path)))
    assert caught.value.status is Status.NAME_COLLISION


def test_an_object_store_has_it_and_is_read_by_window() -> None:
    store = locate(f"mock://{uuid.uuid4().hex}/results")
    written(store)
    with open_labels(truth_reader().by_window(str(store / "masks/a/b.tif"))) as labels:
        window = labels.read(Area(500, 10, 30, 20))
    assert np.array_equal(window.values, np.where(LABELS == 2, 255, LABELS)[500:530, 10:30])
