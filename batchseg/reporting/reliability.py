"""How far probabilities keep what they promise: the reliability diagram and its expected error."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from batchseg.reporting.parts import PartOfRows

BINS = 15


@dataclass(frozen=True)
class ReliabilityBin:
    """Probed pixels whose top probability lies in a bin: how sure the model was, and how often right."""

    number: int
    pixels: int
    confidence: float
    accuracy: float


class Reliability:
    """The table `calibration`, summed."""

    def __init__(self) -> None:
        self.sums: NDArray[np.float64] = np.zeros((BINS, 3))  # pixels, top_sum, pixels that are right

    def add(self, part: PartOfRows, ids: pa.ChunkedArray) -> None:
        """Raises OutputError."""
        table, _ = part.beside("calibration", ids)
        if not len(table):
            return
        bins, pixels = table["bin"].to_numpy(), table["pixels"].to_numpy()
        right = table["truth"].to_numpy() == table["predicted"].to_numpy()
        for place, values in enumerate((pixels, table["top_sum"].to_numpy(), pixels * right)):
            self.sums[:, place] += np.bincount(bins, weights=values, minlength=BINS)[:BINS]

    @property
    def pixels(self) -> int:
        return int(self.sums[:, 0].sum())

    @property
    def bins(self) -> list[ReliabilityBin]:
        """Those that have pixels."""
        return [
            ReliabilityBin(number, int(pixels), top / pixels, right / pixels)
            for number, (pixels, top, right) in enumerate(self.sums.tolist())
            if pixels
        ]

    @property
    def ece(self) -> float | None:
        """The mean distance of confidence and accuracy, weighted by pixels (Naeini et al. 2015)."""
        if not self.pixels:
            return None
        return float(np.abs(self.sums[:, 1] - self.sums[:, 2]).sum() / self.pixels)
