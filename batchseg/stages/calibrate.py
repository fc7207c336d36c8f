"""Calibrate: the probes of a prediction held against the truth there."""

from __future__ import annotations

from batchseg.labels.label_map import Ids
from batchseg.metrics.calibration import Calibration
from batchseg.stages.beside import rows_beside
from batchseg.stages.item import Item


def calibrate(item: Item, truth_HW: Ids | None, num_classes: int) -> None:
    """Note what an item's probabilities say of its truth; nothing where it lacks either.

    Pixels without truth, and those where the picture has no data, do not count.
    """
    assert item.prediction is not None
    probes = item.prediction.probes
    if probes is None or truth_HW is None:
        return
    at = probes.rows_N, probes.columns_N
    truth_N = truth_HW[at]
    known_N = truth_N < num_classes
    if item.nodata_HW is not None:
        known_N &= ~item.nodata_HW[at]
    likely_N = item.prediction.labels_HW[at]
    item.calibration = Calibration.of(probes.probabilities_CN, truth_N, likely_N, known_N)
    if item.part is None:
        tell_calibration(item)
        if probes.is_rounded:
            item.figures["nll"] = None  # nobody knows the logarithm of what became 0


def tell_calibration(item: Item) -> None:
    """Put what was noted into the columns and the table that it is for."""
    if item.calibration is not None:
        item.figures |= item.calibration.figures()
        item.beside["calibration"] = rows_beside("calibration", item.calibration.groups())
        item.calibration = None
