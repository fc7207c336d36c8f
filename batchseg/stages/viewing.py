"""What is shown of an image that was segmented: its picture, mask and truth, at a size to look at.

Large rasters are read at that size; of other files JPEGs are scaled down as they are decoded, others after.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from batchseg.config.base import Limits
from batchseg.config.source import ImageReading
from batchseg.errors import RowFault
from batchseg.images.bands import shown_rgb
from batchseg.images.decode import Size
from batchseg.images.label_files import LabelFile, decode_labels
from batchseg.images.label_rasters import open_labels, tiff_head
from batchseg.images.overlay import Drawing, LabelIds, Pixels, resized, size_within
from batchseg.images.raster_look import smaller_rgb
from batchseg.labels.label_map import is_background
from batchseg.labels.reading import Reading
from batchseg.schema import Status
from batchseg.segmentors.base import Prediction
from batchseg.stages.by_window import open_truth
from batchseg.stages.score import check_truth_size, read_truth
from batchseg.storage.reader import Reader, image_reader, truth_reader


@dataclass(frozen=True)
class Sight:
    """How what is shown is read: the label files, and with them the label map, and the images."""

    truths: Reading
    images: ImageReading

    @property
    def drawing(self) -> Drawing:
        """A background shows the image alone."""
        label_map = self.truths.label_map
        plain = (index for index, name in enumerate(label_map.names) if is_background(name))
        return Drawing(label_map.names, label_map.colours, frozenset(plain))


class Viewer:
    """Reads what is shown. Every method raises RowFault where it cannot.

    Args:
        longest: pixels of the longer side of what is shown.
    """

    def __init__(self, sight: Sight, limits: Limits, longest: int) -> None:
        self.sight, self.limits, self.longest = sight, limits, longest
        self.images, self.truths = image_reader(), truth_reader()

    def smaller(self, size_hw: Size) -> Size:
        """What an image of this size is shown at."""
        return size_within(size_hw, self.longest)

    def image(self, uri: str, mask_hw: Size | None, *, large: bool) -> Pixels:
        """uint8 RGB [H, W, 3] at the size shown; refused where it is not of the size of its mask."""
        file = self.images.by_window(uri) if large else None
        if file is not None and (head := tiff_head(file)) is not None:
            size_hw = (head.height, head.width)
            _check_unchanged(size_hw, mask_hw)
            return smaller_rgb(file, self.smaller(size_hw), self.sight.images)
        data = self.images.read(uri)
        image_HWC, size_hw = shown_rgb(data, self.limits, self.smaller, self.sight.images)
        _check_unchanged(size_hw, mask_hw)
        return resized(image_HWC, self.smaller(size_hw))

    def large_mask(self, uri: str, size_hw: Size) -> LabelIds:
        """A mask that is too large to be held, at the size shown; void is C."""
        with open_labels(self.images.by_window(uri)) as labels:
            if labels.hw != size_hw:
                raise RowFault(Status.UNREADABLE, "its size is not that of its row")
            smaller = labels.read_smaller(self.smaller(labels.hw))
        return class_ids(smaller, self.sight.truths.label_map.num_classes)

    def truth(self, uri: str, size_hw: Size, *, large: bool) -> LabelIds:
        """Class ids, and C for no truth; of a large one at the size shown, else at its own."""
        if large:
            with open_truth(self.truths, self.sight.truths, self.limits, uri) as truth:
                check_truth_size(truth.hw, size_hw)
                return truth.smaller(self.smaller(truth.hw)).ids_HW
        ids_HW = read_truth(self.truths, self.sight.truths, self.limits, uri).ids_HW
        check_truth_size(ids_HW.shape, size_hw)
        return ids_HW


def read_prediction(reader: Reader, uri: str, size_hw: Size, num_classes: int) -> Prediction:
    """A mask that a run wrote and that lies there. Raises RowFault."""
    # the run that wrote it may have had a higher limit than today's
    limits = Limits(max_pixels=max(Limits().max_pixels, size_hw[0] * size_hw[1]))
    file = decode_labels(reader.read(uri), limits)
    if file.values.shape[:2] != size_hw:
        shape = " x ".join(map(str, file.values.shape[1::-1]))
        raise RowFault(Status.UNREADABLE, f"it is {shape} pixels, not {size_hw[1]} x {size_hw[0]}")
    return Prediction(class_ids(file, num_classes))


def class_ids(file: LabelFile, num_classes: int) -> LabelIds:
    """Of a mask that a run wrote; whatever is no class stands for void. Raises RowFault."""
    if file.values.ndim != 2 or file.values.dtype.kind != "u":
        raise RowFault(Status.UNREADABLE, "it does not hold class ids")
    kind = np.min_scalar_type(num_classes)
    ids_HW: LabelIds = np.minimum(file.values, num_classes).astype(kind, copy=False)
    return ids_HW


def _check_unchanged(size_hw: Size, mask_hw: Size | None) -> None:
    if mask_hw is not None and mask_hw != size_hw:
        raise RowFault(
            Status.UNREADABLE,
            f"it is {size_hw[1]} x {size_hw[0]} pixels by now, its mask {mask_hw[1]} x {mask_hw[0]}",
        )
