"""How far a training has come, by its steps or by its time, and the learning rate that follows from that."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from time import time

from batchseg.results.progress import duration

FIRST, MEASURED = 2, 6  # steps after which the time of a step is known: the first ones are slower
EXPORT_S = 3.0
FORWARD = 0.5  # of the time of learning from an image, a guess until images were validated
JUDGED = 20  # validations at most
JUDGING = 0.1  # of the time is for validations, but for the first and the last
WARM_UP = 0.1  # of the time, at most
BEYOND = 1.15  # times what is left, from which on an epoch surely takes too long


class TooShortError(Exception):
    """Not one epoch fits into the time."""


@dataclass
class Pace:
    """The one clock of a training; with several workers, that of the first.

    Attributes:
        steps: of all epochs.
        steps_an_epoch, judged: steps of an epoch, and images that judge, as a share of those of a step.
        seconds: for all of it; None: as long as it takes.
        begun: when this call began, as `time` says.
        spent_before: seconds of earlier calls that were stopped, up to what was kept of them.
        learning_since: of these seconds, how many had passed at the first step; None before that.
        validation_s: of the last validation.
    """

    steps: int
    steps_an_epoch: int
    judged: float
    seconds: float | None = None
    begun: float = 0.0
    spent_before: float = 0.0
    learning_since: float | None = None
    validation_s: float | None = None
    clock: Callable[[], float] = time
    marks: list[float] = field(default_factory=list)

    @property
    def spent(self) -> float:
        """Seconds, of all calls."""
        return self.spent_before + self.clock() - self.begun

    def progress(self, step: int) -> float:
        """From 0 to 1, where it ends: by steps or by time, whichever is further.

        Args:
            step: how many are done. To be called once before each, for steps are timed by it.

        Raises TooShortError where the first epoch does not fit into the time.
        """
        by_steps = step / self.steps
        if self.seconds is None:
            return by_steps
        now = self.spent
        if self.learning_since is None:
            self.learning_since = now
        if len(self.marks) <= MEASURED:
            self.marks.append(now)
        if len(self.marks) > FIRST or step >= self.steps_an_epoch or self.steps_an_epoch <= FIRST:
            self._refuse_too_short(step, now)
            end = self.seconds - self._closing()
            by_time = (now - self.learning_since) / max(end - self.learning_since, 1e-9)
            return min(1.0, max(by_steps, by_time))
        return by_steps

    def expected(self, step: int, progress: float) -> int:
        """How many steps there will be, for whoever looks at it."""
        if self.seconds is None:
            return self.steps
        return max(step, round(step / progress) if progress else self.steps_an_epoch)

    def is_worth_judging(self, progress: float, judged: float) -> bool:
        """Whether a validation may come now: under a limit in time they take a tenth of it at most.

        Args:
            judged: how far it was at the last one; 0 before the first.
        """
        if self.seconds is None or not judged:
            return True
        each = (self.validation_s or 0.0) / self.seconds
        return progress - judged >= max(1 / JUDGED, each / JUDGING)

    def _closing(self) -> float:
        """Seconds after the last step: a validation, and writing the model."""
        validation_s = self.validation_s
        return EXPORT_S + (FORWARD * self.judged * self._step_s() if validation_s is None else validation_s)

    def _step_s(self) -> float:
        first = min(FIRST - 1, max(0, len(self.marks) - 2))
        spans = len(self.marks) - 1 - first
        return (self.marks[-1] - self.marks[first]) / spans if spans > 0 else 0.0

    def _refuse_too_short(self, step: int, now: float) -> None:
        """While the first epoch is measured; one that turns out slower later is cut short, and judged."""
        assert self.seconds is not None
        if step >= self.steps_an_epoch or len(self.marks) > MEASURED:
            return
        rest_s = (self.steps_an_epoch - step) * self._step_s() + self._closing()
        if rest_s > BEYOND * (self.seconds - now):
            whole_s = now + rest_s
            raise TooShortError(
                f"minutes is {self.seconds / 60:g}, and one epoch with all that is before and after it takes "
                f"{duration(whole_s)} here; give at least {math.ceil(1.2 * whole_s / 60)}, or learn from "
                "fewer images (train_fraction)"
            )

    def share_of_rate(self, step: int, progress: float, warmup_steps: int) -> float:
        """Of the learning rate: a linear warm-up, then half a cosine down to zero."""
        if self.seconds is not None:  # how many steps there will be is not known
            warmed = max((step + 1) / max(1, warmup_steps), progress / WARM_UP)
            return min(1.0, warmed) * _falling(progress, 1)
        warm_up = min(warmup_steps, self.steps // 2)
        if step < warm_up:
            return (step + 1) / warm_up
        return _falling(step - warm_up, max(1, self.steps - warm_up))


def _falling(passed: float, whole: float) -> float:
    return 0.5 * (1 + math.cos(math.pi * passed / whole))
