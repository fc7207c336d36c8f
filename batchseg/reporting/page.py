"""Everything on the page as plain values, section by section: what the templates are given."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import Any

import numpy as np

from batchseg import __version__
from batchseg.comparison.differences import Difference
from batchseg.images.overlay import Colour
from batchseg.labels.label_map import LabelMap
from batchseg.reporting.confusions import ConfusionPicture, confusion_picture
from batchseg.reporting.facts import Timing, facts_of, settings_of, timing_of
from batchseg.reporting.headline import Headline
from batchseg.reporting.layers import ABSTAINS, NOTHING, WRONG
from batchseg.reporting.overview import Overview
from batchseg.reporting.pictures import LAYERS
from batchseg.reporting.queries import Query, queries_for
from batchseg.reporting.reference import Reference
from batchseg.reporting.reliability import ReliabilityBin, reliability_bins
from batchseg.reporting.shown import ImageGroup, ShownImage
from batchseg.reporting.slices import SlicedColumn, slices_of
from batchseg.results.suspects import Suspects

MOST_CLASSES = 300  # rows of the table; the others are in classes.parquet
# width / height up to which a picture counts as such
_SHAPES = {"tall": 0.85, "square": 1.15, "normal": 1.55, "wide": float("inf")}


@dataclass(frozen=True)
class ClassRow:
    """A class of the data set; figures are None where they are 0 / 0, and without truth."""

    class_id: int
    iou: float | None
    precision: float | None
    recall: float | None
    f1: float | None
    support: int
    predicted_pixels: int
    share: float


@dataclass
class ReportPage:
    """The whole page. A section that has nothing to say is empty or None, and is left out."""

    results: str
    record: dict[str, Any] | None
    headline: Headline
    overview: Overview
    label_map: LabelMap
    reference: Reference | None
    suspects: Suspects
    of_masks: bool
    groups: list[ImageGroup]
    notes: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.made = datetime.now(timezone.utc).strftime("%Y-%m-%d %H:%M UTC")
        self.version = __version__
        self.facts: list[tuple[str, str]] = facts_of(self.record)
        self.settings: str = settings_of(self.record)
        self.timing: Timing | None = timing_of(self.record)
        figures = {**self.overview.matrix.summary(), **self.overview.prompted.figures}
        self.metrics = {name: each for name, each in figures.items() if each is not None}
        self.classes = class_rows_of(self.overview)
        self.hidden_classes = max(0, len(self.classes) - MOST_CLASSES)
        self.classes = self.classes[:MOST_CLASSES]
        self.confusion: ConfusionPicture | None = confusion_picture(self.overview.matrix)
        self.reliability: list[ReliabilityBin] = reliability_bins(self.overview.reliability)
        self.slices: list[SlicedColumn] = slices_of(self.overview.grouping)
        self.queries: list[Query] = queries_for(self.overview)

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

    @property
    def calibration(self) -> dict[str, float]:
        """ECE, Brier score and log loss over the probed pixels of the data set."""
        found = {"ece": self.overview.reliability.ece, **self.overview.probed.means}
        return {name: each for name, each in found.items() if each is not None}

    @property
    def compared_metrics(self) -> list[tuple[str, Difference]]:
        """Those of the comparison, the best known first."""
        compared = self.reference.compared if self.reference else None
        found = compared.metrics if compared else {}
        return sorted(found.items(), key=lambda item: item[0] != "mean_iou")

    @property
    def averages(self) -> dict[str, float]:
        """Of boundaries and objects, over the images."""
        means = {name: mean.value for name, mean in self.overview.means.items()}
        return {name: each for name, each in means.items() if each is not None}

    def number_of(self, image_id: str) -> int | None:
        """Of the picture of an image, if the page has one."""
        return next((image.number for image in self.images if image.row["id"] == image_id), None)

    def name(self, class_id: int) -> str:
        return self.label_map.names[class_id]

    def colour(self, class_id: int) -> str:
        return _in_css(self.label_map.colours[class_id])

    @property
    def difference(self) -> dict[str, str]:
        """The colours of the layer that shows where a mask is wrong."""
        return {"wrong": _in_css(WRONG), "abstains": _in_css(ABSTAINS), "nothing": _in_css(NOTHING)}


def class_rows_of(overview: Overview) -> list[ClassRow]:
    """The classes that occur: by IoU from the lowest on, without truth by area from the largest on."""
    scores, sums = overview.matrix.per_class(), overview.matrix.class_sums
    total = int(scores.predicted_pixels.sum())
    occurring = np.flatnonzero(sums.support + scores.predicted_pixels)
    rows = [
        ClassRow(
            class_id=int(at),
            iou=_number(scores.iou[at]),
            precision=_number(scores.precision[at]),
            recall=_number(scores.recall[at]),
            f1=_number(scores.f1[at]),
            support=int(sums.support[at]),
            predicted_pixels=int(scores.predicted_pixels[at]),
            share=int(scores.predicted_pixels[at]) / total if total else 0.0,
        )
        for at in occurring
    ]
    if overview.matrix.truth_pixels:
        return sorted(rows, key=lambda row: (row.iou is None, row.iou or 0, row.class_id))
    return sorted(rows, key=lambda row: (-row.predicted_pixels, row.class_id))


def _in_css(colour: Colour) -> str:
    return "#{:02x}{:02x}{:02x}".format(*colour)


def _number(value: float) -> float | None:
    return None if np.isnan(value) else float(value)
