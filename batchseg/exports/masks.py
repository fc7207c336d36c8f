"""The masks of a results folder as label maps, wherever they lie."""

from __future__ import annotations

import os
from typing import Any

import numpy as np

from batchseg.config.base import Limits
from batchseg.config.evaluate import EvaluateConfig
from batchseg.errors import LabelMapError, OutputError, RowFault
from batchseg.exports.labelled import ExportJob, Labelled
from batchseg.images.geotiff import Georeference, georeference_of
from batchseg.images.label_files import LabelFile, decode_labels
from batchseg.images.label_rasters import open_labels, tiff_head
from batchseg.images.raster import has_rasterio, open_raster
from batchseg.labels.label_file import BUILT_IN, load_label_map
from batchseg.labels.label_map import Ids, LabelMap
from batchseg.labels.reading import Reading
from batchseg.labels.recorded import recorded_label_map
from batchseg.results.classes import class_names
from batchseg.results.folder import Results
from batchseg.results.masks import is_inside
from batchseg.schema import Status
from batchseg.storage.location import is_uri
from batchseg.storage.reader import image_reader

HELD_PIXELS = Limits().max_pixels  # a mask is held whole, with some 30 bytes a pixel beside it
_UPRIGHT = 1


class Masks:
    """Reads the masks that the rows of `images` name, or those that were evaluated.

    Raises OutputError where nothing says what the classes are.
    """

    def __init__(self, results: Results) -> None:
        self._root, self._reader = results.root, image_reader()
        self._record = results.record() or {}
        self.label_map = _label_map(results, self._record)
        config = self._record.get("config") or {}
        self._foreign = _foreign(self._record, self.label_map) if "masks" in config else None

    @property
    def model(self) -> str | None:
        """What made them, as it was named."""
        name: str | None = (self._record.get("model") or {}).get("name")
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
            georeference = self._of_image(row["uri"], size_hw)
        if reading is None:
            labels_HW = _own_ids(file, self.label_map.void)
        else:
            labels_HW = reading.encode(file.values, file.palette, file.white)
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
        if has_rasterio() and uri.lower().endswith((".tif", ".tiff")):
            file = self._reader.by_window(uri)
            if (head := tiff_head(file)) is not None:
                with open_labels(file, head) as labels:
                    if labels.hw != size_hw:  # before it is read, for it may be huge
                        return LabelFile(np.broadcast_to(np.uint8(0), labels.hw)), None
                    return labels.read(), labels.georeference
        limits = Limits(max_pixels=HELD_PIXELS)
        return decode_labels(self._reader.read(uri), limits), None

    def _of_image(self, uri: str, size_hw: tuple[int, int]) -> Georeference | None:
        """Where an image lies whose mask is no TIFF; None where it is none either, is turned, or is gone."""
        if not has_rasterio():
            return None
        try:
            file = self._reader.by_window(uri)
            head = tiff_head(file)
            if head is None or head.orientation != _UPRIGHT:
                return None
            with open_raster(file) as dataset:
                return georeference_of(dataset) if dataset.shape == size_hw else None
        except RowFault:
            return None


def _own_ids(file: LabelFile, void: int) -> Ids:
    """Of a mask that a run wrote; whatever is no class stands for void. Raises RowFault."""
    if file.values.ndim != 2 or file.values.dtype.kind != "u":
        raise RowFault(Status.UNREADABLE, "it does not hold class ids")
    ids_HW: Ids = np.minimum(file.values, void).astype(np.min_scalar_type(void), copy=False)
    return ids_HW


def _label_map(results: Results, record: dict[str, Any]) -> LabelMap:
    """The classes of the masks with their colours: those of the record, of the label file, or the default."""
    names = class_names(results, record or None)
    if names is None:
        raise OutputError(f"{results.root}: neither run.json nor classes.parquet says what the classes are")
    found = LabelMap.from_names(names)
    try:
        if record.get("label_map"):
            given = recorded_label_map(record["label_map"])
        elif labels := (record.get("config") or {}).get("labels"):
            given = load_label_map(_absolute(labels, record))
        else:
            return found
    except LabelMapError:
        return found
    return given if list(given.names) == names else found


def _foreign(record: dict[str, Any], label_map: LabelMap) -> Reading:
    """How masks that were evaluated are read: by the settings of the evaluation."""
    try:
        config = EvaluateConfig.model_validate(record["config"])
        found = load_label_map(_absolute(config.labels, record))
    except ValueError as exc:
        raise OutputError("run.json is from another version of batchseg; evaluate the masks anew") from exc
    except LabelMapError as exc:
        raise OutputError(f"the masks cannot be read, for their label map is gone: {exc}") from exc
    if found.names != label_map.names:
        raise OutputError(f"{config.labels} has other classes than when the masks were evaluated")
    own = found if config.mask_ids == "truth" else found.of_masks
    if config.mask_ids == "truth" and config.truth.threshold is not None:
        return Reading(own, threshold=config.truth.threshold)
    if config.truth.values == "colours":
        return Reading(own, "colours", "colours", "colours")
    # a palette that has the label map's colours at other ids is refused, and colours that it does not know
    return Reading(own, "colours" if own.read_colours else "ids", None, "ids")


def _absolute(labels: str, record: dict[str, Any]) -> str:
    if is_uri(labels) or (BUILT_IN / f"{labels}.yaml").is_file():
        return labels
    folder = (record.get("machine") or {}).get("folder") or ""
    return os.path.join(folder, os.path.expanduser(labels))
