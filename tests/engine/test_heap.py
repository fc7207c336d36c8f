"""Memory that a worker frees is there for its next batch, and what it loads is not searched for garbage."""

from __future__ import annotations

import gc
import platform
import subprocess
import sys

import pytest

from batchseg.engine.heap import uncollected

PROGRAM = """
import resource, sys
import numpy as np
from batchseg.engine.heap import keep_freed_memory
kept = sys.argv[1] == "kept" and keep_freed_memory()
def work():
    for _ in range(5):
        np.ones(2**26, np.uint8)
work()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
work()
print(int(kept), resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def pages_asked_for(how: str) -> tuple[bool, int]:
    """Whether memory is kept, and how many pages the kernel gave for 5 x 64 MiB that were freed before."""
    done = subprocess.run([sys.executable, "-c", PROGRAM, how], capture_output=True, text=True, check=True)
    kept, pages = map(int, done.stdout.split())
    return bool(kept), pages


def test_freed_memory_is_kept() -> None:
    kept, pages = pages_asked_for("kept")
    assert kept is (platform.libc_ver()[0] == "glibc")  # another C library keeps memory as it likes
    # in pages of 4 KiB the five arrays are 81,920; huge ones, where numpy gets them, are fewer
    assert not kept or pages < 20 < pages_asked_for("given back")[1]


def test_what_is_loaded_is_not_looked_through() -> None:
    frozen = gc.get_freeze_count()
    with uncollected():
        assert not gc.isenabled()
        loaded = [[index] for index in range(1000)]
    assert gc.isenabled()
    assert gc.get_freeze_count() >= frozen + len(loaded)
    gc.unfreeze()


def test_whoever_collects_no_garbage_does_not_do_so_afterwards() -> None:
    gc.disable()
    try:
        with pytest.raises(ValueError, match="no such model"), uncollected():
            raise ValueError("no such model")
        assert not gc.isenabled()
    finally:
        gc.enable()
        gc.unfreeze()
