"""Memory that a worker frees is there for its next batch."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest

PROGRAM = """
import resource, sys
import numpy as np
from batchseg.engine.heap import keep_freed_memory
if sys.argv[1] == "kept":
    keep_freed_memory()
def work():
    for _ in range(5):
        np.ones(2**26, np.uint8)
work()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
work()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def pages_asked_for(how: str) -> int:
    """How often the kernel had to hand out a page, for five times 64 MiB that were freed before."""
    done = subprocess.run([sys.executable, "-c", PROGRAM, how], capture_output=True, text=True, check=True)
    return int(done.stdout)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another C library keeps memory as it likes")
def test_freed_memory_is_kept() -> None:
    # in pages of 4 KiB the five arrays are 81,920; huge ones, where numpy gets them, are fewer
    assert pages_asked_for("kept") < 20 < pages_asked_for("given back")
