"""The masks of a results folder as label maps, wherever they lie."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import numpy as np

from batchseg.config.base import Limits
from batchseg.errors import OutputError, RowFault
from batchseg.exports.labelled import ExportJob, Labelled
from batchseg.images.geotiff import Georeference
from batchseg.images.label_files import LabelFile, decode_labels
from batchseg.images.label_rasters import open_labels, tiff_head
from batchseg.images.raster import has_rasterio
from batchseg.labels.reading import Reading
from batchseg.results.folder import Results
from batchseg.results.masks import is_inside
from batchseg.results.recorded import is_evaluation, look_back
from batchseg.schema import Status
from batchseg.stages.item import Item
from batchseg.stages.places import TIFF_SUFFIXES, place_on_map
from batchseg.stages.score import as_truth
from batchseg.stages.viewing import class_ids
from batchseg.storage.reader import image_reader

HELD_PIXELS = Limits().max_pixels  # a mask is held whole, with some 30 bytes a pixel beside it


class Masks:
    """Reads the masks that the rows of `images` name, or those that were evaluated.

    Raises OutputError where nothing says what the classes are, or how masks were read that were evaluated.
    """

    def __init__(self, results: Results) -> None:
        self._root, self._reader = results.root, image_reader()
        self._record = results.record()
        past = look_back(results, self._record)
        if is_evaluation(self._record) and not past.knows_truths:
            raise OutputError(
                f"{results.root}: how its masks are read is not known any more, for run.json is from another "
                "version of batchseg, or their label map is gone; evaluate the masks anew"
            )
        self.label_map, self._foreign = past.label_map, past.masks

    @property
    def model(self) -> str | None:
        """What made them, as it was named."""
        name: str | None = ((self._record or {}).get("model") or {}).get("name")
        return name

    def read(self, row: dict[str, Any], job: ExportJob, *, placed: bool) -> Labelled:
        """The mask of an image. With `placed`, it is also asked where it lies. Raises RowFault."""
        size_hw = (row["height"], row["width"])
        if size_hw[0] * size_hw[1] > HELD_PIXELS:
            raise RowFault(
                Status.TOO_LARGE,
                f"it is {size_hw[1]} x {size_hw[0]} pixels, and an export holds {HELD_PIXELS:,} at once",
            )
        uri, reading = self._place(row)
        file, georeference = self._file(uri, size_hw)
        if file.values.shape[:2] != size_hw:
            shape = " x ".join(map(str, file.values.shape[1::-1]))
            raise RowFault(Status.UNREADABLE, f"it is {shape} pixels, not {size_hw[1]} x {size_hw[0]}")
        if placed and georeference is None and row["mask"] is not None:
            with suppress(RowFault):  # the image may be gone
                georeference = place_on_map(Item(row, size_hw=size_hw), self._reader)
        labels_HW = (
            class_ids(file, self.label_map.void) if reading is None else as_truth(file, reading).ids_HW
        )
        return Labelled(row, labels_HW, job, georeference if placed else None)

    def _place(self, row: dict[str, Any]) -> tuple[str, Reading | None]:
        mask = row["mask"]
        if mask is None:
            if self._foreign is None:
                raise RowFault(Status.MISSING, "its row names no mask")
            return row["uri"], self._foreign
        if not mask.startswith("masks/") or not is_inside(self._root / "masks", mask.removeprefix("masks/")):
            raise RowFault(Status.DENIED, f"{mask} is no file below masks/")
        return str(self._root / mask), None

    def _file(self, uri: str, size_hw: tuple[int, int]) -> tuple[LabelFile, Georeference | None]:
        if has_rasterio() and uri.lower().endswith(TIFF_SUFFIXES):
            file = self._reader.by_window(uri)
            if (head := tiff_head(file)) is not None:
                with open_labels(file, head) as labels:
                    if labels.hw != size_hw:  # before it is read, for it may be huge
                        return LabelFile(np.broadcast_to(np.uint8(0), labels.hw)), None
                    return labels.read(), labels.georeference
        limits = Limits(max_pixels=HELD_PIXELS)
        return decode_labels(self._reader.read(uri), limits), None
