"""Where the time of a run went, from what came in when."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pyarrow as pa
import pytest

from batchseg.engine.placement import Placement
from batchseg.pipeline.timings import timings
from batchseg.results.tally import Stretch, Tally
from batchseg.stages.write import row_schema

TWO_ACTORS = Placement("cpu", 2, 0.0, 0.5, 1, 4, 4)
SCHEMA = pa.schema([field.with_nullable(True) for field in row_schema(pa.schema([]))])


def after(elapsed_s: float, images: int) -> Stretch:
    return Stretch(elapsed_s, images, Counter(decode=images * 0.001, segment=images * 0.004))


def test_the_steady_state_is_between_the_first_and_the_last_tenth() -> None:
    # the first image after 10 s, then a hundred every 2 s, and a slow end
    marks = [after(10, 1), *(after(10 + 2 * part, 100 * part) for part in range(1, 10)), after(99, 1000)]
    told = timings(Tally(1000, marks=marks), TWO_ACTORS)
    assert told["steady_images_per_s"] == 50.0  # 800 images, from the hundredth at 12 s to 900 at 28 s
    assert told["actor_utilisation"] == pytest.approx(800 * 0.005 / (2 * 16), abs=5e-4)
    # with a GPU the actors hold the model alone
    on_gpu = timings(Tally(1000, marks=marks), replace(TWO_ACTORS, device="cuda"))
    assert on_gpu["actor_utilisation"] == pytest.approx(800 * 0.004 / (2 * 16), abs=5e-4)


def test_what_comes_in_is_marked_a_hundred_times_at_most() -> None:
    row = {"id": "x", "status": "ok", "_seconds": [("decode", 0.5)]}
    tally = Tally(1000)
    for _ in range(500):
        tally.add(pa.Table.from_pylist([row, row], schema=SCHEMA))
    assert [mark.images for mark in tally.marks] == [*range(10, 1001, 10)]
    steady = tally.steady()
    assert steady is not None
    assert (steady.images, steady.seconds) == (800, {"decode": 400.0})


def test_a_few_parts_that_come_at_once_tell_no_rate() -> None:
    # two actors whose chunks of four are ready at the same time
    marks = [after(8.0, 4), after(8.001, 8), after(12.0, 12), after(12.001, 16), after(16.0, 20)]
    told = timings(Tally(24, marks=marks), TWO_ACTORS)
    assert (told["steady_images_per_s"], told["actor_utilisation"]) == (None, None)


def test_too_few_parts_have_no_steady_state() -> None:
    row = {"id": "x", "status": "ok", "_seconds": []}
    tally = Tally(8)
    for count in (1, 7):
        tally.add(pa.Table.from_pylist([row] * count, schema=SCHEMA))
    told = timings(tally, TWO_ACTORS)
    assert (told["steady_images_per_s"], told["actor_utilisation"]) == (None, None)
    assert told["images_per_s"] > 0
