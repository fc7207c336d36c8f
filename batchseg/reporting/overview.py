"""What all rows tell, in one pass over the tables: counts, distributions, failures, images that stand out."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from batchseg.comparison.sparse_counts import SparseCounts
from batchseg.errors import OutputError
from batchseg.metrics.calibration import CalibrationSums
from batchseg.metrics.confusion import ConfusionMatrix
from batchseg.reporting.grouping import Grouping
from batchseg.reporting.histograms import Histogram
from batchseg.reporting.leading import CARD, CHANCE, Leading, with_chance
from batchseg.reporting.object_sizes import ObjectSizes
from batchseg.reporting.parts import PartOfRows
from batchseg.results.calibrated import ProbedTotals
from batchseg.results.folder import Results
from batchseg.results.prompted import PromptTotals
from batchseg.schema import TRUTH_FAULTS, Status

SHOWN_AS_HISTOGRAMS = ("mean_iou", "confidence_mean", "entropy_mean", "low_confidence_fraction")
# means over the images; of the data set only counts tell
AVERAGED = (
    "boundary_iou",
    "nsd",
    "hd95",
    "panoptic_quality",
    "object_recall",
    "false_positives",
)
EXAMPLES = 5
_OF_TRUTH = "truth_"  # how a cause begins that is not the image's


@dataclass
class Failures:
    """Images that failed for one cause, and the first of them by id, with their errors."""

    count: int = 0
    acknowledged: int = 0
    examples: list[tuple[str, str | None]] = field(default_factory=list)

    def add(self, images: pa.Table) -> None:
        self.count += len(images)
        self.acknowledged += len(images) - images["acknowledged"].null_count
        first = images.take(pc.select_k_unstable(images, k=EXAMPLES, sort_keys=[("id", "ascending")]))
        found = zip(first["id"].to_pylist(), first["error"].to_pylist(), strict=True)
        self.examples = sorted([*self.examples, *found])[:EXAMPLES]


@dataclass
class Mean:
    """Of a column over the images that have it."""

    images: int = 0
    total: float = 0.0

    def add(self, column: pa.ChunkedArray) -> None:
        values = column.drop_null()
        self.images += len(values)
        self.total += float(pc.sum(values).as_py() or 0)

    @property
    def value(self) -> float | None:
        return self.total / self.images if self.images else None


@dataclass
class Overview:
    """Everything that a pass over `images` and `pixels` tells.

    Attributes:
        segmented: images that have a mask.
        scored: images whose metrics were computed.
        failures: by cause, a `Status` or, of truths, its kind.
        matrix: of the data set.
        means: of columns, over the images that have them.
        probed: Brier score and NLL of the probed pixels.
        prompted: the images that have prompts of their own.
        reliability, objects: of the tables beside, where a run wrote them.
        leading: the images that stand out, by why.
        wanted: rows that were asked for by id.
        grouping: images by the values of columns, with their counts.
    """

    classes: int
    most: int
    wished: Collection[str]
    reliability: CalibrationSums
    images: int = 0
    segmented: int = 0
    scored: int = 0
    failures: dict[str, Failures] = field(default_factory=dict)
    probed: ProbedTotals = field(default_factory=ProbedTotals)
    wanted: dict[str, dict[str, Any]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.matrix = ConfusionMatrix.zeros(self.classes)
        self.grouping = Grouping(self.classes)
        self.objects = ObjectSizes()
        self.histograms = {name: Histogram(name) for name in SHOWN_AS_HISTOGRAMS}
        self.means = {name: Mean() for name in AVERAGED}
        self.prompted = PromptTotals()
        self.leading = {
            "worst": Leading("mean_iou", "ascending", self.most),
            "uncertain": Leading("confidence_mean", "ascending", self.most),
            "chance": Leading(CHANCE, "ascending", self.most),
        }

    @property
    def failed(self) -> int:
        return self.images - self.segmented

    @property
    def truths_failed(self) -> int:
        """Images whose truth is missing or cannot be used; they may have a mask."""
        return sum(self.failures[cause].count for cause in self.failures if cause.startswith(_OF_TRUTH))

    def add(self, part: PartOfRows) -> None:
        """Raises OutputError."""
        images = part.images
        self.images += len(images)
        segmented = images.filter(pc.equal(images["status"], Status.OK.value))
        self.segmented += len(segmented)
        self.scored += pc.sum(images["has_truth"]).as_py() or 0
        self._add_failures(images)
        for histogram in self.histograms.values():
            histogram.add(images)
        for column, mean in self.means.items():
            mean.add(images[column])
        self.probed.add(images)
        self.prompted.add(part.results.root, part.name, images)
        self._add_leading(images, segmented)
        self.objects.add(part, images["id"])
        pixels, image = part.beside("pixels", ("truth", "predicted", "pixels"), images["id"])
        truth, predicted = (pc.fill_null(pixels[name], -1).to_numpy() for name in ("truth", "predicted"))
        counts = pixels["pixels"].to_numpy()
        try:
            self.matrix += ConfusionMatrix.from_sparse(truth, predicted, counts, self.classes)
        except ValueError as exc:
            raise OutputError(
                f"{part.results.pixels / part.name}: holds classes that run.json does not name ({exc}); "
                "`batchseg verify` says more"
            ) from exc
        shape = (len(images), self.classes)
        self.grouping.add(images, SparseCounts.from_entries(image, truth, predicted, counts, shape))

    def _add_failures(self, images: pa.Table) -> None:
        failed = images.filter(pc.not_equal(images["status"], Status.OK.value))
        faulty = images.filter(pc.is_in(images["truth_status"], pa.array(TRUTH_FAULTS)))
        for table, column, prefix in ((failed, "status", ""), (faulty, "truth_status", _OF_TRUTH)):
            for value in table[column].unique().to_pylist():
                found = self.failures.setdefault(f"{prefix}{value}", Failures())
                found.add(table.filter(pc.equal(table[column], value)))

    def _add_leading(self, images: pa.Table, segmented: pa.Table) -> None:
        self.leading["worst"].add(segmented)
        self.leading["uncertain"].add(segmented)
        if self.most:
            self.leading["chance"].add(with_chance(segmented.select(CARD)))
        if self.wished:
            rows = images.filter(pc.is_in(images["id"], pa.array([*self.wished], pa.string())))
            self.wanted |= {row["id"]: row for row in rows.select(CARD).to_pylist()}


def overview_of(
    results: Results,
    kept: Iterable[tuple[str, NDArray[np.bool_]]],
    sums: CalibrationSums,
    classes: int,
    *,
    most: int,
    wished: Collection[str],
) -> Overview:
    """Read the tables once, a part at a time.

    Args:
        kept: the parts by name, and which of their rows count.
        sums: what their probed pixels add up to.
        classes: how many there are.
        most: images of each kind that stands out.
        wished: ids whose rows are wanted besides.

    Raises:
        OutputError: they cannot be read, or there are no rows.
    """
    overview = Overview(classes, most, wished, sums)
    for name, rows in kept:
        overview.add(PartOfRows(results, name, rows))
    if not overview.images:
        raise OutputError(f"{results.root}: holds no rows, so there is nothing to show")
    return overview
