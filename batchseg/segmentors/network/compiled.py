"""torch.compile for a network, or one sentence on why this machine cannot."""

from __future__ import annotations

import torch
from torch import nn

from batchseg.errors import ModelError
from batchseg.segmentors.network.pointwise import speed_up_pointwise


def speed_up(network: nn.Module, device: torch.device, is_compiled: bool) -> None:
    """Compile the network, or on a CPU have its 1 x 1 convolutions done the faster way.

    Raises ModelError where it is to be compiled and there is no compiler.
    """
    if is_compiled:
        compile_network(network, device)
    elif device.type == "cpu":
        speed_up_pointwise(network)


def compile_network(network: nn.Module, device: torch.device) -> None:
    """Have `network` compiled at its first batch, once for each shape it meets (a few seconds to minutes).

    Raises ModelError where there is no compiler to do it with: tried on one addition, because the first batch
    would otherwise fail image by image.
    """
    try:
        torch.compile(_add_one)(torch.zeros(8, device=device))
    except Exception as exc:  # whatever the compilers of this machine may throw
        reason = " ".join(str(exc).partition("Set TORCH")[0].split())[
            :300
        ]  # less torch's advice to developers
        raise ModelError(
            "segmentor.compile needs a C++ compiler (for a GPU: Triton) on every worker, and there it "
            f"fails: {type(exc).__name__}: {reason}"
        ) from exc
    network.compile()


def _add_one(values: torch.Tensor) -> torch.Tensor:
    return values + 1
