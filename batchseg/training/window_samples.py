"""Windows of pictures and of their ground truth, read and prepared as by `batchseg run`."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa

from batchseg.config.base import Limits
from batchseg.config.looks import Tiling
from batchseg.config.run import Tiffs
from batchseg.config.source import ImageReading
from batchseg.config.train import TrainConfig
from batchseg.images.bands import BandPicture
from batchseg.images.geotiff import check_truth_place, georeference_of
from batchseg.images.raster import Area, RasterFile, open_raster
from batchseg.images.raster_bands import BandPlan
from batchseg.images.raster_picture import plan_picture, read_picture
from batchseg.labels.label_map import Ids
from batchseg.labels.reading import Reading
from batchseg.results.learning import window_name
from batchseg.segmentors.base import ModelInput, Preparer
from batchseg.segmentors.combined.looks import Picture, resized_picture
from batchseg.segmentors.combined.windows import cut
from batchseg.segmentors.huggingface.checkpoint import HuggingFaceCheckpoint
from batchseg.stages.by_window import open_truth
from batchseg.stages.parts import refuse_turned
from batchseg.stages.score import check_truth_size, voided
from batchseg.training.data import Fault, PairReader, Sample, Samples
from batchseg.training.windows import COUNTED, WINDOW, raster_file

Row = dict[str, Any]


def pair_reader(config: TrainConfig, reading: Reading, images_as: ImageReading) -> PairReader:
    """Of images, or where the configuration has tiling of windows."""
    if config.tiling is None:
        return PairReader(reading, config.limits, images_as)
    return WindowReader(reading, config.limits, images_as, config.tiling)


class WindowReader(PairReader):
    """Rows are windows: of rasters no more is read, other pictures are decoded whole."""

    def __init__(
        self, reading: Reading, limits: Limits, images_as: ImageReading | None, tiling: Tiling
    ) -> None:
        super().__init__(reading, limits, images_as)
        self.tiling = tiling
        self.plans: dict[str, BandPlan] = {}  # percentiles take a look at all of a raster
        self.held: tuple[str, BandPicture, Ids] | None = None  # windows of one follow each other

    @property
    def tiffs(self) -> Tiffs:
        return "of tiffs"

    def read(self, row: Row) -> tuple[BandPicture, Ids]:
        """What the window shows, reflected beyond the picture's edges, and its class ids, void where nothing
        of it counts. Raises RowFault."""
        window = Area(*row[WINDOW])
        if (file := raster_file(self.images, row["uri"], self.tiling)) is None:
            picture, truth_HW = self._whole(row)
            hw, scale = truth_HW.shape, picture.scale
            inside = _inside(window, hw)
            pixels_HWC, truth_HW = cut(picture.pixels_HWC, window), _part(truth_HW, inside)
        else:
            inside, hw, pixels_HWC, scale, truth_HW = self._of_raster(row, file, window)
            pixels_HWC = cut(pixels_HWC, window, inside, hw)
        size_hw = (window.height, window.width)
        return BandPicture(pixels_HWC, size_hw, 1, scale, None), self._placed(row, truth_HW, inside)

    def ids(self, row: Row) -> Ids:
        """Class ids of the window, void where it does not count or has no data. Raises RowFault."""
        return self.read(row)[1]

    def whole_ids(self, row: Row) -> Ids:
        """Class ids of all of the picture that the window is of. Raises RowFault."""
        return super().ids(row)

    def _whole(self, row: Row) -> tuple[BandPicture, Ids]:
        if self.held is None or self.held[0] != row["uri"]:
            self.held = (row["uri"], *super().read(row))
        return self.held[1:]

    def _of_raster(self, row: Row, file: RasterFile, window: Area) -> tuple[Any, ...]:
        with open_raster(file) as dataset:
            hw, place = (dataset.height, dataset.width), georeference_of(dataset)
            if row["uri"] not in self.plans:
                refuse_turned(file, self.images_as)
                self.plans[row["uri"]] = plan_picture(dataset, self.images_as)
            inside = _inside(window, hw)
            picture = read_picture(dataset, self.plans[row["uri"]], self.images_as, inside)
        with open_truth(self.truths, self.reading, self.limits, row["truth"]) as truth:
            check_truth_size(truth.hw, hw)
            check_truth_place(place, truth.georeference)
            truth_HW = truth.read(inside).ids_HW
        if picture.nodata_HW is not None:
            truth_HW = voided(truth_HW, picture.nodata_HW, self.reading.label_map.num_classes)
        return inside, hw, picture.pixels_HWC, picture.scale, truth_HW

    def _placed(self, row: Row, truth_HW: Ids, inside: Area) -> Ids:
        """Of the window, which may reach beyond the picture, or count less than it sees."""
        window, counted = Area(*row[WINDOW]), Area(*row[COUNTED])
        void = self.reading.label_map.void
        kind = np.result_type(truth_HW, np.min_scalar_type(void))
        placed_HW = np.full((window.height, window.width), void, kind)
        rows, columns = counted.slices
        placed_HW[_shifted(rows, window.top), _shifted(columns, window.left)] = truth_HW[
            _shifted(rows, inside.top), _shifted(columns, inside.left)
        ]
        return placed_HW


class WindowSamples(Samples):
    """Windows at the size at which `batchseg run` shows them to the model."""

    def __init__(self, rows: pa.Table, preparer: Preparer, pairs: WindowReader) -> None:
        super().__init__(rows, preparer, pairs.reading, pairs.limits, pairs.images_as)
        self.pairs, self.tiling = pairs, pairs.tiling

    def read(self, index: int) -> Sample | Fault:
        found = super().read(index)
        if isinstance(found, Sample):
            return replace(found, is_window=True)
        return replace(found, id=window_name(found.id, self.row(index)[WINDOW]))

    def prepared(self, image: BandPicture) -> ModelInput:
        size = tuple(round(side * self.tiling.size / self.tiling.window) for side in image.size_hw)
        pixels_HWC, scale = resized_picture(Picture(image.pixels_HWC, image.scale), (size[0], size[1]))
        seen = BandPicture(pixels_HWC, (size[0], size[1]), 1, scale, None)
        return replace(super().prepared(seen), image_hw=image.size_hw)


def takes_margins(start: HuggingFaceCheckpoint, tiling: Tiling | None) -> bool:
    """Whether a model takes inputs that are larger than a window, from which crops are cut."""
    if tiling is None:
        return False
    larger = (2 * tiling.size, 2 * tiling.size)
    return start.preparer(as_is=True).input_hw(larger) == larger


def _inside(window: Area, hw: tuple[int, ...]) -> Area:
    """What of a window lies on the picture."""
    top, left = max(0, window.top), max(0, window.left)
    bottom, right = min(hw[0], window.top + window.height), min(hw[1], window.left + window.width)
    return Area(top, left, bottom - top, right - left)


def _part(ids_HW: Ids, area: Area) -> Ids:
    return ids_HW[tuple(slice(*ends) for ends in area.slices)]


def _shifted(ends: tuple[int, int], start: int) -> slice:
    return slice(ends[0] - start, ends[1] - start)
