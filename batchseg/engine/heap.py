"""The memory of a worker: what it frees stays with it, and what it loads is not searched for garbage.

A network's next batch takes as much memory again. glibc gives large blocks back to the kernel as soon as they
are freed, and the kernel hands them out again page by page, each of them zeroed: a third of the time of a
network's forward pass on a CPU.
"""

from __future__ import annotations

import ctypes
import gc
from collections.abc import Iterator
from contextlib import contextmanager

# from malloc.h
_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4
_KEPT = 2**30  # bytes at the end of the heap above which they are given back after all


def keep_freed_memory() -> bool:
    """For the whole process; False, and nothing changes, where the C library is not glibc."""
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):  # another C library, or another system
        return False
    return bool(mallopt(_M_MMAP_MAX, 0) and mallopt(_M_TRIM_THRESHOLD, _KEPT))


@contextmanager
def uncollected() -> Iterator[None]:
    """What is loaded inside is never looked through for garbage: a sixth of the time it takes to load torch.

    Python looks through all objects again and again as their number grows, and modules make hundreds of
    thousands. The garbage among them, some 10 MB, is kept.
    """
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        if was_enabled:
            gc.enable()
