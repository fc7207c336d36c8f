"""Networks of one output, whose sigmoid tells one class from the background."""

from __future__ import annotations

import torch
from torch import Tensor


def with_background(logits_B1HW: Tensor) -> Tensor:
    """Logits [B, 2, H, W] of background and the class, whose softmax is the sigmoid of the one output.

    Background has a map of zeros. That interpolates to itself, so a pixel is of the class where its
    interpolated logit is above zero, which is where the sigmoid is above 0.5.
    """
    return torch.cat([torch.zeros_like(logits_B1HW), logits_B1HW], 1)
