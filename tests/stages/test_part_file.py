"""Files of parts: what is damaged is deleted and named, whatever byte it is."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from batchseg.errors import OutputError
from batchseg.images.raster import Area
from batchseg.metrics.confusion import ConfusionMatrix
from batchseg.segmentors.base import Prediction
from batchseg.stages.item import Item, RasterPart
from batchseg.stages.part_file import KeptParts, write_part
from batchseg.storage.location import locate

AREA = Area(0, 0, 4, 6)
PART = RasterPart(AREA, 0, 1, (4, 6), "a")


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
