"""What a training minimises: cross-entropy + half the soft Dice loss."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

DICE_SHARE = 0.5


def segmentation_loss(logits_BChw: Tensor, labels_BHW: Tensor, weights_C: Tensor) -> Tensor:
    """The loss at the labels' resolution; pixels of class C, void, count nowhere.

    Soft Dice (Milletari et al. 2016) is taken over all pixels of the batch, as the mean of the classes in its
    truth.

    Args:
        logits_BChw: enlarged bilinearly, as for a mask.
        labels_BHW: int64, 0 .. C.
        weights_C: float32, of the cross-entropy.
    """
    logits_BCHW = functional.interpolate(
        logits_BChw.float(), labels_BHW.shape[1:], mode="bilinear", align_corners=False
    )
    classes = logits_BCHW.shape[1]
    log_BCHW = logits_BCHW.log_softmax(1)
    known_B1HW = (labels_BHW != classes)[:, None]
    truth_BCHW = torch.zeros_like(log_BCHW).scatter_(
        1, labels_BHW.clamp(max=classes - 1)[:, None], known_B1HW.float()
    )
    cross_C = -(log_BCHW * truth_BCHW).sum((0, 2, 3))
    support_C = truth_BCHW.sum((0, 2, 3))
    predicted_BCHW = log_BCHW.exp() * known_B1HW
    dice_C = (
        2 * (predicted_BCHW * truth_BCHW).sum((0, 2, 3)) / (predicted_BCHW.sum((0, 2, 3)) + support_C + 1e-6)
    )
    present = support_C > 0
    if not present.any():
        return logits_BCHW.sum() * 0
    cross = (weights_C * cross_C).sum() / (weights_C * support_C).sum().clamp(min=1e-6)
    return cross + DICE_SHARE * (1 - dice_C[present].mean())
