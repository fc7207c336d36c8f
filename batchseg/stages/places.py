"""Where images and truths lie on the map: read from the heads of TIFFs, where masks are TIFFs, too."""

from __future__ import annotations

from batchseg.errors import RowFault
from batchseg.images.geotiff import Georeference, check_truth_place, georeference_of
from batchseg.images.label_rasters import tiff_head
from batchseg.images.raster import open_raster
from batchseg.stages.item import Item
from batchseg.storage.reader import Reader

TIFF_MASK = ".tif"
_NOWHERE = Georeference()


def is_tiff_mask(item: Item) -> bool:
    """Whether the image's mask is, or would be, a TIFF."""
    name: str | None = item.kept["mask"] if item.kept else item.row.get("mask")
    return (name or "").endswith(TIFF_MASK)


def place_of_image(item: Item, reader: Reader) -> Georeference:
    """Where the image lies; it is read once. Raises RowFault."""
    if item.place is None:
        # a picture that was turned upright no longer lies where its file says
        is_turned = item.orientation != 1
        item.place = _NOWHERE if is_turned else place_at(item.row["uri"], reader, item.size_hw)
    return item.place


def check_place(item: Item, truth: str, images: Reader, truths: Reader) -> None:
    """Raises RowFault (mismatch) where the truth of an image whose mask is a TIFF lies elsewhere."""
    if is_tiff_mask(item):
        check_truth_place(place_of_image(item, images), place_at(truth, truths, item.size_hw))


def place_at(uri: str, reader: Reader, hw: tuple[int, int] | None) -> Georeference:
    """Where a file of this size lies; nowhere if it is no TIFF, or of another size. Raises RowFault."""
    file = reader.by_window(uri)
    head = tiff_head(file)
    if head is None:
        return _NOWHERE
    try:
        with open_raster(file) as dataset:
            return georeference_of(dataset) if hw in (None, dataset.shape) else _NOWHERE
    except RowFault as fault:
        raise RowFault(reader.broken, f"where it lies on the map cannot be read: {fault}") from fault
