"""Where the time of a run went."""

from __future__ import annotations

from typing import Any

from batchseg.engine.placement import Placement
from batchseg.engine.telemetry import utilisation
from batchseg.results.tally import Tally


def timings(tally: Tally, placement: Placement | None) -> dict[str, Any]:
    """Seconds since Ray's start, and rates; None where there was too little to tell, or nothing to place.

    `startup_s` is when the first image was begun, and `images_per_s` is counted from there.
    `steady_images_per_s` and `actor_utilisation` are of the time between the first and the last tenth of the
    images; `stage_s` is of all workers together.
    """
    steady, rate = tally.steady(), tally.images_per_s
    return {
        "elapsed_s": round(tally.elapsed_s, 3),
        "startup_s": round(tally.startup_s, 3) if tally.first_row_s is not None else None,
        "first_row_s": tally.first_row_s and round(tally.first_row_s, 3),
        "images_per_s": rate and round(rate, 3),
        "steady_images_per_s": round(steady.images / steady.elapsed_s, 3) if steady else None,
        "actor_utilisation": round(utilisation(steady.seconds, steady.elapsed_s, placement), 3)
        if steady and placement
        else None,
        "stage_s": {name: round(value, 3) for name, value in sorted(tally.seconds.items())},
    }
