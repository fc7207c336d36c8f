"""How sure a model was of an image, from its class probabilities."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from batchseg.segmentors.base import Confidence

_LOW = 0.5


def confidence(
    probabilities_CHW: Tensor, background: int | None = None, factors: Sequence[float] | None = None
) -> Confidence:
    """Summarise class probabilities (floating point, summing to one over C) at the model's own resolution.

    The entropy is Shannon's divided by log(C): 0 is certain, 1 is uniform; with one class it is 0. Its 95th
    percentile interpolates linearly between ranks, as `numpy.percentile` does.

    Args:
        background: the class that claims of the others have to beat; None: they are not decided each by
            itself.
        factors: of each class's probability before it is compared; None: all 1.

    Raises:
        ValueError: there is a NaN among them, which every class would win.
    """
    probabilities = probabilities_CHW.float()
    top_HW = probabilities.amax(0)
    entropy_HW = _relative_entropy(probabilities)
    summary = [
        top_HW.mean(),
        entropy_HW.mean(),
        _percentile_95(entropy_HW.flatten()),
        (top_HW < _LOW).float().mean(),
    ]
    if background is not None:
        summary.append(contested(probabilities, background, factors).float().mean())
    figures = Confidence(*torch.stack(summary).tolist())  # one transfer from the device
    if math.isnan(figures.mean):
        raise ValueError("its scores are not numbers (NaN); are there such among its weights?")
    return figures


def contested(probabilities_CN: Tensor, background: int, factors: Sequence[float] | None = None) -> Tensor:
    """Where two classes or more are more probable than the background, each times its factor: bool [N], or
    of any other shape that follows the classes."""
    if factors is not None:
        shape = (-1, *(1,) * (probabilities_CN.ndim - 1))
        probabilities_CN = probabilities_CN * probabilities_CN.new_tensor(factors).view(shape)
    return (probabilities_CN > probabilities_CN[background]).sum(0) > 1


def _relative_entropy(probabilities: Tensor) -> Tensor:
    smallest = torch.finfo(probabilities.dtype).tiny  # 0 log 0 is 0
    # twice as fast as torch.special.entr, whose logarithm is not vectorised
    entropy_HW = -probabilities.clamp(min=smallest).log_().mul_(probabilities).sum(0)
    return (entropy_HW / (math.log(len(probabilities)) or 1.0)).clamp(0, 1)  # rounding can overstep


def _percentile_95(values_N: Tensor) -> Tensor:
    # torch.quantile sorts all the values, and refuses more than 16 million
    count = len(values_N)
    below, hundredths = divmod((count - 1) * 95, 100)
    lower = values_N.kthvalue(below + 1).values
    upper = values_N.kthvalue(min(below + 2, count)).values
    return torch.lerp(lower, upper, hundredths / 100)
