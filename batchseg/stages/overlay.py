"""Overlay: an image with its mask, and its truth where asked for -> a picture below overlays/."""

from __future__ import annotations

from collections.abc import Iterator
from time import perf_counter
from typing import NamedTuple

import numpy as np
from pyarrow import fs

from batchseg.config.base import Limits
from batchseg.config.overlay import Overlays, overlay_names
from batchseg.config.source import RGB_CHANNELS
from batchseg.errors import RowFault
from batchseg.images.bands import as_rgb
from batchseg.images.decode import Size
from batchseg.images.encode import encode_picture
from batchseg.images.overlay import LabelIds, Pixels, nearest, resized, size_within
from batchseg.images.picture import Subject, draw_picture
from batchseg.schema import Status
from batchseg.stages.files import writer
from batchseg.stages.item import Item, Stage, for_each, named
from batchseg.stages.viewing import Sight, Viewer
from batchseg.storage.location import Location

# nothing to be shown: the file is not to be opened, or its name belongs to another image
_NOT_SHOWN = (Status.TOO_LARGE, Status.NAME_COLLISION)


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
        self.limits, self.overlays = limits, overlays
        self.viewer = Viewer(sight, limits, overlays.longest)
        self.label_map = sight.truths.label_map
        self.results, self.root = results, results / "overlays"
        self.write = writer(self.root, "overlay")
        self.drawing = sight.drawing

    def draw(self, item: Item) -> Drawn:
        """Write the overlay of an item, if it is to have one. Raises OutputError."""
        # a mask that lies there may bear another name than this run would give it
        mask = item.kept["mask"].removeprefix("masks/") if item.kept else item.row["mask"]
        if mask is None or (item.fault and (self.overlays.kind != "triptych" or item.prediction)):
            return Drawn(False)
        if item.fault and item.fault.status in _NOT_SHOWN:
            return Drawn(False, f"is not opened: {item.fault}")
        try:
            labels_HW = self._labels(item)
        except RowFault as fault:
            return Drawn(False, f"its mask cannot be used: {fault}")
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

    def _labels(self, item: Item) -> LabelIds | None:
        """None where there is no mask. Raises RowFault."""
        if item.prediction is not None:
            return item.prediction.labels_HW
        if item.large is None or item.size_hw is None:
            return None
        return self.viewer.large_mask(item.large, item.size_hw)

    def _image(self, item: Item, labels_HW: LabelIds | None) -> Pixels:
        """At the size of the picture. Raises RowFault, also where it is not the image of the mask."""
        if item.picture_HWC is not None:
            return item.picture_HWC
        mask_hw = None if labels_HW is None else _size(labels_HW)
        large = item.large is not None
        return self.viewer.image(item.row["uri"], item.size_hw if large else mask_hw, large=large)

    def _truth(self, item: Item, labels_HW: LabelIds | None, notes: list[str]) -> LabelIds | None:
        if item.truth_HW is not None:
            return item.truth_HW
        uri = item.row.get("truth")
        if self.overlays.kind != "triptych" or labels_HW is None or uri is None:
            return None
        try:
            if item.truth_fault is not None:
                raise item.truth_fault
            size_hw = item.size_hw if item.large is not None else None
            return self.viewer.truth(uri, size_hw or _size(labels_HW), large=size_hw is not None)
        except RowFault as fault:
            notes.append(f"The truth cannot be shown: {fault}.")
            return None

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
