"""The loss, against torch's cross-entropy and a soft Dice written out with numpy."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn import functional

from batchseg.training.objective import segmentation_loss

CLASSES = 4


def soft_dice(probabilities_BCHW: np.ndarray, labels_BHW: np.ndarray) -> float:
    """Milletari et al. 2016, class by class, over the classes of the truth; void counts nowhere."""
    known, scores = labels_BHW != CLASSES, []
    for index in range(CLASSES):
        truth, predicted = (labels_BHW == index)[known], probabilities_BCHW[:, index][known]
        if truth.any():
            scores.append(2 * (truth * predicted).sum() / (truth.sum() + predicted.sum()))
    return float(np.mean(scores))


@pytest.mark.parametrize("weights", [[1.0, 1.0, 1.0, 1.0], [0.2, 3.0, 1.0, 0.0]], ids=str)
def test_it_is_cross_entropy_and_half_of_dice(weights: list[float]) -> None:
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(2, CLASSES, 5, 6, generator=generator)
    labels = torch.randint(0, CLASSES + 1, (2, 20, 24), generator=generator)
    labels[labels == 2] = 1  # a class that the truth does not have
    enlarged = functional.interpolate(logits, (20, 24), mode="bilinear", align_corners=False)
    cross = functional.cross_entropy(enlarged, labels, torch.tensor(weights), ignore_index=CLASSES)
    dice = soft_dice(enlarged.softmax(1).double().numpy(), labels.numpy())
    loss = segmentation_loss(logits, labels, torch.tensor(weights))
    assert float(loss) == pytest.approx(float(cross) + 0.5 * (1 - dice), abs=1e-5)


def test_without_truth_it_is_nothing_and_has_a_gradient() -> None:
    logits = torch.randn(1, CLASSES, 4, 4, requires_grad=True)
    loss = segmentation_loss(logits, torch.full((1, 8, 8), CLASSES), torch.ones(CLASSES))
    loss.backward()
    assert loss.item() == 0
    assert logits.grad is not None and not logits.grad.any()
