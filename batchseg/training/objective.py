"""What a training minimises: cross-entropy + half the soft Dice loss; with prompts their presence, too."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from batchseg.training.points import Points

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
    log_BCN = logits_BCHW.log_softmax(1).flatten(2)
    known_BN = (labels_BHW != classes).flatten(1)
    class_BN = labels_BHW.flatten(1).clamp(max=classes - 1)
    log_true_BN = log_BCN.gather(1, class_BN[:, None])[:, 0]
    known = known_BN.to(log_BCN)

    def by_class(values_BN: Tensor) -> Tensor:
        return values_BN.new_zeros(classes).index_add(0, class_BN.flatten(), values_BN.flatten())

    support_C, both_C = by_class(known), by_class(log_true_BN.exp() * known)
    present = support_C > 0
    if not present.any():
        return logits_BCHW.sum() * 0
    predicted_C = torch.bmm(log_BCN.exp(), known[..., None]).sum((0, 2))
    dice_C = 2 * both_C / (predicted_C + support_C + 1e-6)
    weights_BN = weights_C[class_BN] * known
    cross = -(log_true_BN * weights_BN).sum() / weights_BN.sum().clamp(min=1e-6)
    return cross + DICE_SHARE * (1 - dice_C[present].mean())


def prompt_loss(
    logits_RP: Tensor, presence_R: Tensor, points: Points, weights_2: Tensor | None = None
) -> Tensor:
    """Binary cross-entropy, the soft Dice loss of each mask, and 0.3 of the presence's cross-entropy.

    Void counts nowhere. Dice is smoothed by one pixel, so that it falls to 0 where nothing is meant and
    nothing is found.

    Args:
        logits_RP: at the points.
        presence_R: logits of something being there.
        weights_2: float32, of what is not meant and what is, in the cross-entropy.
    """
    logits_RP = logits_RP.float()
    pixels_RP, meant_RP = points.pixels_RP * (points.labels_RP < VOID), (points.labels_RP == 1).float()
    weights_RP = pixels_RP if weights_2 is None else pixels_RP * weights_2[meant_RP.long()]
    cross_RP = functional.binary_cross_entropy_with_logits(logits_RP, meant_RP, reduction="none")
    cross = (cross_RP * weights_RP).sum() / weights_RP.sum().clamp(min=1e-6)
    found_RP, meant_RP = logits_RP.sigmoid() * pixels_RP, meant_RP * pixels_RP
    both_R = (logits_RP.sigmoid() * meant_RP).sum(1)
    dice_R = (2 * both_R + 1) / (found_RP.sum(1) + meant_RP.sum(1) + 1)
    presence_R = functional.binary_cross_entropy_with_logits(
        presence_R.float(), points.is_meant_R.float(), reduction="none"
    )
    each_R = (PROMPT_DICE_SHARE * (1 - dice_R) + PRESENCE_SHARE * presence_R) * points.is_known_R
    return cross + each_R.sum() / points.is_known_R.sum().clamp(min=1)
