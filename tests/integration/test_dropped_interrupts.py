"""An interrupt that came where Python drops exceptions is raised again by what shows progress."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from batchseg.cli.interrupts import interrupts
from batchseg.cli.show.overlay import CountProgress
from batchseg.cli.show.run import Progress


@pytest.mark.parametrize(
    "show", [lambda: Progress(hidden=True)(None), lambda: CountProgress("drawing", hidden=True)(1, 2)]
)
def test_a_dropped_interrupt_is_raised_again(
    monkeypatch: pytest.MonkeyPatch, show: Callable[[], Any]
) -> None:
    monkeypatch.setattr(interrupts, "heard", 1)
    with pytest.raises(KeyboardInterrupt):
        show()
