"""1 x 1 convolutions of one thread by oneDNN, which is up to twice as fast.

With one thread and fewer than 16 images torch sends them to a matrix product of the BLAS library instead
(`use_mkldnn` in aten/src/ATen/native/Convolution.cpp), whatever that one makes of the processor.
"""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor, nn


def speed_up_pointwise(network: nn.Module) -> None:
    """For inference in float32 on a CPU; results differ by float32's rounding alone."""
    if not torch.backends.mkldnn.is_available():  # type: ignore[no-untyped-call]
        return
    for module in network.modules():
        if isinstance(module, nn.Conv2d) and _is_pointwise(module):
            module.forward = partial(_convolve, module)  # type: ignore[method-assign]


def _is_pointwise(module: nn.Conv2d) -> bool:
    shape = (module.kernel_size, module.stride, module.padding, module.groups)
    return shape == ((1, 1), (1, 1), (0, 0), 1)


def _convolve(module: nn.Conv2d, input_BCHW: Tensor) -> Tensor:
    if input_BCHW.ndim != 4 or input_BCHW.dtype != torch.float32:
        return nn.Conv2d.forward(module, input_BCHW)
    output_BKHW: Tensor = torch.mkldnn_convolution(
        input_BCHW, module.weight, module.bias, (0, 0), (1, 1), (1, 1), 1
    )
    return output_BKHW
