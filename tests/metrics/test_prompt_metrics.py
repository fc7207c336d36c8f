"""gIoU, cIoU and no-target accuracy against a loop over images, as GRES defines them."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from batchseg.config.base import PROMPT_METRICS
from batchseg.metrics.class_sums import ClassSums
from batchseg.metrics.confusion import ConfusionMatrix
from batchseg.metrics.prompted import prompt_figures, prompt_iou, prompt_ious, prompt_sums

IGNORED = ABSTAINS = 2
pixels = st.lists(st.tuples(st.integers(0, IGNORED), st.integers(0, ABSTAINS)), min_size=1, max_size=12)
some_images = st.lists(pixels, max_size=6)


def matrix_of(image: list[tuple[int, int]]) -> ConfusionMatrix:
    truth, predicted = np.array(image, np.uint8).T[:, None]
    return ConfusionMatrix.from_maps(predicted, truth, 2)


def stacked(matrices: list[ConfusionMatrix]) -> ClassSums:
    names = ("correct", "support", "predicted")
    sums = [each.class_sums for each in matrices]
    return ClassSums(
        **{name: np.array([getattr(each, name) for each in sums]).reshape(-1, 2) for name in names}
    )


@given(some_images)
def test_figures_equal_a_loop(images: list[list[tuple[int, int]]]) -> None:
    ious, unions, intersections, empty = [], 0, 0, []
    for image in images:
        known = [(truth, predicted) for truth, predicted in image if truth != IGNORED]
        if not known:
            ious.append(None)
            continue
        both = sum(pair == (1, 1) for pair in known)
        either = sum(1 in pair for pair in known)
        ious.append(both / either if either else 1.0)
        intersections, unions = intersections + both, unions + either
        if not any(truth for truth, _ in known):
            empty.append(not any(predicted == 1 for _, predicted in known))
    matrices = [matrix_of(image) for image in images]
    assert [prompt_iou(each.class_sums) for each in matrices] == ious
    sums = stacked(matrices)
    assert [None if np.isnan(iou) else iou for iou in prompt_ious(sums)] == ious
    found = prompt_figures(prompt_sums(sums).sum(axis=0))
    counted = [iou for iou in ious if iou is not None]
    expected = {
        "giou": np.mean(counted) if counted else np.nan,
        "ciou": intersections / unions if unions else np.nan,
        "no_target_accuracy": np.mean(empty) if empty else np.nan,
    }
    assert tuple(found) == PROMPT_METRICS
    np.testing.assert_allclose([float(found[name]) for name in expected], list(expected.values()), atol=1e-12)
