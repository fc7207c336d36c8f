"""Score: a prediction and its ground truth -> a confusion matrix."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from batchseg.config.base import Limits
from batchseg.errors import RowFault
from batchseg.images.label_files import decode_labels
from batchseg.labels.label_map import LabelMap
from batchseg.metrics.confusion import ConfusionMatrix
from batchseg.schema import TruthStatus
from batchseg.stages.item import Item, Stage, for_each
from batchseg.storage.reader import Reader, truth_reader

Labels = NDArray[np.unsignedinteger[Any]]


def score(label_map: LabelMap, limits: Limits) -> Stage:
    """Count every image's pixels by true and predicted class; a fault of the truth leaves the truth out."""
    reader = truth_reader()

    def work(item: Item) -> None:
        assert item.prediction is not None
        labels_HW = item.prediction.labels_HW
        truth_HW: Labels | None = None
        try:
            if item.row["truth"] is not None:
                truth_HW = read_truth(reader, label_map, limits, item.row["truth"])
                check_truth_size(truth_HW, labels_HW.shape)
        except RowFault as fault:
            item.truth_fault, truth_HW = fault, None
        item.has_truth = truth_HW is not None
        item.matrix = ConfusionMatrix.from_maps(labels_HW, truth_HW, label_map.num_classes)

    return for_each("score", work)


def read_truth(reader: Reader, label_map: LabelMap, limits: Limits, uri: str) -> Labels:
    """Class ids [H, W] of a ground truth. Raises RowFault."""
    return label_map.encode(decode_labels(reader.read(uri), limits))


def check_truth_size(truth_HW: Labels, image_hw: tuple[int, ...]) -> None:
    """Raises RowFault."""
    if truth_HW.shape != image_hw:
        (truth_h, truth_w), (height, width) = truth_HW.shape, image_hw
        raise RowFault(
            TruthStatus.MISMATCH,
            f"the image is {width} x {height} pixels, its truth {truth_w} x {truth_h}",
        )
