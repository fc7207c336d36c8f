"""What a format is given: the label map of one image, and the objects in it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from batchseg.config.export import ExportConfig
from batchseg.exports.run_lengths import LineRuns, runs_of
from batchseg.images.geotiff import Georeference
from batchseg.images.regions import Numbers, regions, run_starts, spread
from batchseg.labels.label_map import LabelMap, is_background

Integers = NDArray[np.int64]


@dataclass(frozen=True)
class ExportJob:
    """What is the same for all images.

    Attributes:
        label_map: names and colours of the classes.
        model: what made the masks, as it was named; None where these came from elsewhere.
    """

    config: ExportConfig
    label_map: LabelMap
    model: str | None = None

    @cached_property
    def backgrounds(self) -> list[int]:
        """Ids of the classes that mean what is left over by all others."""
        return [index for index, name in enumerate(self.label_map.names) if is_background(name)]

    @cached_property
    def classes(self) -> list[int]:
        """Ids of the other classes, which have objects."""
        return [index for index in range(self.label_map.num_classes) if index not in self.backgrounds]


@dataclass(frozen=True)
class Labelled:
    """One image.

    Attributes:
        row: its values in the table `images`.
        labels_HW: class ids, and the number of classes where the mask abstains.
        georeference: where it lies on the map; None where nothing tells, or the format does not ask.
    """

    row: dict[str, Any]
    labels_HW: NDArray[Any]
    job: ExportJob = field(repr=False)
    georeference: Georeference | None = None

    @property
    def id(self) -> str:
        return str(self.row["id"])

    @property
    def abstains(self) -> bool:
        """Whether pixels have no class, in a label map whose background is then no longer told from them."""
        has_void = self.labels_HW.size and self.labels_HW.max() >= self.job.label_map.void
        return bool(self.job.backgrounds and has_void)

    @cached_property
    def objects(self) -> Objects:
        """Pixels of one class that hang together, be it by a corner alone, the background aside.

        They are those of the table `objects` of predictions, and have the same numbers.
        """
        wanted = np.zeros(self.job.label_map.num_classes + 1, np.bool_)
        wanted[self.job.classes] = True
        return objects_of(self.labels_HW, wanted)


Add = Callable[[Labelled], None]  # what a format does with an image


@dataclass(frozen=True)
class Objects:
    """The objects of a label map, in the order of their first pixels, row by row.

    Attributes:
        numbers_HW: the number of the object that a pixel belongs to, from 1 on, or 0.
        class_id, area: of each object; pixels.
        left, top, width, height: its box, in pixels.
        runs: its pixels in rows, sorted by number.
    """

    numbers_HW: Numbers
    class_id: Integers
    area: Integers
    left: Integers
    top: Integers
    width: Integers
    height: Integers
    runs: LineRuns

    def __len__(self) -> int:
        return len(self.class_id)


def objects_of(labels_HW: NDArray[Any], wanted: NDArray[np.bool_]) -> Objects:
    """`wanted` says of each class, and last of void, whether it has objects."""
    starts_HW = run_starts(labels_HW)
    region = regions(labels_HW, corners=True)[starts_HW]
    class_id = np.empty(int(region.max(initial=-1)) + 1, np.int64)
    class_id[region] = labels_HW[starts_HW]
    has_number = wanted[class_id]
    numbers = np.where(has_number, np.cumsum(has_number), 0).astype(np.int32)
    numbers_HW = spread(numbers[region], starts_HW)
    runs = runs_of(numbers_HW)
    starts = np.flatnonzero(np.diff(runs.number, prepend=0))
    ends = np.append(starts[1:], len(runs.number)) - 1
    if not len(starts):
        nothing = np.empty(0, np.int64)
        return Objects(numbers_HW, nothing, nothing, nothing, nothing, nothing, nothing, runs)
    left, top = np.minimum.reduceat(runs.start, starts), runs.line[starts]
    return Objects(
        numbers_HW,
        class_id[has_number],
        np.add.reduceat(runs.stop - runs.start, starts),
        left,
        top,
        np.maximum.reduceat(runs.stop, starts) - left,
        runs.line[ends] - top + 1,
        runs,
    )
