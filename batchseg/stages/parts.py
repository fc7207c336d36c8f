"""Parts of large rasters: each is read, decided, scored and kept by itself, and joined with the others."""

from __future__ import annotations

from collections.abc import Iterator
from time import perf_counter

from batchseg.config.base import Limits
from batchseg.config.looks import Tiling
from batchseg.config.run import Kept
from batchseg.config.source import ImageReading
from batchseg.errors import RowFault
from batchseg.images.geotiff import check_truth_place, georeference_of
from batchseg.images.headers import check_size
from batchseg.images.label_rasters import tiff_head
from batchseg.images.raster import RasterFile, open_raster
from batchseg.images.raster_bands import BandPlan
from batchseg.images.raster_picture import plan_picture, read_picture
from batchseg.labels.label_map import LabelMap
from batchseg.labels.reading import Reading
from batchseg.schema import Status
from batchseg.segmentors.combined.windows import parts_of, seen_by
from batchseg.stages.by_window import open_truth
from batchseg.stages.calibrate import tell_calibration
from batchseg.stages.item import Item, Stage, for_each
from batchseg.stages.part_file import KeptParts, write_part
from batchseg.stages.part_probabilities import join_probabilities
from batchseg.stages.raster_mask import write_raster_mask
from batchseg.stages.score import check_truth_size, count
from batchseg.storage.location import Location
from batchseg.storage.lock import Lock
from batchseg.storage.reader import image_reader, truth_reader


def read_parts(tiling: Tiling, limits: Limits, reading: ImageReading) -> Stage:
    """Read what the windows of every part see, from the raster by window."""
    reader = image_reader()
    plans: dict[tuple[str, str | None], BandPlan] = {}  # percentiles take a look at all of it

    def work(item: Item) -> None:
        assert item.part is not None
        area, uri = item.part.area, item.row["uri"]
        known, file = (uri, item.row["source_version"]), reader.by_window(uri)
        with open_raster(file) as dataset:
            item.size_hw = size_hw = (dataset.height, dataset.width)
            if size_hw != item.part.picture_hw:
                raise RowFault(Status.UNREADABLE, "the file changed while it was being read; run again")
            item.place = georeference_of(dataset)
            seen = seen_by(size_hw, area, tiling)
            check_size(seen.height, seen.width, limits)
            if known not in plans:
                refuse_turned(file, reading)
                plans.clear()
                plans[known] = plan_picture(dataset, reading)
            item.image_HWC, item.scale, nodata_HW = read_picture(dataset, plans[known], reading, seen)
        if nodata_HW is not None:
            top, left = area.top - seen.top, area.left - seen.left
            nodata_HW = nodata_HW[top : top + area.height, left : left + area.width]
            item.nodata_HW = nodata_HW if nodata_HW.any() else None

    return for_each("decode", work)


def refuse_turned(file: RasterFile, reading: ImageReading) -> None:
    """Raises RowFault where the pixels would have to be turned upright: parts are cut as they are stored."""
    head = tiff_head(file)
    if head is not None and head.orientation != 1 and not reading.as_stored:
        raise RowFault(
            Status.UNSUPPORTED,
            f"its pixels are stored turned (Orientation {head.orientation}), and it is larger than a part "
            "(tiling.part); save it upright, or say --orientation stored (source.orientation: stored)",
        )


def score_parts(reading: Reading, limits: Limits) -> Stage:
    """Count every part's pixels against its window of the truth."""
    reader = truth_reader()

    def work(item: Item) -> None:
        assert item.prediction is not None and item.part is not None
        truth_HW = None
        if (uri := item.row["truth"]) is not None:
            try:
                with open_truth(reader, reading, limits, uri) as truth:
                    check_truth_size(truth.hw, item.part.picture_hw)
                    check_truth_place(item.place, truth.georeference)
                    read = truth.read(item.part.area)
                truth_HW, item.between = read.ids_HW, read.between
            except RowFault as fault:
                item.truth_fault = fault
        count(item, truth_HW, reading.label_map.num_classes)

    return for_each("score", work)


def keep_parts(results: Location, lock: Lock | None = None) -> Stage:
    """Write a file for every part, what failed among them, for as long as the folder's lock is ours."""

    def stage(items: Iterator[Item]) -> Iterator[Item]:
        for item in items:
            if not item.left_over:
                if lock is not None:
                    lock.check_now_and_then()
                start = perf_counter()
                write_part(results, item)
                item.seconds["write"] = perf_counter() - start
            item.prediction = None
            yield item

    return stage


def join_parts(
    results: Location,
    label_map: LabelMap,
    tiling: Tiling,
    lock: Lock | None = None,
    probabilities: Kept | None = None,
) -> Stage:
    """Write the mask of every raster from its parts, its probabilities, and add up what they counted.

    Where a part failed the image fails; its other parts stay for the next run.
    """
    reader = image_reader()

    def work(item: Item) -> None:
        assert item.part is not None
        if lock is not None:
            lock.check_now_and_then()
        areas = parts_of(item.part.picture_hw, tiling)
        kept = KeptParts.of(results, item.part, areas, label_map.num_classes)
        item.size_hw = item.part.picture_hw
        item.seconds.update(kept.seconds)
        item.confidence, item.between = kept.confidence, kept.between
        item.precision, item.engine, item.why_not = kept.precision, kept.engine, kept.why_not
        item.presence = kept.presence
        if kept.fault is not None:
            raise kept.fault
        item.matrix, item.has_truth, item.truth_fault = kept.matrix, kept.has_truth, kept.truth_fault
        item.calibration = kept.calibration
        tell_calibration(item)
        with open_raster(reader.by_window(item.row["uri"])) as dataset:
            item.place = georeference_of(dataset)
        if probabilities is not None:
            join_probabilities(results, item.row["mask"], kept, label_map.names, probabilities)
        item.large = str(results / "masks" / item.row["mask"])
        write_raster_mask(
            results / "masks",
            item.row["mask"],
            kept.strips(),
            item.part.picture_hw,
            label_map=label_map,
            source=item.place,
        )

    return for_each("write", work)
