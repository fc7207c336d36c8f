"""Files of parts: what is damaged is deleted and named, whatever byte it is."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from batchseg.errors import OutputError
from batchseg.images.raster import Area
from batchseg.metrics.calibration import Calibration
from batchseg.metrics.confusion import ConfusionMatrix
from batchseg.segmentors.base import Prediction
from batchseg.segmentors.combined.sureness import Sureness
from batchseg.stages.item import Item, RasterPart
from batchseg.stages.part_file import KeptParts, write_part
from batchseg.storage.location import locate

AREA = Area(0, 0, 4, 6)
PART = RasterPart(AREA, 0, 1, (4, 6), "a")


def test_parts_that_were_computed_before_there_were_probes_leave_none(tmp_path: Path) -> None:
    """Half of the figures would be those of half of the picture."""
    areas, p_CN = [Area(0, 0, 2, 6), Area(2, 0, 2, 6)], np.full((2, 3), 0.5, np.float32)
    truth_N = np.array([0, 1, 0])
    for number, area in enumerate(areas):
        labels_HW = np.ones((2, 6), np.uint8)
        item = Item({}, part=replace(PART, area=area, number=number, count=2), has_truth=True)
        item.prediction, item.sureness = Prediction(labels_HW), Sureness.zeros()
        item.matrix = ConfusionMatrix.from_maps(labels_HW, labels_HW, 2)
        item.calibration = Calibration.of(p_CN, truth_N, truth_N, truth_N == 0)
        write_part(locate(str(tmp_path)), item)
    found = KeptParts.of(locate(str(tmp_path)), PART, areas, 2).calibration
    assert found is not None
    assert found.figures()["probed_pixels"] == 4
    item.calibration = None
    write_part(locate(str(tmp_path)), item)
    assert KeptParts.of(locate(str(tmp_path)), PART, areas, 2).calibration is None


def test_what_prompts_claim_and_find_adds_up(tmp_path: Path) -> None:
    """But not with parts of earlier versions, which did not count it."""
    areas = [Area(0, 0, 2, 6), Area(2, 0, 2, 6)]
    p_CN = torch.tensor([[0.2, 0.6, 0.1], [0.4, 0.3, 0.8], [0.4, 0.1, 0.1]])

    def kept(*sums: Sureness) -> KeptParts:
        for number, (area, sureness, presence) in enumerate(zip(areas, sums, (0.25, 0.75), strict=True)):
            labels_HW = np.ones((2, 6), np.uint8)
            item = Item({}, part=replace(PART, area=area, number=number, count=2), sureness=sureness)
            item.prediction = Prediction(labels_HW, presence=presence)
            item.matrix = ConfusionMatrix.from_maps(labels_HW, None, 3)
            write_part(locate(str(tmp_path)), item)
        return KeptParts.of(locate(str(tmp_path)), PART, areas, 3)

    found = kept(Sureness.of(p_CN, 0), Sureness.of(p_CN[:, 1:], 0))
    assert found.presence == 0.75
    assert found.confidence is not None and found.confidence.contested_fraction == 1 / 5
    older = kept(Sureness.of(p_CN, 0), Sureness.of(p_CN))
    assert older.confidence is not None and older.confidence.contested_fraction is None


@pytest.mark.parametrize("at", [8, 10, 16], ids=["flags", "packing", "sum"])
def test_a_damaged_file_is_deleted_and_named(tmp_path: Path, at: int) -> None:
    labels_HW = np.ones((4, 6), np.uint8)
    item = Item({}, part=PART, prediction=Prediction(labels_HW))
    item.matrix = ConfusionMatrix.from_maps(labels_HW, None, 2)
    write_part(locate(str(tmp_path)), item)
    place = tmp_path / ".parts/a/0.npz"
    data = bytearray(place.read_bytes())
    data[data.rindex(b"PK\1\2") + at] ^= 1  # of the last array in the directory, the facts
    place.write_bytes(data)
    with pytest.raises(OutputError, match="is damaged, and was deleted"):
        KeptParts.of(locate(str(tmp_path)), PART, [AREA], 2)
    assert not place.exists()
