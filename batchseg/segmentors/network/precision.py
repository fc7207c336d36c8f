"""Which number format a model computes in."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

NARROW = 64  # pixels across


def resolve_precision(requested: str, device: str) -> str:
    """`auto` becomes bf16 where the hardware computes it natively, else fp32; others stand as they are."""
    if requested != "auto":
        return requested
    return "bf16" if _native_bf16(device) else "fp32"


def torch_dtype(precision: str) -> torch.dtype:
    """What torch calls fp32, bf16 or fp16."""
    import torch

    return {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}[precision]


def autocast(device: torch.device, dtype: torch.dtype, width: int) -> AbstractContextManager[object]:
    """Torch's own, for an input of so many pixels across.

    On a CPU narrow inputs stay in float32: oneDNN's convolutions of bf16 by AMX (3 x 3, of stride 2) write
    what is no result where their input is one or two wide and four high or more (torch 2.14). Networks halve
    their input five times, so that this begins at 32 pixels.
    """
    import torch

    reduced = dtype != torch.float32 and (device.type != "cpu" or width > NARROW)
    return torch.autocast(device.type, dtype, enabled=reduced)


def _native_bf16(device: str) -> bool:
    if device == "cuda":
        import torch

        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    # AVX512-BF16 or AMX: with plain AVX512 bf16 is emulated, and slower than fp32
    return bool(_cpu_flags() & {"avx512_bf16", "amx_bf16"})


def _cpu_flags() -> set[str]:
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            line = next((line for line in file if line.startswith("flags")), "")
    except OSError:  # not Linux: no claim, so fp32
        return set()
    return set(line.split())
