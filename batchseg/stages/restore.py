"""Restore: a mask that lies there already -> the label map it was written from."""

from __future__ import annotations

from batchseg.config.base import Limits
from batchseg.config.source import ImageReading
from batchseg.errors import RowFault
from batchseg.images.bands import decode_bands
from batchseg.images.raster import load_rasterio
from batchseg.labels.label_map import Ids, LabelMap
from batchseg.labels.reading import Reading, as_written
from batchseg.schema import Status, TruthStatus
from batchseg.segmentors.base import Prediction
from batchseg.stages.item import Item, Stage, for_each
from batchseg.stages.score import read_truth
from batchseg.storage.location import Location
from batchseg.storage.reader import Reader, image_reader


def restore(
    results: Location, label_map: LabelMap, limits: Limits, images_as: ImageReading | None = None
) -> Stage:
    """Read the mask of every item, a path below the results folder, in place of segmenting its image.

    Of pictures that are read by bands it is looked up again where they have no data: these pixels count
    nowhere, and in the mask they are void like those of which the model was not sure.
    """
    reader, own = image_reader(), as_written(label_map)
    by_band = images_as if images_as is not None and images_as.is_by_band else None
    if by_band:
        load_rasterio()

    def work(item: Item) -> None:
        assert item.kept is not None
        width, height = item.kept["width"], item.kept["height"]
        # the run that wrote it may have had a higher limit
        enough = limits.model_copy(update={"max_pixels": max(limits.max_pixels, width * height)})
        try:
            item.prediction = Prediction(read_mask(reader, own, enough, str(results / item.kept["mask"])))
            shape = item.prediction.labels_HW.shape
            if shape != (height, width):
                raise RowFault(Status.UNREADABLE, f"it is {shape[1]} x {shape[0]}, not {width} x {height}")
        except RowFault as fault:
            mask = item.kept["mask"]
            item.kept, item.prediction = None, None
            raise RowFault(
                Status.UNREADABLE,
                f"its mask {mask} cannot be used, so the next run segments the image again: {fault}",
            ) from fault
        item.size_hw = (height, width)
        if by_band:
            item.nodata_HW = decode_bands(reader.read(item.row["uri"]), limits, by_band).nodata_HW

    return for_each("restore", work)


def read_masks(reading: Reading, limits: Limits) -> Stage:
    """Read the masks of a source of masks: there the mask plays the part of the image."""
    reader = image_reader()

    def work(item: Item) -> None:
        try:
            labels_HW = read_mask(reader, reading, limits, item.row["uri"])
        except RowFault as fault:  # no fault of its truth
            status = Status.UNREADABLE if isinstance(fault.status, TruthStatus) else fault.status
            raise RowFault(status, str(fault)) from fault
        height, width = labels_HW.shape
        item.size_hw, item.prediction = (height, width), Prediction(labels_HW)

    return for_each("restore", work)


def read_mask(reader: Reader, reading: Reading, limits: Limits, uri: str) -> Ids:
    """Class ids [H, W] of an existing mask. Raises RowFault."""
    return read_truth(reader, reading, limits, uri).ids_HW
