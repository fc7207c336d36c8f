"""A trace of some images in one actor, for chrome://tracing or Perfetto: which operation took how long."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from batchseg.engine.journal import Through
from batchseg.errors import OutputError
from batchseg.stages.item import Item
from batchseg.storage.location import locate

TRACED = 16  # images: some megabytes of trace


@dataclass(frozen=True)
class Trace:
    """Which images are traced, and where the trace goes.

    Attributes:
        image: an id; the batch that holds it is traced, so that one actor does it.
        target: a file in Chrome's trace format, gzipped.
    """

    image: str
    target: str

    def wants(self, items: list[Item]) -> bool:
        return any(item.row["id"] == self.image for item in items)

    def around(self, through: Through) -> Through:
        """The stages, with their first images under torch's profiler."""

        def traced(items: Iterator[Item]) -> Iterator[Item]:
            yield from self._under_profiler(through, islice(items, TRACED))
            yield from through(items)

        return traced

    def _under_profiler(self, through: Through, items: Iterator[Item]) -> list[Item]:
        from torch.profiler import profile

        with profile() as profiler:
            done = list(through(items))
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "trace.json.gz"
            profiler.export_chrome_trace(str(file))
            self._write(file.read_bytes())
        return done

    def _write(self, trace: bytes) -> None:
        target = locate(self.target)
        try:
            target.parent.make_folder()
            target.write(trace)
        except OSError as exc:
            raise OutputError(f"{target}: the profile cannot be written: {exc.strerror or exc}") from exc
