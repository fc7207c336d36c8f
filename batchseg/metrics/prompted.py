"""How well what was meant was found: gIoU, cIoU and no-target accuracy, from sums over images.

They are those of Liu, Ding and Jiang 2023, "GRES: Generalized Referring Expression Segmentation". Only pixels
with truth count, as in every other figure.
"""

from __future__ import annotations

import numpy as np

from batchseg.metrics.class_sums import ClassSums, Numbers, Scores, ratio

MEANT = 1  # the class of what a prompt names; 0 is all else
SUMMED = 6


def prompt_ious(sums: ClassSums) -> Scores:
    """IoU of what was meant in each image, [...]: 1 where it is in neither truth nor mask; NaN without truth.

    Args:
        sums: of each image, [..., C] each.
    """
    ious = sums.scores()["iou"][..., MEANT]
    return np.where(sums.support.sum(axis=-1) > 0, np.where(np.isnan(ious), 1.0, ious), np.nan)


def prompt_iou(sums: ClassSums) -> float | None:
    """That of one image, whose sums are [C] each; None without truth."""
    iou = float(prompt_ious(sums))
    return None if np.isnan(iou) else iou


def prompt_sums(sums: ClassSums) -> Scores:
    """What adds up over images, [N, 6]; zeros for one without truth.

    One for the image, its `prompt_ious`, the pixels of what was meant in both truth and mask, those in
    either, one where the truth has none, and one where the mask has none either.

    Args:
        sums: of each image, [N, C] each.
    """
    ious_N = prompt_ious(sums)
    both_N, truth_N, mask_N = (each[:, MEANT] for each in (sums.correct, sums.support, sums.predicted))
    absent_N = truth_N == 0
    columns = (np.ones(len(ious_N)), ious_N, both_N, truth_N + mask_N - both_N, absent_N)
    table = np.column_stack([*columns, absent_N & (mask_N == 0)])
    return np.where(np.isnan(ious_N)[:, None], 0.0, table)


def prompt_figures(totals: Numbers) -> dict[str, Scores]:
    """The figures of `config.PROMPT_METRICS`, [...] each; NaN where there is nothing that one is of.

    Args:
        totals: sums of `prompt_sums` over images, [..., 6].
    """
    images, ious, both, either, absent, left_empty = np.moveaxis(np.asarray(totals, np.float64), -1, 0)
    return {
        "giou": ratio(ious, images),
        "ciou": ratio(both, either),
        "no_target_accuracy": ratio(left_empty, absent),
    }
