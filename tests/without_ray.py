"""A run without Ray: the same plan, stages and commits, one chunk after another in this process."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import nullcontext
from typing import Any

import pyarrow as pa
import pytest

from batchseg.engine.graph import CHUNK_S, WHOLE, ReadChunks, ToRows, Work, Worker
from batchseg.engine.nodes import Nodes
from batchseg.pipeline import execute
from batchseg.stages.write import row_schema


class _Dataset:
    def __init__(self, plan: Any, stages: Any, placement: Any, stamp: Any, journal: Any) -> None:
        makes = tuple(make for make in (stages.before, stages.model, stages.after) if make)
        rows = ToRows(row_schema(plan.carried), stamp)
        size = placement.batch_size
        self.plan = plan
        self.work = Work(WHOLE, makes, ReadChunks(plan), rows, journal, CHUNK_S, size)

    def iter_batches(self, **_: Any) -> Iterator[pa.Table]:
        worker = Worker(self.work)
        for chunk in range(self.plan.chunks):
            yield from worker(pa.table({"chunk": [chunk]}))


def stay_in_process(patch: pytest.MonkeyPatch) -> None:
    """Until the patches are undone."""

    def build(plan: Any, stages: Any, placement: Any, stamp: Any, journal: Any, **_: Any) -> _Dataset:
        return _Dataset(plan, stages, placement, stamp, journal)

    patch.setattr(execute, "build", build)
    patch.setattr(execute, "ray_session", lambda address: nullcontext())
    patch.setattr(execute, "usable_nodes", lambda exclude_head: Nodes(({"CPU": 2.0},)))
    patch.setattr(execute, "Telemetry", lambda placement, results: nullcontext(lambda tally: None))
