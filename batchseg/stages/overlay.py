"""Overlay: an image with its mask, and its truth where asked for -> a picture below overlays/."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from time import perf_counter
from typing import NamedTuple

import numpy as np
from pyarrow import fs

from batchseg.config.base import Limits
from batchseg.config.overlay import Overlays, overlay_names
from batchseg.config.source import RGB_CHANNELS, ImageReading
from batchseg.errors import RowFault
from batchseg.images.bands import as_rgb, shown_rgb
from batchseg.images.decode import Size
from batchseg.images.encode import encode_picture
from batchseg.images.label_files import LabelFile, decode_labels
from batchseg.images.label_rasters import open_labels, tiff_head
from batchseg.images.overlay import Drawing, LabelIds, Pixels, nearest, resized, size_within
from batchseg.images.picture import Subject, draw_picture
from batchseg.images.raster_look import smaller_rgb
from batchseg.labels.label_map import is_background
from batchseg.labels.reading import Reading
from batchseg.schema import Status
from batchseg.segmentors.base import Prediction
from batchseg.stages.by_window import open_truth
from batchseg.stages.files import writer
from batchseg.stages.item import Item, Stage, for_each, named
from batchseg.stages.score import check_truth_size, read_truth
from batchseg.storage.location import Location
from batchseg.storage.reader import Reader, image_reader, truth_reader

# nothing to be shown: the file is not to be opened, or its name belongs to another image
_NOT_SHOWN = (Status.TOO_LARGE, Status.NAME_COLLISION)


@dataclass(frozen=True)
class Sight:
    """How what is shown is read: the label files, and with them the label map, and the images."""

    truths: Reading
    images: ImageReading


def keep_picture(overlays: Overlays) -> Stage:
    """Keep every decoded image at the size of its overlay, so that it need not be decoded again."""

    def work(item: Item) -> None:
        assert item.image_HWC is not None and item.size_hw is not None
        size_hw = size_within(item.size_hw, overlays.longest)
        # it may have been decoded smaller than that, for a model that reads no more
        if min(np.subtract(item.image_HWC.shape[:2], size_hw)) >= 0:
            is_rgb = item.scale is None and item.image_HWC.shape[2] == RGB_CHANNELS
            rgb_HWC = item.image_HWC if is_rgb else as_rgb(item.image_HWC, item.scale)
            item.picture_HWC = resized(rgb_HWC, size_hw)

    return for_each("overlay", work)


def write_overlay(results: Location, sight: Sight, limits: Limits, overlays: Overlays) -> Stage:
    """Draw every image that has a mask and, in triptychs, those that failed; no overlay fails an image."""
    painter = Painter(results, sight, limits, overlays)

    def stage(items: Iterator[Item]) -> Iterator[Item]:
        for item in items:
            start = perf_counter()
            with named("overlay"):
                painter.draw(item)
            item.picture_HWC = item.truth_HW = None
            if item.alive:
                before = item.seconds.get("overlay", 0.0)
                item.seconds["overlay"] = before + perf_counter() - start
            yield item

    return stage


class Drawn(NamedTuple):
    """Whether there is an overlay now, and what is lacking, in a sentence."""

    written: bool
    problem: str | None = None


class Painter:
    """Draws and writes overlays. Images are scaled down first: JPEGs as they are decoded, others after."""

    def __init__(self, results: Location, sight: Sight, limits: Limits, overlays: Overlays) -> None:
        self.sight, self.limits, self.overlays = sight, limits, overlays
        label_map = self.label_map = sight.truths.label_map
        self.results, self.root = results, results / "overlays"
        self.write = writer(self.root, "overlay")
        self.images, self.truths = image_reader(), truth_reader()
        plain = (index for index, name in enumerate(label_map.names) if is_background(name))
        self.drawing = Drawing(label_map.names, label_map.colours, frozenset(plain))

    def draw(self, item: Item) -> Drawn:
        """Write the overlay of an item, if it is to have one. Raises OutputError."""
        # a mask that lies there may bear another name than this run would give it
        mask = item.kept["mask"].removeprefix("masks/") if item.kept else item.row["mask"]
        if mask is None or (item.fault and (self.overlays.kind != "triptych" or item.prediction)):
            return Drawn(False)
        if item.fault and item.fault.status in _NOT_SHOWN:
            return Drawn(False, f"is not opened: {item.fault}")
        try:
            labels_HW = self._smaller_mask(item) if item.large is not None else None
        except RowFault as fault:
            return Drawn(False, f"its mask cannot be used: {fault}")
        labels_HW = item.prediction.labels_HW if item.prediction else labels_HW
        notes = []
        try:
            image_HWC = self._image(item, labels_HW)
        except RowFault as fault:
            if labels_HW is None:
                return Drawn(False, f"has no mask, and its image cannot be shown: {fault}")
            notes, image_HWC = [f"The image cannot be shown: {fault}."], None
        if item.fault:
            notes.append(f"{item.fault.status.value}: {item.fault}")
        size = (
            image_HWC.shape[:2]
            if image_HWC is not None
            else size_within(_size(labels_HW), self.overlays.longest)
        )
        truth_HW = self._truth(item, labels_HW, notes)
        subject = Subject(image_HWC, _scaled(labels_HW, size), _scaled(truth_HW, size), notes)
        picture_HWC = draw_picture(subject, self.drawing, self.overlays.kind, self.overlays.opacity)
        try:
            self._save(mask, picture_HWC)
        except RowFault as fault:
            return Drawn(False, str(fault))
        return Drawn(True, " ".join(notes) if item.alive and notes else None)

    def _image(self, item: Item, labels_HW: LabelIds | None) -> Pixels:
        """At the size of the picture. Raises RowFault, also where it is not the image of the mask."""
        if item.picture_HWC is not None:
            return item.picture_HWC
        uri, mask_hw = item.row["uri"], labels_HW.shape if labels_HW is not None else None
        file = self.images.by_window(uri) if item.large is not None else None
        if file is not None and (head := tiff_head(file)) is not None:
            size_hw = (head.height, head.width)
            _check_unchanged(size_hw, item.size_hw)
            return smaller_rgb(file, self._smaller(size_hw), self.sight.images)
        data = self.images.read(uri)
        image_HWC, size_hw = shown_rgb(data, self.limits, self._smaller, self.sight.images)
        _check_unchanged(size_hw, item.size_hw if item.large is not None else mask_hw)
        return resized(image_HWC, self._smaller(size_hw))

    def _smaller_mask(self, item: Item) -> LabelIds:
        """Of a mask that is too large to be held. Raises RowFault."""
        assert item.large is not None and item.size_hw is not None
        with open_labels(self.images.by_window(item.large)) as labels:
            if labels.hw != item.size_hw:
                raise RowFault(Status.UNREADABLE, "its size is not that of its row")
            return _classes(labels.read_smaller(self._smaller(labels.hw)), self.label_map.num_classes)

    def _smaller(self, size_hw: Size) -> Size:
        return size_within(size_hw, self.overlays.longest)

    def _truth(self, item: Item, labels_HW: LabelIds | None, notes: list[str]) -> LabelIds | None:
        if item.truth_HW is not None:
            return item.truth_HW
        uri = item.row.get("truth")
        if self.overlays.kind != "triptych" or labels_HW is None or uri is None:
            return None
        try:
            if item.truth_fault is not None:
                raise item.truth_fault
            if item.large is not None:
                return self._smaller_truth(item, uri)
            truth_HW = read_truth(self.truths, self.sight.truths, self.limits, uri).ids_HW
            check_truth_size(truth_HW.shape, labels_HW.shape)
        except RowFault as fault:
            notes.append(f"The truth cannot be shown: {fault}.")
            return None
        return truth_HW

    def _smaller_truth(self, item: Item, uri: str) -> LabelIds:
        """Raises RowFault."""
        assert item.size_hw is not None
        with open_truth(self.truths, self.sight.truths, self.limits, uri) as truth:
            check_truth_size(truth.hw, item.size_hw)
            return truth.smaller(self._smaller(truth.hw)).ids_HW

    def _save(self, mask: str, picture_HWC: Pixels) -> None:
        """Write the file; what there is in another format shows what was."""
        name = self.overlays.name_of(mask)
        self.write(name, encode_picture(picture_HWC, self.overlays.format))
        for other in overlay_names(mask):
            if other != name and (self.root / other).info().type == fs.FileType.File:
                (self.root / other).delete()


def _size(pixels: LabelIds | Pixels | None) -> Size:
    assert pixels is not None
    height, width = pixels.shape[:2]
    return height, width


def _scaled(labels_HW: LabelIds | None, size_hw: Size) -> LabelIds | None:
    return None if labels_HW is None else nearest(labels_HW, size_hw)


def read_prediction(reader: Reader, uri: str, size_hw: Size, num_classes: int) -> Prediction:
    """A mask that lies there; whatever is no class stands for void. Raises RowFault."""
    # the run that wrote it may have had a higher limit than today's
    limits = Limits(max_pixels=max(Limits().max_pixels, size_hw[0] * size_hw[1]))
    file = decode_labels(reader.read(uri), limits)
    if file.values.shape != size_hw:
        shape = " x ".join(map(str, file.values.shape[1::-1]))
        raise RowFault(Status.UNREADABLE, f"it is {shape} pixels, not {size_hw[1]} x {size_hw[0]}")
    return Prediction(_classes(file, num_classes))


def _classes(file: LabelFile, num_classes: int) -> LabelIds:
    kind = np.min_scalar_type(num_classes)
    ids_HW: LabelIds = np.minimum(file.values, num_classes).astype(kind, copy=False)
    return ids_HW


def _check_unchanged(size_hw: Size, mask_hw: tuple[int, ...] | None) -> None:
    if mask_hw is not None and mask_hw != size_hw:
        raise RowFault(
            Status.UNREADABLE,
            f"it is {size_hw[1]} x {size_hw[0]} pixels by now, its mask {mask_hw[1]} x {mask_hw[0]}",
        )
