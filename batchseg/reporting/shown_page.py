"""What a page says of its images: what can be seen of them, and in which colours."""

from __future__ import annotations

import numpy as np

from batchseg.images.overlay import Colour
from batchseg.labels.label_map import LabelMap
from batchseg.reporting.layers import ABSTAINS, NOTHING, WRONG
from batchseg.reporting.pictures import LAYERS
from batchseg.reporting.shown import ImageGroup, ShownImage

# width / height up to which a picture counts as such
_SHAPES = {"tall": 0.85, "square": 1.15, "normal": 1.55, "wide": float("inf")}


class PageWithImages:
    """The part of a page that shows images."""

    groups: list[ImageGroup]
    label_map: LabelMap

    @property
    def images(self) -> list[ShownImage]:
        return [image for group in self.groups for image in group.shown]

    @property
    def pictures(self) -> int:
        """How many images can be seen."""
        return sum(image.can_be_seen for image in self.images)

    @property
    def layers(self) -> list[str]:
        """What there is to be laid over the images, of any of them."""
        pictures = [image.picture for image in self.images if image.picture is not None]
        return [name for name in LAYERS if any(picture[name] is not None for picture in pictures)]

    @property
    def shape(self) -> str:
        """What most pictures are like, so that they stand in rows; others have room at their sides."""
        ratios = [row["width"] / row["height"] for image in self.images if (row := image.picture) is not None]
        ratio = float(np.median(ratios)) if ratios else 4 / 3
        return next(name for name, most in _SHAPES.items() if ratio <= most)

    def name(self, class_id: int) -> str:
        return self.label_map.names[class_id]

    def colour(self, class_id: int) -> str:
        return _in_css(self.label_map.colours[class_id])

    @property
    def difference(self) -> dict[str, str]:
        """The colours of the layer that shows where a mask is wrong."""
        return {"wrong": _in_css(WRONG), "abstains": _in_css(ABSTAINS), "nothing": _in_css(NOTHING)}


def _in_css(colour: Colour) -> str:
    return "#{:02x}{:02x}{:02x}".format(*colour)
