"""Restore: a mask that lies there already -> the label map it was written from."""

from __future__ import annotations

from batchseg.config.base import Limits
from batchseg.config.source import ImageReading
from batchseg.errors import RowFault
from batchseg.images.label_rasters import tiff_head
from batchseg.labels.label_map import Ids, LabelMap
from batchseg.labels.reading import Reading, as_written
from batchseg.schema import Status, TruthStatus
from batchseg.segmentors.base import Prediction
from batchseg.stages.by_window import is_large, unusable
from batchseg.stages.item import Item, Stage, for_each
from batchseg.stages.nodata import nodata_of
from batchseg.stages.places import TIFF_SUFFIXES
from batchseg.stages.score import read_truth
from batchseg.storage.location import Location
from batchseg.storage.reader import Reader, image_reader


def restore(
    results: Location, label_map: LabelMap, limits: Limits, images_as: ImageReading | None = None
) -> Stage:
    """Read the mask of every item, a path below the results folder, in place of segmenting its image.

    One that is too large to be held is left to the stage that scores it by window. Where a picture has no
    data is looked up again: these pixels count nowhere, and in the mask they are void like those of which the
    model was not sure.
    """
    reader, own = image_reader(), as_written(label_map)

    def work(item: Item) -> None:
        assert item.kept is not None
        width, height = item.kept["width"], item.kept["height"]
        item.size_hw = (height, width)
        if is_large(item.size_hw, limits) and item.kept["mask"].endswith(TIFF_SUFFIXES):
            item.large = str(results / item.kept["mask"])
            return
        # the run that wrote it may have had a higher limit
        enough = limits.model_copy(update={"max_pixels": max(limits.max_pixels, width * height)})
        try:
            item.prediction = Prediction(read_mask(reader, own, enough, str(results / item.kept["mask"])))
            shape = item.prediction.labels_HW.shape
            if shape != (height, width):
                raise RowFault(Status.UNREADABLE, f"it is {shape[1]} x {shape[0]}, not {width} x {height}")
        except RowFault as fault:
            raise unusable(item, fault) from fault
        item.nodata_HW = nodata_of(item, reader, images_as)

    return for_each("restore", work)


def read_masks(reading: Reading, limits: Limits) -> Stage:
    """Read the masks of a source of masks: there the mask plays the part of the image.

    One that is too large to be held is left to the stage that scores it by window.
    """
    reader = image_reader()

    def work(item: Item) -> None:
        uri = item.row["uri"]
        try:
            head = tiff_head(reader.by_window(uri)) if uri.lower().endswith(TIFF_SUFFIXES) else None
            if head is not None and is_large((head.height, head.width), limits):
                item.large, item.size_hw = uri, (head.height, head.width)
                return
            labels_HW = read_mask(reader, reading, limits, uri)
        except RowFault as fault:  # no fault of its truth
            status = Status.UNREADABLE if isinstance(fault.status, TruthStatus) else fault.status
            raise RowFault(status, str(fault)) from fault
        height, width = labels_HW.shape
        item.size_hw, item.prediction = (height, width), Prediction(labels_HW)

    return for_each("restore", work)


def read_mask(reader: Reader, reading: Reading, limits: Limits, uri: str) -> Ids:
    """Class ids [H, W] of an existing mask. Raises RowFault."""
    return read_truth(reader, reading, limits, uri).ids_HW
