"""A training by the clock: the rate falls to fit the time, and what cannot fit is refused at once."""

from __future__ import annotations

import math

import pytest

from batchseg.training.pace import Pace, TooShortError


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


def paced(clock: Clock, **more: float) -> Pace:
    base = {"steps": 10**6, "steps_an_epoch": 20, "judged": 4.0, "seconds": 100.0, "begun": 1000.0}
    return Pace(**{**base, **more}, clock=clock)  # type: ignore[arg-type]


def steps_until_the_end(pace: Pace, clock: Clock, step_s: float) -> list[float]:
    """The progress at each step."""
    found = []
    while not found or found[-1] < 1:
        found.append(pace.progress(len(found)))
        clock.now += step_s
    return found


def test_without_a_limit_it_goes_by_steps() -> None:
    pace = Pace(40, 10, 4.0)
    assert [pace.progress(step) for step in (0, 10, 40)] == [0, 0.25, 1]
    rates = [pace.share_of_rate(step, 0, 10) for step in range(40)]
    assert rates[:10] == [(step + 1) / 10 for step in range(10)]
    assert rates[10:] == [0.5 * (1 + math.cos(math.pi * (step - 10) / 30)) for step in range(10, 40)]
    assert pace.expected(10, 0.25) == 40


def test_the_last_step_ends_before_the_time_does() -> None:
    clock = Clock()
    pace = paced(clock)
    clock.now += 20  # before the first step
    found = steps_until_the_end(pace, clock, 1.0)
    # 100 s, less 20, 3 for the model, and 2 for a validation: images of 4 steps, at half the cost
    assert len(found) == 1 + 75
    assert found == sorted(found) and found[38] == pytest.approx(38 / 75)
    assert pace.expected(38, found[38]) == 75


def test_a_slow_machine_makes_fewer_steps_of_the_same_schedule() -> None:
    clock = Clock()
    pace = paced(clock)
    found = [pace.progress(step) for step in range(10) if not setattr(clock, "now", clock.now + 1)]
    clock.now += 60  # something else ran beside it
    assert found[-1] == pytest.approx(9 / 94)  # 1 s had passed before the first step
    assert pace.progress(10) == pytest.approx(69 / 94)


def test_what_a_validation_takes_is_kept_for_the_last_one() -> None:
    clock = Clock()
    pace = paced(clock, begun=1000.0)
    for step in range(10):
        pace.progress(step)
        clock.now += 1
    pace.validation_s = 50.0
    # 100 s, of which 50 are for validation and 3 for the model
    assert pace.progress(10) == pytest.approx(10 / 47)


def test_an_epoch_that_does_not_fit_is_refused_while_it_is_measured() -> None:
    clock = Clock()
    pace = paced(clock, steps_an_epoch=1000.0)
    with pytest.raises(TooShortError, match=r"minutes is 1\.66667, and one epoch .* takes 17 min here"):
        steps_until_the_end(pace, clock, 1.0)
    assert clock.now < 1010


def test_an_epoch_that_nearly_fits_is_cut_short_rather() -> None:
    clock = Clock()
    pace = paced(clock, steps_an_epoch=100.0)
    assert 90 < len(steps_until_the_end(pace, clock, 1.0)) < 100


def test_a_training_that_goes_on_has_the_time_that_is_left() -> None:
    clock = Clock()
    pace = paced(clock, spent_before=60.0, learning_since=20.0, validation_s=2.0)
    clock.now += 5  # starting anew
    assert pace.spent == 65
    pace.marks = [0.0] * 10
    assert pace.progress(40) == pytest.approx((65 - 20) / (95 - 20))


def test_epochs_that_are_given_end_it_before_the_time() -> None:
    clock = Clock()
    pace = paced(clock, steps=30)
    found = steps_until_the_end(pace, clock, 0.1)
    assert len(found) == 31 and found[15] == 0.5


def test_validations_take_a_tenth_of_the_time_at_most() -> None:
    clock = Clock()
    pace = paced(clock)
    assert pace.is_worth_judging(0.01, 0)  # the first
    pace.validation_s = 0.1
    assert [pace.is_worth_judging(now, 0.5) for now in (0.54, 0.56)] == [False, True]  # 20 in all
    pace.validation_s = 2.0  # of 100 s: one after each fifth of the time
    assert [pace.is_worth_judging(now, 0.5) for now in (0.69, 0.71)] == [False, True]
    assert Pace(40, 10, 4.0, validation_s=99.0).is_worth_judging(0.01, 0.009)
