"""Masks and truths that are too large to be held, scored a window at a time: counts add."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from functools import partial

from batchseg.config.base import Limits
from batchseg.config.source import ImageReading
from batchseg.errors import RowFault
from batchseg.images.geotiff import Georeference, areas_of, check_truth_place
from batchseg.images.label_files import LabelFile, decode_labels
from batchseg.images.label_rasters import LabelRaster, open_labels, tiff_head
from batchseg.images.overlay import nearest
from batchseg.images.raster import Area, has_rasterio
from batchseg.labels.label_map import Ids
from batchseg.labels.reading import Reading
from batchseg.metrics.confusion import ConfusionMatrix
from batchseg.schema import Status, TruthStatus
from batchseg.stages.item import Item, Stage, for_each
from batchseg.stages.nodata import Lookup, open_nodata
from batchseg.stages.score import Truth, as_truth, check_truth_size, count_pixels, scorer
from batchseg.storage.reader import Reader, image_reader, truth_reader

TIFF_SUFFIXES = (".tif", ".tiff")
HELD_PIXELS = 4096**2  # of a mask; more are read by window


def is_large(hw: tuple[int, int], limits: Limits) -> bool:
    """Whether a mask that lies there as a TIFF is read by window."""
    pixels = hw[0] * hw[1]
    return pixels > limits.max_pixels or (pixels > HELD_PIXELS and has_rasterio())


@dataclass(frozen=True)
class TruthWindows:
    """An open ground truth.

    Attributes:
        hw: height and width.
        georeference: where it lies; None where its format does not say.
        file: the pixels of a rectangle as they are stored.
        smaller_file: all of them at another size, by nearest.
    """

    hw: tuple[int, int]
    georeference: Georeference | None
    file: Callable[[Area], LabelFile]
    smaller_file: Callable[[tuple[int, int]], LabelFile]
    reading: Reading

    def read(self, area: Area) -> Truth:
        """Class ids of a rectangle that lies within it. Raises RowFault, as `read_truth` does."""
        return as_truth(self.file(area), self.reading)

    def smaller(self, hw: tuple[int, int]) -> Truth:
        """Class ids of the whole at another size, by nearest. Raises RowFault."""
        return as_truth(self.smaller_file(hw), self.reading)


@contextmanager
def open_truth(reader: Reader, reading: Reading, limits: Limits, uri: str) -> Iterator[TruthWindows]:
    """A ground truth, to be read by window: of a TIFF no more is held. Others are decoded whole.

    Raises RowFault, of the truth, also for what is read inside the block.
    """
    place = reader.by_window(uri)
    if (head := tiff_head(place)) is None:
        # bytes of a table are at hand already
        whole = decode_labels(place if isinstance(place, bytes) else reader.read(uri), limits)
        height, width = whole.values.shape[:2]
        yield TruthWindows((height, width), None, partial(_cut, whole), partial(_smaller, whole), reading)
        return
    with open_labels(place, head) as labels:
        yield TruthWindows(labels.hw, labels.georeference, labels.read, labels.read_smaller, reading)


def _cut(whole: LabelFile, area: Area) -> LabelFile:
    rows, columns = (slice(*ends) for ends in area.slices)
    return replace(whole, values=whole.values[rows, columns])


def _smaller(whole: LabelFile, hw: tuple[int, int]) -> LabelFile:
    return replace(whole, values=nearest(whole.values, hw))


def score_lying(
    masks: Reading,
    reading: Reading,
    limits: Limits,
    images_as: ImageReading | None = None,
    *,
    keep_truth: bool = False,
) -> Stage:
    """`score` for masks that lie there: what `restore` left where it lies is counted by window.

    Args:
        masks: how the masks are read.
        reading: how the truths are.
        images_as: how the images are read, for some have no data somewhere; None where there are no images.
        keep_truth: as for `score`; of large ones none is kept.
    """
    images, truths = image_reader(), truth_reader()
    whole = scorer(reading, limits, keep_truth=keep_truth)

    def by_window(item: Item) -> None:
        assert item.large is not None and item.size_hw is not None
        with _open_mask(images, masks, item) as mask, open_nodata(item, images, images_as) as nodata:
            if item.row["truth"] is not None:
                try:
                    with open_truth(truths, reading, limits, item.row["truth"]) as truth:
                        check_truth_size(truth.hw, item.size_hw)
                        check_truth_place(mask.georeference, truth.georeference)
                        item.matrix, item.between = _count(mask, truth, nodata)
                        item.has_truth = True
                        return
                except RowFault as fault:
                    if not isinstance(fault.status, TruthStatus):
                        raise  # it is the mask's
                    item.truth_fault = fault
            item.matrix, _ = _count(mask, None, nodata)

    return for_each("score", lambda item: whole(item) if item.large is None else by_window(item))


@dataclass(frozen=True)
class _Mask:
    """An open mask; what is wrong with it is the image's fault, not the truth's."""

    item: Item
    labels: LabelRaster
    reading: Reading

    @property
    def georeference(self) -> Georeference:
        return self.labels.georeference

    def read(self, area: Area) -> Ids:
        try:
            return as_truth(self.labels.read(area), self.reading).ids_HW
        except RowFault as fault:
            raise unusable(self.item, fault) from fault


@contextmanager
def _open_mask(reader: Reader, reading: Reading, item: Item) -> Iterator[_Mask]:
    assert item.large is not None
    with ExitStack() as stack:
        try:
            labels = stack.enter_context(open_labels(reader.by_window(item.large)))
            if labels.hw != item.size_hw:
                raise _of_another_size(labels.hw, item.size_hw)
        except RowFault as fault:
            raise unusable(item, fault) from fault
        yield _Mask(item, labels, reading)


def _of_another_size(found: tuple[int, int], wanted: tuple[int, int] | None) -> RowFault:
    height, width = wanted or (0, 0)
    return RowFault(Status.UNREADABLE, f"it is {found[1]} x {found[0]}, not {width} x {height}")


def unusable(item: Item, fault: RowFault) -> RowFault:
    """The image's fault where its mask cannot be read; a run then knows of no mask."""
    status = Status.UNREADABLE if isinstance(fault.status, TruthStatus) else fault.status
    if item.kept is None:
        return RowFault(status, str(fault))
    mask = item.kept["mask"]
    item.kept = item.prediction = item.large = None
    return RowFault(
        Status.UNREADABLE,
        f"its mask {mask} cannot be used, so the next run segments the image again: {fault}",
    )


def _count(mask: _Mask, truth: TruthWindows | None, nodata: Lookup) -> tuple[ConfusionMatrix, int | None]:
    num_classes = mask.reading.label_map.num_classes
    total, between = ConfusionMatrix.zeros(num_classes), None
    for area in areas_of(mask.labels.hw):
        part = truth.read(area) if truth else None
        truth_HW = part.ids_HW if part else None
        total += count_pixels(mask.read(area), truth_HW, nodata(area), num_classes)
        if part is not None and part.between is not None:
            between = (between or 0) + part.between
    return total, between
