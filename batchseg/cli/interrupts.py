"""Ctrl-C, and SIGTERM, with which a scheduler ends a job: once, twice, and for the impatient."""

from __future__ import annotations

import os
import signal
import sys
from contextlib import suppress
from types import FrameType

INTERRUPTED = 130
AT_ONCE = 3


class Interrupts:
    """The first one raises KeyboardInterrupt, the second changes nothing, the third ends the process.

    What is committed stays whole at any of them, as after a kill.

    Attributes:
        heard: how many there were.
    """

    def __init__(self) -> None:
        self.heard = 0

    def listen(self) -> None:
        """Hear them from now on; a shell lets its jobs in the background ignore Ctrl-C, and that stays so."""
        for number in (signal.SIGINT, signal.SIGTERM):
            if signal.getsignal(number) is not signal.SIG_IGN:
                signal.signal(number, self)
        sys.unraisablehook = self._pass_over

    def _pass_over(self, lost: sys.UnraisableHookArgs) -> None:
        """What Python can only drop it would print; whoever shows progress raises an interrupt again."""
        if not (self.heard and issubclass(lost.exc_type, KeyboardInterrupt)):
            sys.__unraisablehook__(lost)

    def __call__(self, number: int, frame: FrameType | None) -> None:
        self.heard += 1
        if self.heard == 1:
            raise KeyboardInterrupt
        if self.heard < AT_ONCE:
            _say("closing; Ctrl-C once more ends it at once\n")
            return
        _say("\x1b[?25h" if os.isatty(2) or sys.stderr.isatty() else "")  # a bar hides the cursor
        os._exit(INTERRUPTED)

    def raise_again(self) -> None:
        """One that came where Python drops exceptions, such as in a finaliser."""
        if self.heard:
            raise KeyboardInterrupt

    def forget(self) -> None:
        """The next one is the first again."""
        self.heard = 0

    def close(self) -> bool:
        """All is said and done, so none raises from now on; whether there was one."""
        was_heard, self.heard = self.heard > 0, max(1, self.heard)
        return was_heard


def _say(text: str) -> None:
    with suppress(Exception):  # the process may be within a call of the same stream
        sys.stderr.write(text)
        sys.stderr.flush()


interrupts = Interrupts()
