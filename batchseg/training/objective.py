"""What a training minimises: cross-entropy + half the soft Dice loss; with prompts their presence, too."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

DICE_SHARE = 0.5
PRESENCE_SHARE = 0.3
PROMPT_DICE_SHARE = 1.0
VOID = 2  # of what is meant and what is not


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


def prompt_loss(
    logits_Bhw: Tensor, presence_B: Tensor, labels_BHW: Tensor, weights_2: Tensor | None = None
) -> Tensor:
    """Binary cross-entropy, the soft Dice loss of each image, and 0.3 of the presence's cross-entropy.

    At the labels' resolution; pixels of void count nowhere. Dice is smoothed by one pixel, so that it falls
    to 0 where nothing is meant and nothing is found.

    Args:
        logits_Bhw: enlarged bilinearly, as for a mask.
        presence_B: logits of something being there.
        labels_BHW: int64: 0, 1 where something is meant, 2 void.
        weights_2: float32, of these two in the cross-entropy.
    """
    logits_BHW = functional.interpolate(
        logits_Bhw.float()[:, None], labels_BHW.shape[1:], mode="bilinear", align_corners=False
    )[:, 0]
    known_BHW, meant_BHW = (labels_BHW < VOID).float(), (labels_BHW == 1).float()
    weights_BHW = known_BHW
    if weights_2 is not None:
        weights_BHW = known_BHW * weights_2[meant_BHW.long()]
    cross_BHW = functional.binary_cross_entropy_with_logits(logits_BHW, meant_BHW, reduction="none")
    cross = (cross_BHW * weights_BHW).sum() / weights_BHW.sum().clamp(min=1e-6)
    found_BHW = logits_BHW.sigmoid() * known_BHW
    both_B = (found_BHW * meant_BHW).sum((1, 2))
    dice_B = (2 * both_B + 1) / (found_BHW.sum((1, 2)) + meant_BHW.sum((1, 2)) + 1)
    presence_B = functional.binary_cross_entropy_with_logits(
        presence_B.float(), meant_BHW.amax((1, 2)), reduction="none"
    )
    has_truth_B = known_BHW.amax((1, 2))  # an image without any says nothing
    each_B = (PROMPT_DICE_SHARE * (1 - dice_B) + PRESENCE_SHARE * presence_B) * has_truth_B
    return cross + each_B.sum() / has_truth_B.sum().clamp(min=1)
