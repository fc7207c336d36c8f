"""Score: a prediction and its ground truth -> a confusion matrix."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from batchseg.config.base import Limits
from batchseg.errors import RowFault
from batchseg.images.label_files import LabelFile, decode_labels
from batchseg.labels.label_map import Ids
from batchseg.labels.reading import Reading
from batchseg.metrics.confusion import ConfusionMatrix
from batchseg.schema import TruthStatus
from batchseg.stages.calibrate import calibrate
from batchseg.stages.item import Item, Stage, for_each
from batchseg.stages.places import check_place
from batchseg.storage.reader import Reader, image_reader, truth_reader


def score(reading: Reading, limits: Limits, *, keep_truth: bool = False) -> Stage:
    """Count every image's pixels by true and predicted class; a fault of the truth leaves the truth out.

    Where a picture has no data the mask and the truth are void, and these pixels are not counted at all.

    Args:
        keep_truth: for a stage after this one.
    """
    return for_each("score", scorer(reading, limits, keep_truth=keep_truth))


def scorer(reading: Reading, limits: Limits, *, keep_truth: bool = False) -> Callable[[Item], None]:
    """What `score` does with an item."""
    images, reader, label_map = image_reader(), truth_reader(), reading.label_map

    def work(item: Item) -> None:
        assert item.prediction is not None
        labels_HW = item.prediction.labels_HW
        truth: Truth | None = None
        try:
            if item.row["truth"] is not None:
                data = reader.read(item.row["truth"])
                truth = as_truth(decode_labels(data, limits), reading)
                check_truth_size(truth.ids_HW.shape, labels_HW.shape, item.orientation)
                check_place(item, data, images)
        except RowFault as fault:
            if not isinstance(fault.status, TruthStatus):
                raise  # it is the image's
            item.truth_fault, truth = fault, None
        item.between = truth.between if truth else None
        truth_HW = count(item, truth.ids_HW if truth else None, label_map.num_classes)
        if keep_truth:
            item.truth_HW = truth_HW

    return work


def count(item: Item, truth_HW: Ids | None, num_classes: int) -> Ids | None:
    """Count an item's pixels against its truth, which is returned, and hold its probes against it.

    Where the picture has no data both are void from then on.
    """
    assert item.prediction is not None
    nodata_HW, labels_HW = item.nodata_HW, item.prediction.labels_HW
    item.matrix = count_pixels(labels_HW, truth_HW, nodata_HW, num_classes)
    calibrate(item, truth_HW, num_classes)
    item.has_truth, item.nodata_HW = truth_HW is not None, None
    if nodata_HW is None:
        return truth_HW
    item.prediction = replace(item.prediction, labels_HW=voided(labels_HW, nodata_HW, num_classes))
    return None if truth_HW is None else voided(truth_HW, nodata_HW, num_classes)


def count_pixels(
    labels_HW: Ids, truth_HW: Ids | None, nodata_HW: NDArray[np.bool_] | None, num_classes: int
) -> ConfusionMatrix:
    """Pixels by true and predicted class, without those where there are no data."""
    if nodata_HW is not None:
        labels_HW = labels_HW[~nodata_HW][None]
        truth_HW = None if truth_HW is None else truth_HW[~nodata_HW][None]
    return ConfusionMatrix.from_maps(labels_HW, truth_HW, num_classes)


def voided(ids_HW: Ids, nodata_HW: NDArray[np.bool_], num_classes: int) -> Ids:
    """The ids with void, which is C, where there are no data."""
    kind = np.result_type(ids_HW, np.min_scalar_type(num_classes))
    return np.where(nodata_HW, kind.type(num_classes), ids_HW)


@dataclass(frozen=True)
class Truth:
    """Class ids [H, W] of a ground truth, and how many pixels a threshold decided that are grey rather."""

    ids_HW: Ids
    between: int | None = None


def read_truth(reader: Reader, reading: Reading, limits: Limits, uri: str) -> Truth:
    """Read one ground truth, or any other label file. Raises RowFault."""
    return as_truth(decode_labels(reader.read(uri), limits), reading)


def as_truth(file: LabelFile, reading: Reading) -> Truth:
    """What the pixels of a label file mean. Raises RowFault."""
    if file.names is not None:
        return Truth(reading.named(file.values, file.names))
    pixels = (file.values, file.palette, file.white)
    if reading.threshold is not None:
        return Truth(*reading.part(*pixels))
    if file.lossy is not None:
        raise RowFault(
            TruthStatus.UNREADABLE,
            f"label file: {file.lossy} compression changes pixel values, and so invents class ids; for "
            "masks of two classes say truth.threshold: 128, else save it as PNG without loss",
        )
    return Truth(reading.encode(*pixels))


def check_truth_size(truth_hw: tuple[int, ...], image_hw: tuple[int, ...], orientation: int = 1) -> None:
    """Raises RowFault, which tells of the image's EXIF orientation where that may be the cause."""
    if truth_hw == image_hw:
        return
    (truth_h, truth_w), (height, width) = truth_hw, image_hw
    sentence = f"the image is {width} x {height} pixels, its truth {truth_w} x {truth_h}"
    if orientation != 1 or truth_hw == image_hw[::-1]:
        turned = f"is {orientation}" if orientation != 1 else "may turn it"
        sentence += (
            f"; its EXIF orientation {turned}: if truths were drawn on the pixels as they are stored, say "
            "source.orientation: stored"
        )
    raise RowFault(TruthStatus.MISMATCH, sentence)
