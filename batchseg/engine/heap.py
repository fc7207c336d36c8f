"""Memory that a worker with a network frees stays with it, for its next batch takes as much again.

glibc gives large blocks back to the kernel as soon as they are freed, and the kernel hands them out again
page by page, each of them zeroed: a third of the time of a network's forward pass on a CPU.
"""

from __future__ import annotations

import ctypes

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
