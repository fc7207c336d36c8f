"""Where the time of a run went, from what came in when."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pyarrow as pa
import pytest

from batchseg.engine.placement import Placement
from batchseg.pipeline.timings import timings
from batchseg.results import tally as tallies
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


class Clock:
    """Time that passes when a test says so."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(tallies, "monotonic", clock)
    return clock


def come_in(tally: Tally, clock: Clock, after_s: float, images: int, image_s: float) -> None:
    clock.now += after_s
    row = {"id": "x", "status": "ok", "_seconds": [("decode", image_s / 4), ("segment", 3 * image_s / 4)]}
    tally.add(pa.Table.from_pylist([row] * images, schema=SCHEMA))


def test_start_up_is_not_counted_into_images_a_second(clock: Clock) -> None:
    """Two workers of which each takes a second an image, and 40 s until the first image is begun."""
    tally = Tally(16, started=clock.now)
    come_in(tally, clock, 44.0, 4, 1.0)
    come_in(tally, clock, 0.0, 4, 1.0)
    come_in(tally, clock, 4.0, 4, 1.0)
    come_in(tally, clock, 0.0, 4, 1.0)
    clock.now += 30.0  # nor is what comes behind the last image
    told = timings(tally, TWO_ACTORS)
    assert (told["startup_s"], told["first_row_s"], told["images_per_s"]) == (40.0, 44.0, 2.0)


def test_the_estimate_is_of_what_an_image_costs_now(clock: Clock) -> None:
    tally = Tally(10_000, started=clock.now)
    assert (tally.recent_images_per_s, tally.left_s) == (None, None)
    come_in(tally, clock, 100.0, 1, 10.0)
    assert tally.left_s == pytest.approx(9_999 * 10.0)
    for _ in range(60):  # slow at first: ten seconds an image
        come_in(tally, clock, 10.0, 1, 10.0)
    for _ in range(100):  # then ten images a second, for longer than the window
        come_in(tally, clock, 1.0, 10, 0.1)
    assert tally.recent_images_per_s == pytest.approx(10.0)
    assert tally.left_s == pytest.approx((10_000 - 1061) / 10)
    assert len(tally.recent) <= 62


def test_rows_that_come_more_seldom_than_the_window_is_long_have_a_rate(clock: Clock) -> None:
    tally = Tally(100, started=clock.now)
    for _ in range(5):
        come_in(tally, clock, 200.0, 2, 100.0)
    assert tally.recent_images_per_s == pytest.approx(0.01)
    assert tally.left_s == pytest.approx(9000.0)
