"""What is explained: how probable a model finds a class where its mask has it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from batchseg.segmentors.combined.decision import Answer, Decision

if TYPE_CHECKING:
    from torch import Tensor


class ClassTarget:
    """The mean probability of a class over a region: one number, 0 to 1, for each picture.

    Probabilities are interpolated bilinearly to the size of the picture, as where masks are decided. A label
    map counts as probabilities of 0 and 1. Those of an ensemble and of several views are averaged by their
    weights.

    Args:
        region_HW: bool, at the size of the picture, somewhere True.
        class_id: of the label map that `decision` decides for.
    """

    def __init__(self, region_HW: NDArray[np.bool_], class_id: int, decision: Decision) -> None:
        self.region_HW, self.class_id, self.decision = region_HW, class_id, decision
        self._weights: dict[tuple[Any, ...], Tensor] = {}

    def of(self, answers: Sequence[Answer]) -> Tensor:
        """Of the answers to one picture; a number on their device, with gradients where they have any."""
        from batchseg.segmentors.combined.fuse import class_probability

        total = sum(self.decision.weights[each.member] for each in answers)
        parts = []
        for each in answers:
            probability_HW = class_probability(each, self.decision, self.class_id)
            mean = (probability_HW * self._weights_on(probability_HW)).sum()
            parts.append(mean * (self.decision.weights[each.member] / total))
        return sum(parts[1:], start=parts[0])

    def _weights_on(self, grid_HW: Tensor) -> Tensor:
        """What each cell of a grid adds to the mean over the region, by the transpose of interpolating."""
        import torch
        from torch.nn.functional import interpolate

        key = (*grid_HW.shape, grid_HW.device)
        if key not in self._weights:
            region_HW = torch.from_numpy(self.region_HW).to(grid_HW.device).float()
            with torch.inference_mode(False), torch.enable_grad():
                cells = torch.zeros((1, 1, *grid_HW.shape), device=grid_HW.device, requires_grad=True)
                pixels = interpolate(cells, size=region_HW.shape, mode="bilinear", align_corners=False)
                (weights,) = torch.autograd.grad(pixels[0, 0], cells, region_HW / region_HW.sum())
            self._weights[key] = weights[0, 0]
        return self._weights[key]
