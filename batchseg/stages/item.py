"""One image on its way through the stages."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from time import perf_counter
from typing import TYPE_CHECKING, Any

from batchseg.errors import RowFault
from batchseg.images.raster import Area
from batchseg.schema import Status, TruthStatus

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa
    from numpy.typing import NDArray

    from batchseg.config.bands import BlackWhite
    from batchseg.images.geotiff import Georeference
    from batchseg.labels.label_map import Ids
    from batchseg.metrics.calibration import Calibration
    from batchseg.metrics.confusion import ConfusionMatrix
    from batchseg.segmentors.base import Confidence, ModelInput, Prediction
    from batchseg.segmentors.combined.sureness import Sureness


@dataclass(frozen=True)
class RasterPart:
    """A rectangle of a raster that is computed by itself; or all of it, where parts are joined.

    Attributes:
        area: in pixels of the picture.
        number: from 0 on, row by row, of `count`.
        picture_hw: height and width of the whole.
        folder: where the files of the picture's parts lie, below `.parts` of the results.
    """

    area: Area
    number: int
    count: int
    picture_hw: tuple[int, int]
    folder: str

    @classmethod
    def from_plan(cls, row: dict[str, Any]) -> RasterPart:
        """Of what a plan's row says."""
        return cls(
            Area(*row["area"]), row["number"], row["count"], (row["height"], row["width"]), row["folder"]
        )

    def __str__(self) -> str:
        top, left, height, width = self.area
        return (
            f"part {self.number + 1} of {self.count} (rows {top} to {top + height - 1}, columns {left} to "
            f"{left + width - 1})"
        )


@dataclass(slots=True)
class Item:
    """What is known of one image so far. A stage fills its own fields and frees what nobody reads later.

    Attributes:
        row: the plan's row: id, uri, truth and the versions of both, mask, and the manifest's own columns.
        kept: what the results folder holds of its mask already, where it is only scored; see `verdict.KEPT`.
        fault: what went wrong with the image. Once there is one, the stages let it pass untouched.
        truth_fault: what went wrong with its truth, which takes nothing from the mask.
        image_HWC: uint8 RGB, or bands in their type (uint8, uint16, float32), from decode until the model's
            inputs are made.
        scale: black and white of each band; None: 0 and 255.
        nodata_HW: bool, where the picture has no data, from decode to score; None where it has everywhere.
        part: the rectangle of the picture that it stands for; None: all of it.
        sureness: what the confidence of a part is made of, which adds up over all parts.
        confidence: how sure the model was of a raster that was joined from parts, and has no prediction.
        presence: of what its prompt names, where it was joined from parts.
        orientation: what the image file says, 1 to 8 as in EXIF, applied or not; 1 where it says nothing.
        picture_HWC: uint8 RGB, the image at the size of its overlay, from decode to overlay; else None.
        large: where its mask lies, if that is too large to be held; then there is no prediction.
        place: where its image lies on the map, from the first stage that asked.
        truth_HW: its truth's class ids, from score to overlay, where that shows it.
        calibration: what the probes of a part say of its truth, which adds up over all parts.
        between: pixels of its truth that a threshold decided although they are neither black nor white.
        figures: columns of `images` beyond those that the matrix tells, by name.
        beside: rows of the tables beside `images` but for `pixels`, by name (`stages.beside`).
        precision: what the model computed in.
        engine: what computed it, such as torch.
        why_not: why that is not the engine that was to do it; None where it is.
        left_over: time was up before it was begun.
        seconds: what each stage spent on it.
    """

    row: dict[str, Any]
    kept: dict[str, Any] | None = None
    fault: RowFault | None = None
    truth_fault: RowFault | None = None
    size_hw: tuple[int, int] | None = None
    image_HWC: NDArray[Any] | None = None
    scale: tuple[BlackWhite, ...] | None = None
    nodata_HW: NDArray[np.bool_] | None = None
    part: RasterPart | None = None
    confidence: Confidence | None = None
    sureness: Sureness | None = None
    presence: float | None = None
    orientation: int = 1
    picture_HWC: NDArray[np.uint8] | None = None
    model_input: ModelInput | None = None
    prediction: Prediction | None = None
    large: str | None = None
    place: Georeference | None = None
    matrix: ConfusionMatrix | None = None
    has_truth: bool = False
    truth_HW: Ids | None = None
    calibration: Calibration | None = None
    between: int | None = None
    figures: dict[str, Any] = field(default_factory=dict)
    beside: dict[str, pa.Table] = field(default_factory=dict)
    precision: str | None = None
    engine: str | None = None
    why_not: str | None = None
    left_over: bool = False
    seconds: dict[str, float] = field(default_factory=dict)

    @classmethod
    def from_plan(cls, row: dict[str, Any]) -> Item:
        """An item with the fault the listing may have found already."""
        status = row.pop("status")
        error = row.pop("error")
        kept, part = row.pop("_kept", None), row.pop("_part", None)
        fault = RowFault(Status(status), error) if status else None
        return cls(row, kept, fault, part=RasterPart.from_plan(part) if part else None)

    @property
    def prompt(self) -> str | None:
        """What is meant in its image; None where the source does not say so image by image."""
        prompt: str | None = self.row.get("prompt")
        return prompt

    @property
    def name(self) -> str:
        """What tells it from all others of a run."""
        return self.row["id"] if self.part is None else f"{self.row['id']} {self.part}"

    @property
    def alive(self) -> bool:
        """False once the image has failed."""
        return self.fault is None

    def leave_over(self) -> Item:
        """For another plan, which begins it anew."""
        self.left_over = True
        self.image_HWC = self.nodata_HW = self.picture_HWC = self.model_input = self.prediction = None
        return self

    @property
    def nbytes(self) -> int:
        """The size of its pixels."""
        sizes = (
            self.image_HWC.nbytes if self.image_HWC is not None else 0,
            self.nodata_HW.nbytes if self.nodata_HW is not None else 0,
            self.picture_HWC.nbytes if self.picture_HWC is not None else 0,
            self.model_input.pixels_THWC.nbytes if self.model_input else 0,
            self.prediction.labels_HW.nbytes if self.prediction else 0,
            len(self.prediction.probabilities or b"") if self.prediction else 0,
            self.prediction.probes.nbytes if self.prediction and self.prediction.probes else 0,
        )
        return sum(sizes)

    @property
    def truth_status(self) -> TruthStatus | None:
        """What became of its truth; None where the image failed, for then nobody looked."""
        if not self.alive:
            return None
        if self.truth_fault is not None:
            return TruthStatus(self.truth_fault.status)
        return TruthStatus.OK if self.has_truth else TruthStatus.NONE


Stage = Callable[[Iterator[Item]], Iterator[Item]]


def as_list(make: Callable[..., Stage], *arguments: Any) -> list[Stage]:
    """One stage, made where it runs."""
    return [make(*arguments)]


def named(stage: str) -> AbstractContextManager[object]:
    """What is done inside bears the stage's name in a trace, if torch's profiler makes one."""
    # neither there nor, while another thread imports torch, complete
    record = getattr(sys.modules.get("torch.profiler"), "record_function", nullcontext)
    return record(stage)


def for_each(name: str, work: Callable[[Item], None]) -> Stage:
    """A stage that does `work` on every living item, times it, and keeps a RowFault as its fault."""

    def stage(items: Iterator[Item]) -> Iterator[Item]:
        for item in items:
            if item.alive:
                start = perf_counter()
                try:
                    with named(name):
                        work(item)
                except RowFault as fault:
                    item.fault = fault
                item.seconds[name] = perf_counter() - start
            yield item

    return stage
