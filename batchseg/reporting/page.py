"""Everything on the page as plain values, section by section: what the templates are given."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import Any

import numpy as np

from batchseg import __version__
from batchseg.comparison.differences import Difference
from batchseg.labels.label_map import LabelMap
from batchseg.reporting.confusions import ConfusionPicture, confusion_picture
from batchseg.reporting.explained import ShownExplanation
from batchseg.reporting.facts import Timing, facts_of, settings_of, timing_of
from batchseg.reporting.headline import Headline
from batchseg.reporting.overview import Overview
from batchseg.reporting.queries import Query, queries_for
from batchseg.reporting.reference import Reference
from batchseg.reporting.reliability import ReliabilityBin, reliability_bins
from batchseg.reporting.shown import ImageGroup
from batchseg.reporting.shown_page import PageWithImages
from batchseg.reporting.slices import SlicedColumn, slices_of
from batchseg.results.suspects import Suspects

MOST_CLASSES = 300  # rows of the table; the others are in classes.parquet


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
class ReportPage(PageWithImages):
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
    explanations: list[ShownExplanation] = field(default_factory=list)

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


def _number(value: float) -> float | None:
    return None if np.isnan(value) else float(value)
