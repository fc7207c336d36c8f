"""What a format is given: the label map of one image, and the objects in it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from batchseg.config.export import ExportConfig
from batchseg.images.geotiff import Georeference
from batchseg.labels.label_map import LabelMap, is_background
from batchseg.metrics.components import Components


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
    def told(self) -> dict[str, str]:
        """Its prompt, where it has one of its own: other pictures may be of the same image."""
        prompt = self.row.get("prompt")
        return {} if prompt is None else {"prompt": prompt}

    @property
    def abstains(self) -> bool:
        """Whether pixels have no class, in a label map whose background is then no longer told from them."""
        has_void = self.labels_HW.size and self.labels_HW.max() >= self.job.label_map.void
        return bool(self.job.backgrounds and has_void)

    @cached_property
    def objects(self) -> Components:
        """Pixels of one class that hang together, be it by a corner alone, the background aside.

        They are those of the table `objects` of predictions, and have the same numbers.
        """
        wanted = np.zeros(self.job.label_map.num_classes + 1, np.bool_)
        wanted[self.job.classes] = True
        return Components.of(self.labels_HW, wanted)

    @cached_property
    def boxes(self) -> NDArray[np.intp]:
        """Left, top, width and height of each object, in pixels, [N, 4]."""
        top, left, bottom, right = self.objects.boxes.T
        return np.stack([left, top, right - left, bottom - top], 1)


Add = Callable[[Labelled], None]  # what a format does with an image
