"""The parts of rasters on their way: computed before their images are joined, and counted by themselves."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from batchseg.config.network import SegmentorConfig
from batchseg.engine.graph import Stages
from batchseg.engine.placement import Placement
from batchseg.pipeline.rasters import Rasters
from batchseg.results.tally import PartsTally, Tally


@dataclass(frozen=True)
class PartsPass:
    """The parts of rasters that are still to be computed."""

    rasters: Rasters
    hardware: SegmentorConfig
    stages: Callable[[Placement], Stages]


class Told:
    """Counts the parts that came in. What they hold lies in files of their own."""

    def __init__(self, tally: Tally, parts: PartsTally) -> None:
        self.tally, self.parts = tally, parts
        self.told = np.zeros(parts.total, bool)

    def take(self, rows: pa.Table) -> None:
        rows = rows.filter(pc.invert(rows["_left_over"]))
        for number, spent in zip(rows["_row"].to_pylist(), rows["_seconds"].to_pylist(), strict=True):
            if not self.told[number]:
                self.told[number] = True
                self.parts.add(sum(seconds for _, seconds in spent or ()), self.tally.elapsed_s)

    def close(self) -> None:
        """Every part was committed when its file was written."""
