"""What an exception says of the device: its memory is full, or it is of no more use to this process."""

from __future__ import annotations

import sys

CONTEXT_ERRORS = ("CUDA error", "HIP error")  # as torch begins its sentences; cuBLAS and cuDNN have others


class BrokenDeviceError(Exception):
    """Every later call on the device would fail in this process, whatever the image."""


def out_of_memory(exc: BaseException) -> bool:
    """Whether a device (torch's own error, by name so that torch need not be here) or the host ran out."""
    return isinstance(exc, MemoryError) or type(exc).__name__ == "OutOfMemoryError"


def is_broken(exc: BaseException) -> bool:
    """Whether the device is of no more use: after an assertion, an illegal access or an error of its memory.

    Such errors stay: CUDA answers every later call of the process with the same one. So the device is asked,
    and only where there is none to ask does the exception tell.
    """
    if out_of_memory(exc):
        return False
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_initialized():
        try:
            torch.cuda.synchronize()
        except RuntimeError:
            return True
        return False
    return type(exc).__name__ == "AcceleratorError" or str(exc).startswith(CONTEXT_ERRORS)
