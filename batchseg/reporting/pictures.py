"""One image of the page: what is read of it where it lies, in a worker, and what its layers weigh."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa

from batchseg.config.base import Limits
from batchseg.errors import RowFault
from batchseg.images.decode import Size
from batchseg.images.overlay import LabelIds, Pixels, nearest, resized, size_within
from batchseg.labels.reading import Reading
from batchseg.reporting.layers import encode_change, encode_difference, encode_labels, encode_photo
from batchseg.stages.by_window import is_large
from batchseg.stages.item import Item
from batchseg.stages.nodata import nodata_of
from batchseg.stages.places import TIFF_SUFFIXES
from batchseg.stages.score import read_truth, voided
from batchseg.stages.viewing import Sight, Viewer, read_prediction

LONGEST = (480, 384, 320, 240, 160, 112)  # pixels of the longer side, until a picture is small enough
LAYERS = ("photo", "truth", "predicted", "difference", "before", "change")

REQUEST = pa.schema(
    [
        ("id", pa.string()),
        ("image", pa.string()),  # null where masks were scored that lay there
        ("mask", pa.string()),
        ("truth", pa.string()),
        ("before", pa.string()),  # its mask in the older results
        ("height", pa.int32()),
        ("width", pa.int32()),
        ("share", pa.int64()),  # bytes that it may take
    ]
)
PICTURE = pa.schema(
    [
        ("id", pa.string()),
        ("height", pa.int32()),
        ("width", pa.int32()),
        *((name, pa.binary()) for name in LAYERS),
        ("classes", pa.list_(pa.int32())),
        ("notes", pa.list_(pa.string())),
    ]
)


@dataclass
class _Seen:
    """What was read of an image, at `LONGEST[0]` or its own size."""

    size_hw: Size
    photo_HWC: Pixels | None = None
    maps: dict[str, LabelIds] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


class Artist:
    """Reads and draws images for a page. What cannot be read is left out, and said.

    Args:
        masks: how masks are read that were scored where they lay; None where a run wrote them.
    """

    def __init__(self, sight: Sight, masks: Reading | None, limits: Limits) -> None:
        self.viewer, self.masks = Viewer(sight, limits, LONGEST[0]), masks
        self.drawing = sight.drawing

    def picture(self, request: dict[str, Any]) -> dict[str, Any]:
        """A row of `PICTURE` for one of `REQUEST`."""
        seen = self._look(request)
        layers: dict[str, bytes] = {}
        for longest in LONGEST:
            layers = self._layers(seen, size_within(seen.size_hw, longest))
            if sum(map(len, layers.values())) <= request["share"]:
                break
        height, width = size_within(seen.size_hw, longest)
        shape = {"height": height, "width": width, "classes": self._classes(seen), "notes": seen.notes}
        return {"id": request["id"], **shape, **layers}

    def _look(self, request: dict[str, Any]) -> _Seen:
        own_hw = (request["height"], request["width"])
        seen = _Seen(self.viewer.smaller(own_hw))
        large = request["mask"].endswith(TIFF_SUFFIXES) and is_large(own_hw, self.viewer.limits)
        for name in ("predicted", "truth", "before"):
            uri = request["mask" if name == "predicted" else name]
            if uri is None:
                continue
            try:
                labels_HW = self._labels(name, uri, own_hw, large)
            except RowFault as fault:
                reason = str(fault).removeprefix("label file: ")
                seen.notes.append(f"{_CALLED[name]} cannot be shown: {reason}.")
            else:
                seen.maps[name] = nearest(labels_HW, seen.size_hw)
        if request["image"] is not None:
            self._add_photo(request, seen, large=large)
        return seen

    def _add_photo(self, request: dict[str, Any], seen: _Seen, *, large: bool) -> None:
        own_hw = (request["height"], request["width"])
        try:
            seen.photo_HWC = self.viewer.image(request["image"], own_hw, large=large)
        except RowFault as fault:
            alone = ", so the mask stands alone" if "predicted" in seen.maps else ""
            seen.notes.append(f"The image cannot be shown{alone}: {fault}.")
            return
        if not large:  # else it would be read at its full size
            self._leave_out_nodata(request, seen)

    def _leave_out_nodata(self, request: dict[str, Any], seen: _Seen) -> None:
        """Where a picture has no data its truth does not count, and so is no difference."""
        if "truth" not in seen.maps:
            return
        item = Item({"id": request["id"], "uri": request["image"], "mask": request["mask"]})
        with suppress(RowFault):  # the picture could be shown, so this is no fault to be told
            nodata_HW = nodata_of(item, self.viewer.images, self.viewer.sight.images)
            if nodata_HW is not None:
                smaller_HW = nearest(nodata_HW.astype(np.uint8), seen.size_hw).astype(bool)
                seen.maps["truth"] = voided(seen.maps["truth"], smaller_HW, self.drawing.void)

    def _labels(self, name: str, uri: str, own_hw: Size, large: bool) -> LabelIds:
        """Raises RowFault."""
        viewer = self.viewer
        if name == "truth":
            return viewer.truth(uri, own_hw, large=large)
        if self.masks is not None and name == "predicted":
            return read_truth(viewer.truths, self.masks, viewer.limits, uri).ids_HW
        if large:
            return viewer.large_mask(uri, own_hw)
        return read_prediction(viewer.truths, uri, own_hw, self.drawing.void).labels_HW

    def _layers(self, seen: _Seen, size_hw: Size) -> dict[str, bytes]:
        maps = {name: nearest(labels_HW, size_hw) for name, labels_HW in seen.maps.items()}
        layers = {name: encode_labels(labels_HW, self.drawing) for name, labels_HW in maps.items()}
        if seen.photo_HWC is not None:
            layers["photo"] = encode_photo(resized(seen.photo_HWC, size_hw))
        if {"truth", "predicted"} <= maps.keys():
            layers["difference"] = encode_difference(maps["predicted"], maps["truth"], self.drawing.void)
        if {"before", "predicted"} <= maps.keys():
            layers["change"] = encode_change(maps["before"], maps["predicted"])
        return layers

    def _classes(self, seen: _Seen) -> list[int]:
        """The classes in mask or truth, those with the most pixels first."""
        pixels = np.zeros(self.drawing.void + 1, np.int64)
        for name in ("truth", "predicted"):
            if name in seen.maps:
                pixels += np.bincount(seen.maps[name].ravel(), minlength=len(pixels))
        order = np.argsort(-pixels[:-1], kind="stable")
        return [int(each) for each in order if pixels[each]]


_CALLED = {"predicted": "The mask", "truth": "The truth", "before": "The mask before"}
