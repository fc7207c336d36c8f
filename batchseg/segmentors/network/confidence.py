"""How sure a model was of an image, from its class probabilities."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from batchseg.segmentors.base import Confidence
from batchseg.segmentors.network.bilinear import chunk_elements

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
    top_HW, entropy_HW = probabilities.amax(0), _relative_entropy(probabilities)
    claims = () if background is None else (contested(probabilities, background, factors).float().mean(),)
    return _summary(top_HW, entropy_HW, *claims)


def confidence_of_logits(logits_CHW: Tensor) -> Confidence:
    """The same of their softmax, a band of rows at a time: of fine maps in half the time.

    Raises:
        ValueError: there is a NaN among them, which every class would win.
    """
    classes, _, width = logits_CHW.shape
    bands = torch.split(logits_CHW, max(1, chunk_elements(logits_CHW.device) // (classes * width)), dim=1)
    least = torch.finfo(torch.float32).min  # of a class that is switched off: 0 times infinity is no number
    parts = [_top_and_entropy(band.float().clamp(min=least)) for band in bands]
    return _summary(*(torch.cat(each) for each in zip(*parts, strict=True)))


def _top_and_entropy(logits_CHW: Tensor) -> tuple[Tensor, Tensor]:
    """With d = logit - highest and p = exp(d) / sum exp(d): the best p is 1 / sum exp(d), and
    H = -sum p log p = log sum exp(d) - sum p d."""
    below_CHW = logits_CHW - logits_CHW.amax(0)
    exp_CHW = below_CHW.exp()
    total_HW = exp_CHW.sum(0)
    entropy_HW = total_HW.log() - exp_CHW.mul_(below_CHW).sum(0) / total_HW
    return 1 / total_HW, _relative(entropy_HW, len(logits_CHW))


def _summary(top_HW: Tensor, entropy_HW: Tensor, *claims: Tensor) -> Confidence:
    summary = [
        top_HW.mean(),
        entropy_HW.mean(),
        _percentile_95(entropy_HW.flatten()),
        (top_HW < _LOW).float().mean(),
        *claims,
    ]
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
    return _relative(entropy_HW, len(probabilities))


def _relative(entropy_HW: Tensor, classes: int) -> Tensor:
    return (entropy_HW / (math.log(classes) or 1.0)).clamp(0, 1)  # rounding can overstep


def _percentile_95(values_N: Tensor) -> Tensor:
    # torch.quantile sorts all the values, and refuses more than 16 million
    below, hundredths = divmod((len(values_N) - 1) * 95, 100)
    above = min(below + 1, len(values_N) - 1)
    if values_N.is_cuda:
        lower, upper = (values_N.kthvalue(rank + 1).values for rank in (below, above))
    else:  # three times as fast
        ranked_N = np.partition(values_N.numpy(), [below, above])
        lower, upper = torch.from_numpy(ranked_N[[below, above]])
    return torch.lerp(lower, upper, hundredths / 100)
