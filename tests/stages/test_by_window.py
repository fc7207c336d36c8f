"""Large masks that lie there, scored by window: the counts and the faults are those of the whole."""

from __future__ import annotations

import uuid
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from PIL import Image
from rasterio.crs import CRS
from rasterio.transform import Affine

from batchseg.config.base import Limits
from batchseg.config.overlay import Overlays
from batchseg.config.source import ImageReading
from batchseg.images.geotiff import Georeference
from batchseg.labels.label_map import LabelMap
from batchseg.labels.reading import Reading, as_written
from batchseg.metrics.confusion import ConfusionMatrix
from batchseg.schema import Status, TruthStatus
from batchseg.stages import by_window
from batchseg.stages.by_window import open_truth, score_lying
from batchseg.stages.item import Item
from batchseg.stages.overlay import Painter
from batchseg.stages.raster_mask import write_raster_mask
from batchseg.stages.restore import read_masks, restore
from batchseg.stages.viewing import Sight
from batchseg.storage.location import Location, locate
from batchseg.storage.reader import truth_reader

pytestmark = pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")

LABELS = LabelMap(("sky", "road", "tree"), colours=((1, 2, 3), (200, 0, 0), (0, 99, 0)))
RNG = np.random.default_rng(4)
HW = (1100, 700)
PREDICTED = RNG.integers(0, 4, HW, dtype=np.uint8)  # 3: void
TRUTH = np.where(RNG.random(HW) < 0.1, 255, RNG.integers(0, 3, HW)).astype(np.uint8)
EXPECTED = ConfusionMatrix.from_maps(PREDICTED, np.where(TRUTH == 255, 3, TRUTH).astype(np.uint8), 3)
PLACE = Georeference(crs=CRS.from_epsg(32632), transform=Affine(10, 0, 5e5, 0, -10, 5e6))


@pytest.fixture(autouse=True)
def small_means_large(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every mask here is read by window, in windows of 512 x 512."""
    monkeypatch.setattr(by_window, "HELD_PIXELS", 1000)
    monkeypatch.setattr("batchseg.images.geotiff.WIDEST", 512)


@pytest.fixture
def results(tmp_path: Path) -> Location:
    root = locate(str(tmp_path / "results"))
    write_raster_mask(root / "masks", "a.tif", iter([PREDICTED]), HW, label_map=LABELS, source=PLACE)
    return root


def truth_tiff(path: Path, values: np.ndarray = TRUTH, **place: Any) -> str:
    layout = {"tiled": True, "blockxsize": 256, "blockysize": 256, "compress": "deflate"}
    size = {"height": values.shape[0], "width": values.shape[1], "dtype": "uint8"}
    with rasterio.open(
        path, "w", driver="GTiff", count=2 * values.ndim - 3, **size, **layout, **place
    ) as file:
        file.write(values[np.newaxis] if values.ndim == 2 else values.transpose(2, 0, 1))
    return str(path)


def kept(**row: Any) -> Item:
    """An image whose mask lies in the results."""
    base = {"id": "a", "uri": "/none", "truth": None, "truth_version": None, "source_version": "v1"}
    base |= {"size": 1, "status": None, "error": None, "mask": "a.tif", "_row": 0}
    made = Item.from_plan({**base, **row})
    made.kept = {"mask": "masks/a.tif", "height": HW[0], "width": HW[1]}
    return made


def scored(results: Location, made: Item, limits: Limits | None = None) -> Item:
    limits = limits or Limits()
    stage = score_lying(as_written(LABELS), Reading(LABELS), limits)
    (done,) = stage(restore(results, LABELS, limits, ImageReading())(iter([made])))
    return done


def test_counts_are_those_of_the_whole(results: Location, tmp_path: Path) -> None:
    at = truth_tiff(tmp_path / "t.tif", crs=PLACE.crs, transform=PLACE.transform)
    done = scored(results, kept(truth=at))
    assert done.prediction is None and done.large is not None
    assert done.alive and done.truth_fault is None and done.has_truth
    assert done.matrix == EXPECTED


def test_a_truth_that_is_no_tiff_is_cut(results: Location, tmp_path: Path) -> None:
    Image.fromarray(TRUTH).save(tmp_path / "t.png")
    assert scored(results, kept(truth=str(tmp_path / "t.png"))).matrix == EXPECTED


def test_an_object_store_has_both(tmp_path: Path) -> None:
    root = locate(f"mock://{uuid.uuid4().hex}/results")
    write_raster_mask(root / "masks", "a.tif", iter([PREDICTED]), HW, label_map=LABELS, source=PLACE)
    truth = root / "t.tif"
    truth.write(Path(truth_tiff(tmp_path / "t.tif")).read_bytes())
    assert scored(root, kept(truth=str(truth))).matrix == EXPECTED


def test_no_size_is_too_large(results: Location, tmp_path: Path) -> None:
    few = Limits(max_pixels=1000, max_bytes=100)
    assert scored(results, kept(truth=truth_tiff(tmp_path / "t.tif")), few).matrix == EXPECTED


def test_colours_are_read_by_window(tmp_path: Path) -> None:
    colours = np.array([*LABELS.colours, (9, 9, 9)], np.uint8)
    labels = LabelMap(LABELS.names, LABELS.colours, read_colours={**LABELS.read_colours, (9, 9, 9): 255})
    at = truth_tiff(tmp_path / "t.tif", colours[np.where(TRUTH == 255, 3, TRUTH)], photometric="rgb")
    with open_truth(truth_reader(), Reading(labels, rgb="colours"), Limits(), at) as truth:
        whole = np.vstack([truth.read(by_window.Area(top, 0, 550, 700)).ids_HW for top in (0, 550)])
    assert np.array_equal(whole, np.where(TRUTH == 255, 3, TRUTH))


def without_truth(done: Item) -> bool:
    return done.alive and not done.has_truth and done.matrix == ConfusionMatrix.from_maps(PREDICTED, None, 3)


def test_a_truth_in_another_crs_is_a_mismatch(results: Location, tmp_path: Path) -> None:
    at = truth_tiff(tmp_path / "t.tif", crs=CRS.from_epsg(4326), transform=PLACE.transform)
    done = scored(results, kept(truth=at))
    assert without_truth(done) and done.truth_status is TruthStatus.MISMATCH
    assert "the image is in EPSG:32632, its truth in EPSG:4326" in str(done.truth_fault)


def test_a_truth_of_another_size_is_a_mismatch(results: Location, tmp_path: Path) -> None:
    done = scored(results, kept(truth=truth_tiff(tmp_path / "t.tif", TRUTH[:-1])))
    assert without_truth(done) and done.truth_status is TruthStatus.MISMATCH
    assert str(done.truth_fault) == "the image is 700 x 1100 pixels, its truth 700 x 1099"


def test_a_truth_with_an_unknown_id_in_its_last_corner(results: Location, tmp_path: Path) -> None:
    values = TRUTH.copy()
    values[-1, -1] = 77
    done = scored(results, kept(truth=truth_tiff(tmp_path / "t.tif", values)))
    assert without_truth(done) and done.truth_status is TruthStatus.OUT_OF_RANGE


def damaged(path: Path) -> None:
    """One block in the middle of it."""
    with rasterio.open(path) as file:
        offset = int(file.get_tag_item("BLOCK_OFFSET_0_1", "TIFF", bidx=1))
    with open(path, "r+b") as data:
        data.seek(offset)
        data.write(b"\xff" * 400)


def test_a_truth_with_a_corrupt_block(results: Location, tmp_path: Path) -> None:
    at = truth_tiff(tmp_path / "t.tif")
    damaged(Path(at))
    done = scored(results, kept(truth=at))
    assert without_truth(done) and done.truth_status is TruthStatus.UNREADABLE
    assert str(done.truth_fault).startswith("label file: the TIFF cannot be read")


def test_a_mask_with_a_corrupt_block_is_segmented_again(results: Location, tmp_path: Path) -> None:
    damaged(Path((results / "masks/a.tif").path))
    done = scored(results, kept(truth=truth_tiff(tmp_path / "t.tif")))
    assert done.fault is not None and done.fault.status is Status.UNREADABLE and done.kept is None
    assert "its mask masks/a.tif cannot be used, so the next run segments the image again" in str(done.fault)


def test_a_mask_of_another_size_is_segmented_again(results: Location) -> None:
    made = kept()
    made.kept = {**made.kept, "width": 701}
    assert "it is 700 x 1100, not 701 x 1100" in str(scored(results, made).fault)


def test_masks_of_a_folder_are_scored_by_window(results: Location, tmp_path: Path) -> None:
    made = kept(uri=str(results / "masks/a.tif"), truth=truth_tiff(tmp_path / "t.tif"))
    made.kept = None
    masks = as_written(LABELS)
    (done,) = score_lying(masks, Reading(LABELS), Limits())(read_masks(masks, Limits())(iter([made])))
    assert (done.size_hw, done.prediction) == (HW, None)
    assert done.matrix == EXPECTED


@pytest.mark.parametrize("kind", ["blend", "triptych"])
def test_an_overlay_is_drawn_from_a_smaller_picture(results: Location, tmp_path: Path, kind: str) -> None:
    with rasterio.open(
        tmp_path / "image.tif", "w", driver="GTiff", width=HW[1], height=HW[0], count=4, dtype="uint16"
    ) as image:
        image.write(np.repeat([[[0] * HW[1], [9999] * HW[1]]], HW[0] // 2, axis=1).repeat(4, axis=0))
    left_right = np.repeat([[1, 2]], HW[1] // 2, axis=1).repeat(HW[0], axis=0).astype(np.uint8)
    write_raster_mask(results / "masks", "a.tif", iter([left_right]), HW, label_map=LABELS)
    made = kept(uri=str(tmp_path / "image.tif"), truth=truth_tiff(tmp_path / "t.tif", left_right * 0))
    made.large, made.size_hw = str(results / "masks/a.tif"), HW
    sight = Sight(Reading(LABELS), ImageReading())
    painter = Painter(results, sight, Limits(max_pixels=1000), Overlays(kind=kind, longest=110, format="png"))
    drawn = painter.draw(made)
    assert drawn.written and drawn.problem is None
    picture_HWC = np.array(Image.open((results / "overlays/a.tif.png").path))
    if kind == "blend":  # dark above bright, road beside tree
        expected = [[[100, 0, 0], [0, 49, 0]], [[227, 127, 127], [127, 177, 127]]]
        assert picture_HWC[10:110:80, 10:70:50].tolist() == expected
    # sky is in the truth alone
    shows_truth = (picture_HWC == [128, 128, 129]).all(-1).sum() > 1000
    assert shows_truth == (kind == "triptych")
