"""Where images lie on the map: TIFFs alone, and not where a picture was turned."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import rasterio
from PIL import Image
from rasterio.crs import CRS
from rasterio.transform import Affine

from batchseg.config.base import Limits
from batchseg.config.source import ImageReading
from batchseg.errors import RowFault
from batchseg.images.geotiff import Georeference
from batchseg.labels.label_map import LabelMap
from batchseg.labels.reading import Reading
from batchseg.schema import Status, TruthStatus
from batchseg.segmentors.base import Prediction
from batchseg.stages.decode import decode
from batchseg.stages.item import Item
from batchseg.stages.nodata import open_nodata
from batchseg.stages.places import check_place, is_tiff_mask, place_of_image
from batchseg.stages.score import score
from batchseg.storage.reader import Reader, image_reader

PLACE = {"crs": CRS.from_epsg(32632), "transform": Affine(10, 0, 5e5, 0, -10, 5e6)}


def item(path: Path, mask: str = "a.tif", orientation: int = 1) -> Item:
    return Item({"uri": str(path), "mask": mask}, size_hw=(4, 6), orientation=orientation)


def tiff(path: Path, **place: object) -> Path:
    with rasterio.open(path, "w", driver="GTiff", height=4, width=6, count=1, dtype="uint8", **place) as file:
        file.write(np.ones((1, 4, 6), np.uint8))
    return path


def test_a_tiff_says_where_it_lies_whatever_its_name(tmp_path: Path) -> None:
    place = place_of_image(item(tiff(tmp_path / "a.jpg", **PLACE)), image_reader())
    assert (place.crs, place.transform) == (PLACE["crs"], PLACE["transform"])


def test_what_is_turned_or_no_tiff_lies_nowhere(tmp_path: Path) -> None:
    path = tiff(tmp_path / "a.tif", **PLACE)
    assert place_of_image(item(path, orientation=6), image_reader()) == Georeference()
    Image.new("L", (6, 4)).save(tmp_path / "b.tif", "PNG")
    assert place_of_image(item(tmp_path / "b.tif"), image_reader()) == Georeference()


def test_a_truth_elsewhere_is_a_mismatch_where_masks_are_tiffs(tmp_path: Path) -> None:
    image = tiff(tmp_path / "a.tif", **PLACE)
    truth = tiff(tmp_path / "t.tif", **{**PLACE, "transform": Affine(10, 0, 5e5 + 30, 0, -10, 5e6)})
    check_place(item(image, "a.png"), truth.read_bytes(), image_reader())
    check_place(item(image), image.read_bytes(), image_reader())
    with pytest.raises(RowFault, match=r"the image lies at \(500000, 5000000\)") as caught:
        check_place(item(image), truth.read_bytes(), image_reader())
    assert caught.value.status is TruthStatus.MISMATCH


def test_a_head_that_cannot_be_read_is_told_of_whose_it_is(tmp_path: Path) -> None:
    image = tiff(tmp_path / "a.tif", **PLACE)
    (tmp_path / "t.tif").write_bytes(b"II*\0" + bytes(40))
    for uris, expected in (((image, "t.tif"), TruthStatus.UNREADABLE), (("t.tif", image), Status.UNREADABLE)):
        one, other = (tmp_path / uri for uri in uris)
        with pytest.raises(RowFault, match="where it lies on the map cannot be read") as caught:
            check_place(item(one), other.read_bytes(), image_reader())
        assert caught.value.status is expected


def test_a_mask_that_lies_there_counts_by_its_own_name() -> None:
    assert is_tiff_mask(Item({"mask": "a.png"}, kept={"mask": "masks/a.tif"}))
    assert not is_tiff_mask(Item({"mask": "a.tif"}, kept={"mask": "masks/a.png"}))


@pytest.mark.parametrize("bands", [None, (1,)], ids=["RGB", "bands"])
def test_image_and_truth_are_opened_once_each(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, bands: tuple[int, ...] | None
) -> None:
    made = item(tiff(tmp_path / "a.tif", **PLACE, nodata=0))
    made.row |= {"truth": str(tiff(tmp_path / "t.tif", **PLACE)), "size": 1}
    read: list[str] = []
    monkeypatch.setattr(Reader, "_read", lambda _, uri: read.append(uri) or Path(uri).read_bytes())
    monkeypatch.setattr(Reader, "by_window", None)
    (made,) = decode(Limits(), reading=ImageReading(bands=bands))(iter([made]))
    made.prediction = Prediction(np.ones((4, 6), np.uint8))
    (made,) = score(Reading(LabelMap(("a", "b"), ignore_index=255)), Limits())(iter([made]))
    assert made.alive and made.has_truth and made.place is not None
    assert made.place.transform == PLACE["transform"]
    assert read == [made.row["uri"], made.row["truth"]]


@pytest.mark.parametrize(("orientation", "there"), [(1, True), (6, False)])
def test_where_an_image_has_no_data_tells_where_it_lies(
    tmp_path: Path, orientation: int, there: bool
) -> None:
    made = item(tiff(tmp_path / "a.tif", **PLACE), orientation=orientation)
    with open_nodata(made, image_reader(), ImageReading()) as nodata:
        assert nodata(None) is None
    (tmp_path / "a.tif").unlink()
    assert (place_of_image(made, image_reader()).crs is not None) == there
