"""Processes that a test starts and watches."""

from __future__ import annotations

import subprocess

LOOK_S = 0.01  # between two looks at what a process does, which need the core that it works on


def runs(process: subprocess.Popen) -> bool:
    """Whether it goes on for another moment."""
    try:
        process.wait(LOOK_S)
    except subprocess.TimeoutExpired:
        return True
    return False
