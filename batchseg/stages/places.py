"""Where images and truths lie on the map: read from the heads of TIFFs, where masks are TIFFs, too."""

from __future__ import annotations

from typing import Any

from batchseg.errors import RowFault
from batchseg.images.geotiff import Georeference, check_truth_place, georeference_of
from batchseg.images.label_rasters import tiff_head
from batchseg.images.raster import RasterFile, has_rasterio, open_raster
from batchseg.schema import Status, TruthStatus
from batchseg.stages.item import Item
from batchseg.storage.reader import Reader

TIFF_MASK = ".tif"
TIFF_SUFFIXES = (".tif", ".tiff")
_NOWHERE = Georeference()
_UPRIGHT = 1


def is_tiff_mask(item: Item) -> bool:
    """Whether the image's mask is, or would be, a TIFF."""
    name: str | None = item.kept["mask"] if item.kept else item.row.get("mask")
    return (name or "").endswith(TIFF_MASK)


def place_of_image(item: Item, reader: Reader, data: bytes | None = None) -> Georeference:
    """Where the image lies; it is read once, from its `data` where they are at hand. Raises RowFault."""
    if item.place is None:
        if item.orientation != _UPRIGHT:  # once turned it no longer lies where its file says
            return _NOWHERE
        file = reader.by_window(item.row["uri"]) if data is None else data
        item.place = _place_in(file, item, Status.UNREADABLE)
    return item.place


def place_on_map(item: Item, reader: Reader) -> Georeference:
    """Where the image lies, whatever its mask is; nowhere if it is no TIFF. Raises RowFault.

    Without rasterio that is known of none.
    """
    named = is_tiff_mask(item) or item.row["uri"].lower().endswith(TIFF_SUFFIXES)
    if item.place is not None or not named or not has_rasterio():
        return item.place or _NOWHERE
    file = reader.by_window(item.row["uri"])
    head = tiff_head(file)
    if head is None or head.orientation != _UPRIGHT:
        return _NOWHERE
    return place_of_image(item, reader)


def note_place(item: Item, dataset: Any) -> None:
    """The same from the image's open dataset: then `place_of_image` need not open it again."""
    if item.place is None and item.orientation == _UPRIGHT:
        item.place = _place_of(dataset, item)


def check_place(item: Item, truth: bytes, images: Reader) -> None:
    """Raises RowFault (mismatch) where the truth of an image whose mask is a TIFF lies elsewhere."""
    if is_tiff_mask(item):
        image = place_of_image(item, images)
        check_truth_place(image, _place_in(truth, item, TruthStatus.UNREADABLE))


def _place_in(file: RasterFile, item: Item, broken: Status | TruthStatus) -> Georeference:
    """Where a file of the item lies; nowhere if it is no TIFF. Raises RowFault."""
    if tiff_head(file) is None:
        return _NOWHERE
    try:
        with open_raster(file) as dataset:
            return _place_of(dataset, item)
    except RowFault as fault:
        raise RowFault(broken, f"where it lies on the map cannot be read: {fault}") from fault


def _place_of(dataset: Any, item: Item) -> Georeference:
    """Nowhere if it is of another size than the item."""
    return georeference_of(dataset) if item.size_hw in (None, dataset.shape) else _NOWHERE
