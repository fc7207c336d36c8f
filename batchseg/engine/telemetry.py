"""Figures for operators, on the Prometheus endpoint of Ray's nodes while a run goes on.

Prometheus sees the names below with `ray_` before them, and counters with `_total` behind; all carry the
results folder as `results`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from time import monotonic
from typing import Any

from batchseg.engine.placement import Placement
from batchseg.results.tally import Tally

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


class Telemetry:
    """A callback for progress that tells Ray, by differences from what it told before, and then another."""

    def __init__(self, placement: Placement, results: str, then: Callable[[Tally], None]) -> None:
        from ray.util.metrics import Counter as RayCounter
        from ray.util.metrics import Gauge

        self.placement, self.results, self.then = placement, results, then
        self.counters = {
            name: RayCounter(name, text, tag_keys=("results", tag)) for name, (tag, text) in COUNTERS.items()
        }
        self.gauges = {name: Gauge(name, text, tag_keys=("results",)) for name, text in GAUGES.items()}
        self.told: dict[str, Counter[str]] = {name: Counter() for name in COUNTERS}
        self.window = (monotonic(), 0.0)
        self._set("batchseg_actors", placement.actors)

    def __call__(self, tally: Tally) -> None:
        self._count("batchseg_images", tally.statuses)
        self._count("batchseg_stage_seconds", tally.seconds)
        self._set("batchseg_images_waiting", tally.total - tally.done)
        self._utilisation(tally)
        self.then(tally)

    def _count(self, name: str, values: Counter[str]) -> None:
        tag, told = COUNTERS[name][0], self.told[name]
        for key, value in values.items():
            if value > told[key]:
                self.counters[name].inc(value - told[key], self._tags(**{tag: key}))
                told[key] = value

    def _set(self, name: str, value: float) -> None:
        self.gauges[name].set(value, self._tags())

    def _utilisation(self, tally: Tally) -> None:
        # with a GPU the actors hold the model alone; on a CPU all stages run in them
        in_actors = ("segment",) if self.placement.device == "cuda" else tuple(tally.seconds)
        busy_s, now = sum(tally.seconds[stage] for stage in in_actors), monotonic()
        start, busy_before_s = self.window
        if now - start >= WINDOW_S or tally.done == tally.total:
            share = (busy_s - busy_before_s) / (max(now - start, 1e-9) * self.placement.actors)
            self._set("batchseg_actor_utilisation", min(1.0, share))
            self.window = (now, busy_s)

    def _tags(self, **more: Any) -> dict[str, str]:
        return {"results": self.results, **more}
