"""The file of a part: its label map in strips of rows, and all that adds up over the parts of a raster.

A part that is kept need not be computed again, whatever becomes of the run. One that failed has a file of
another kind, which says why, and is tried again by the next run.
"""

from __future__ import annotations

import io
import json
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from itertools import groupby
from typing import Any

import numpy as np

from batchseg.errors import OutputError, RowFault
from batchseg.images.probability_file import DAMAGED
from batchseg.images.raster import Area
from batchseg.labels.label_map import Ids
from batchseg.metrics.calibration import Calibration
from batchseg.metrics.confusion import ConfusionMatrix
from batchseg.schema import Status, TruthStatus
from batchseg.segmentors.base import Confidence
from batchseg.segmentors.combined.sureness import Sureness
from batchseg.stages.item import Item, RasterPart
from batchseg.storage.location import Location, output_errors
from batchseg.storage.reader import by_window

FOLDER = ".parts"
KEPT, FAILED, PROBABILITIES = ".npz", ".json", ".probabilities"
STRIP = 512  # rows of a part that are read at once when parts are joined


def write_part(results: Location, item: Item) -> None:
    """Raises OutputError where it cannot be written, such as to a full disk."""
    assert item.part is not None
    folder = results / FOLDER / item.part.folder
    with output_errors(folder):
        folder.make_folder()
        _write(folder, item.part, item)


def _write(folder: Location, part: RasterPart, item: Item) -> None:
    facts: dict[str, Any] = {"seconds": item.seconds, "between": item.between}
    facts |= {"precision": item.precision, "engine": item.engine, "why_not": item.why_not}
    if item.fault is not None:
        facts |= {
            "status": item.fault.status.value,
            "error": str(item.fault),
            "traceback": item.fault.traceback,
        }
        (folder / f"{part.number}{FAILED}").write(json.dumps(facts).encode())
        return
    assert item.prediction is not None and item.matrix is not None
    if item.truth_fault is not None:
        facts |= {"truth_status": item.truth_fault.status.value, "truth_error": str(item.truth_fault)}
    facts |= {"has_truth": item.has_truth, "presence": item.prediction.presence}
    labels_HW, sureness = item.prediction.labels_HW, item.sureness
    arrays: dict[str, Any] = {
        f"rows_{top}": labels_HW[top : top + STRIP] for top in range(0, len(labels_HW), STRIP)
    }
    if sureness is not None:
        sums = (sureness.pixels, sureness.low, sureness.top, sureness.entropy)
        arrays["sums"], arrays["entropy_bins"] = np.array(sums, np.int64), sureness.entropy_bins
        facts["contested"] = sureness.contested
    if item.calibration is not None:
        arrays["probed"] = item.calibration.pixels_N
    arrays["counts"] = np.stack(item.matrix.sparse())
    arrays["facts"] = np.frombuffer(json.dumps(facts).encode(), np.uint8)
    if item.prediction.probabilities is not None:  # before the part, which counts for both
        (folder / f"{part.number}{PROBABILITIES}").write(item.prediction.probabilities)
    file = io.BytesIO()
    np.savez_compressed(file, **arrays)
    (folder / f"{part.number}{KEPT}").write(file.getvalue())


def kept_numbers(folder: Location) -> set[int]:
    """The numbers of the parts that need not be computed again."""
    return {
        int(file.name.removesuffix(KEPT)) for file in folder.files(KEPT) if file.name[: -len(KEPT)].isdigit()
    }


@dataclass
class KeptParts:
    """All parts of a raster, added up.

    Attributes:
        fault: of the first part that failed, whose rows and columns it names.
        presence: of what the prompt names: the highest of all parts.
        calibration: of the parts that were probed.
        unprobed: some have a truth and probabilities, and were not: an earlier batchseg computed them.
        seconds: what each stage spent on all of them.
    """

    folder: Location
    parts: list[RasterPart]
    matrix: ConfusionMatrix
    sureness: Sureness | None = None
    has_truth: bool = False
    fault: RowFault | None = None
    truth_fault: RowFault | None = None
    precision: str | None = None
    engine: str | None = None
    why_not: str | None = None
    between: int | None = None
    presence: float | None = None
    calibration: Calibration | None = None
    unprobed: bool = False
    seconds: Counter[str] = field(default_factory=Counter)

    @classmethod
    def of(cls, results: Location, raster: RasterPart, areas: Sequence[Area], num_classes: int) -> KeptParts:
        """Of a raster whose parts are all there, or failed."""
        every = [replace(raster, area=area, number=number) for number, area in enumerate(areas)]
        kept = cls(results / FOLDER / raster.folder, every, ConfusionMatrix.zeros(num_classes))
        for each in every:
            kept._add(each)
        if kept.truth_fault is not None:  # then no part of the truth counts
            kept.matrix, kept.has_truth = kept.matrix.without_truth(), False
        if kept.truth_fault is not None or kept.unprobed:
            kept.calibration = None
        return kept

    @property
    def confidence(self) -> Confidence | None:
        return self.sureness.confidence() if self.sureness is not None else None

    def strips(self) -> Iterator[Ids]:
        """The whole label map, some rows at a time, from the top down."""
        for _, row in groupby(self.parts, key=lambda part: part.area.top):
            parts = list(row)
            with ExitStack() as stack:  # of files in which the strips of other rows stay
                files = [stack.enter_context(self._open(part)) for part in parts]
                for top in range(0, parts[0].area.height, STRIP):
                    yield np.concatenate(
                        [self._rows(*each, top) for each in zip(parts, files, strict=True)], axis=1
                    )

    def _rows(self, part: RasterPart, file: Any, top: int) -> Ids:
        with self._intact(part):
            rows_HW: Ids = file[f"rows_{top}"]
        return rows_HW

    @contextmanager
    def _open(self, part: RasterPart) -> Iterator[Any]:
        """The arrays of a part, each of which is read when it is asked for. Raises FileNotFoundError."""
        place = by_window(self._file(part))
        with place() if callable(place) else open(place, "rb") as file, self._intact(part):
            yield np.load(file)

    def _file(self, part: RasterPart) -> Location:
        return self.folder / f"{part.number}{KEPT}"

    @contextmanager
    def _intact(self, part: RasterPart) -> Iterator[None]:
        """Raises OutputError where the file is damaged, as after the power went off."""
        try:
            yield
        except DAMAGED as exc:
            self._file(part).delete()
            raise OutputError(
                f"{self._file(part)}: the file is damaged, and was deleted; the same command computes this "
                "part again"
            ) from exc

    def _add(self, part: RasterPart) -> None:
        try:
            with self._open(part) as file:
                self._add_kept(file)
        except FileNotFoundError:
            self._add_failed(part)

    def _add_kept(self, file: Any) -> None:
        facts = json.loads(file["facts"].tobytes())
        self._add_facts(facts)
        truth, predicted, pixels = file["counts"]
        self.matrix += ConfusionMatrix.from_sparse(truth, predicted, pixels, self.matrix.num_classes)
        self.has_truth |= facts["has_truth"]
        if facts.get("presence") is not None:
            self.presence = max(self.presence or 0.0, facts["presence"])
        if "sums" in file:
            pixels, low, top, entropy = file["sums"].tolist()
            # what earlier versions left has no count of contested pixels
            sureness = Sureness(pixels, low, top, entropy, file["entropy_bins"], facts.get("contested"))
            self.sureness = sureness if self.sureness is None else self.sureness + sureness
        if "probed" in file:
            probed = Calibration(file["probed"])
            self.calibration = probed if self.calibration is None else self.calibration + probed
        elif facts["has_truth"] and "sums" in file:
            self.unprobed = True
        if "truth_status" in facts and self.truth_fault is None:
            self.truth_fault = RowFault(TruthStatus(facts["truth_status"]), facts["truth_error"])

    def _add_failed(self, part: RasterPart) -> None:
        facts = json.loads((self.folder / f"{part.number}{FAILED}").read())
        self._add_facts(facts)
        if self.fault is None:
            sentence = f"{part}: {facts['error']}"
            self.fault = RowFault(Status(facts["status"]), sentence, facts["traceback"])

    def _add_facts(self, facts: dict[str, Any]) -> None:
        self.seconds.update(facts["seconds"])
        self.precision = self.precision or facts["precision"]
        self.engine = self.engine or facts.get("engine")  # which earlier parts do not say
        self.why_not = self.why_not or facts.get("why_not")
        if facts["between"] is not None:
            self.between = (self.between or 0) + facts["between"]
