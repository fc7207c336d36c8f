"""What computes a network's forward pass."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from batchseg.segmentors.network.precision import autocast


class Engine(Protocol):
    """A network as a function of its normalised input.

    Attributes:
        used: what computed the last batch, such as `torch`.
        why_not: why that is not what was to do it, in a sentence; None where it is.
    """

    used: str
    why_not: str | None

    def __call__(self, input_BCHW: Tensor, /) -> tuple[Tensor, ...]: ...


class TorchEngine:
    """Torch itself, in the precision that was chosen.

    Args:
        core: one tensor [B, C, H, W] in, a tuple of tensors [B, ...] out.
    """

    def __init__(self, core: nn.Module, device: torch.device, dtype: torch.dtype) -> None:
        self.used = "torch"
        self.why_not: str | None = None
        self.core, self.device, self.dtype = core, device, dtype

    def __call__(self, input_BCHW: Tensor) -> tuple[Tensor, ...]:
        with autocast(self.device, self.dtype, input_BCHW.shape[-1]):
            outputs: tuple[Tensor, ...] = self.core(input_BCHW)
        return outputs


@runtime_checkable
class FileEngine(Engine, Protocol):
    """One that reads the network from a file, which OpenVINO reads, too.

    Attributes:
        output: name of the only output that counts.
        at_once: images in a call, where the network takes no other number of them; else 1.
    """

    path: Path
    output: str
    at_once: int


@runtime_checkable
class HasEngine(Protocol):
    """A segmentor whose network another engine may compute."""

    engine: Engine
