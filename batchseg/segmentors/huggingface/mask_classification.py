"""Class scores of models that answer with queries, each a class and a mask (Cheng et al., MaskFormer)."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

# Mask2Former's post-processing brings every mask to this size, whatever the model's input
MASK2FORMER_SIZE = (384, 384)


def query_logits(outputs: Any) -> tuple[Tensor, Tensor]:
    """Class logits [B, Q, C + 1] and mask logits [B, Q, H, W], whatever the model calls them."""
    if "pred_masks" in outputs:  # DETR
        return outputs["logits"], outputs["pred_masks"]
    return outputs["class_queries_logits"], outputs["masks_queries_logits"]


def class_scores(
    class_logits_BQK: Tensor, mask_logits_BQHW: Tensor, size: tuple[int, int] | None = None
) -> Tensor:
    """Scores [B, C, H, W], float32 and not negative: over all queries, class probability x mask probability.

    The last of the K = C + 1 classes means "no object" and is left out.

    Args:
        size: height and width the masks are interpolated to first; None leaves them.
    """
    masks_BQHW = mask_logits_BQHW.float()
    if size is not None:
        masks_BQHW = functional.interpolate(masks_BQHW, size=size, mode="bilinear", align_corners=False)
    classes_BQC = class_logits_BQK.float().softmax(-1)[..., :-1]
    return torch.einsum("bqc,bqhw->bchw", classes_BQC, masks_BQHW.sigmoid())
