"""Which number format a model computes in."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


def resolve_precision(requested: str, device: str) -> str:
    """`auto` becomes bf16 where the hardware computes it natively, else fp32; others stand as they are."""
    if requested != "auto":
        return requested
    return "bf16" if _native_bf16(device) else "fp32"


def torch_dtype(precision: str) -> torch.dtype:
    """What torch calls fp32, bf16 or fp16."""
    import torch

    return {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}[precision]


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
