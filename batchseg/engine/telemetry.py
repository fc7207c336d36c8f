"""Figures for operators, on the Prometheus endpoint of Ray's nodes while a run goes on.

Prometheus sees the names below with `ray_` before them, and counters with `_total` behind; all carry the
results folder as `results`, in which letters beyond ASCII are percent-encoded, as Ray takes no others.
"""

from __future__ import annotations

import string
from collections import Counter
from collections.abc import Mapping
from threading import Event, Thread
from time import monotonic
from typing import Any, Protocol
from urllib.parse import quote

from batchseg.engine.placement import Placement

COUNTERS = {
    "batchseg_images": ("status", "Images finished in this run, by status."),
    "batchseg_stage_seconds": ("stage", "Seconds spent in a stage, over all workers."),
}
GAUGES = {
    "batchseg_images_waiting": "Images of this run that are not finished yet.",
    "batchseg_actors": "Copies of the model.",
    "batchseg_actor_utilisation": "Share of the actors' time in which they worked, over the last seconds.",
}
WINDOW_S = 10.0  # rows come in groups, so that a shorter look would jump
REPEAT_S = 2.0  # Ray forgets a gauge that is not set again within its interval of reporting, 10 s by default


class HowFar(Protocol):
    """How far a run is: images by status, seconds by stage, and how many images there are and are done."""

    statuses: Counter[str]
    seconds: Counter[str]
    total: int

    @property
    def done(self) -> int: ...


class Telemetry:
    """A callback for progress that tells Ray, by differences from what it told before.

    Inside its `with` block the gauges are told again and again, also while no rows come.
    """

    def __init__(self, placement: Placement, results: str) -> None:
        from ray.util.metrics import Counter as RayCounter
        from ray.util.metrics import Gauge

        self.placement = placement
        self.results = quote(results, safe=string.printable, errors="surrogateescape")
        self.counters = {
            name: RayCounter(name, text, tag_keys=("results", tag)) for name, (tag, text) in COUNTERS.items()
        }
        self.gauges = {name: Gauge(name, text, tag_keys=("results",)) for name, text in GAUGES.items()}
        self.told: dict[str, Counter[str]] = {name: Counter() for name in COUNTERS}
        self.window: tuple[float, Counter[str]] = (monotonic(), Counter())
        self.levels: dict[str, float] = {"batchseg_actors": placement.actors}
        self.stop = Event()
        self.repeating = Thread(target=self._repeat, daemon=True)

    def __enter__(self) -> Telemetry:
        self.repeating.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop.set()
        self.repeating.join()

    def __call__(self, tally: HowFar) -> None:
        self._count("batchseg_images", tally.statuses)
        self._count("batchseg_stage_seconds", tally.seconds)
        self.levels["batchseg_images_waiting"] = tally.total - tally.done
        self._utilisation(tally)
        self._tell_levels()

    def _repeat(self) -> None:
        while not self.stop.wait(REPEAT_S):
            self._tell_levels()

    def _tell_levels(self) -> None:
        for name, level in list(self.levels.items()):
            self.gauges[name].set(level, self._tags())

    def _count(self, name: str, values: Counter[str]) -> None:
        tag, told = COUNTERS[name][0], self.told[name]
        for key, value in values.items():
            if value > told[key]:
                self.counters[name].inc(value - told[key], self._tags(**{tag: key}))
                told[key] = value

    def _utilisation(self, tally: HowFar) -> None:
        now, (start, before) = monotonic(), self.window
        if now - start >= WINDOW_S or tally.done == tally.total:
            share = utilisation(tally.seconds - before, now - start, self.placement)
            self.levels["batchseg_actor_utilisation"] = share
            self.window = (now, tally.seconds.copy())

    def _tags(self, **more: Any) -> dict[str, str]:
        return {"results": self.results, **more}


def utilisation(seconds: Mapping[str, float], elapsed_s: float, placement: Placement) -> float:
    """Share of the actors' time in which they worked, 0 to 1."""
    # with a GPU the actors hold the model alone; on a CPU all stages run in them
    busy_s = seconds.get("segment", 0.0) if placement.device == "cuda" else sum(seconds.values())
    return min(1.0, busy_s / (max(elapsed_s, 1e-9) * placement.actors))
