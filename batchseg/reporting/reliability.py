"""How far probabilities keep what they promise: the reliability diagram."""

from __future__ import annotations

from dataclasses import dataclass

from batchseg.metrics.calibration import CalibrationSums


@dataclass(frozen=True)
class ReliabilityBin:
    """Probed pixels whose top probability lies in a bin: how sure the model was, and how often right."""

    number: int
    pixels: int
    confidence: float
    accuracy: float


def reliability_bins(sums: CalibrationSums) -> list[ReliabilityBin]:
    """Those that have pixels."""
    columns = (sums.pixels_B.tolist(), sums.top_B.tolist(), sums.right_B.tolist())
    return [
        ReliabilityBin(number, int(pixels), top / pixels, right / pixels)
        for number, (pixels, top, right) in enumerate(zip(*columns, strict=True))
        if pixels
    ]
