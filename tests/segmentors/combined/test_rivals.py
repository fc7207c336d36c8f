"""Labels of overlapping windows, for which few classes are interpolated: to the bit those of all classes."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import settings as settings_of
from hypothesis import strategies as st
from torch.nn import functional

from batchseg.config.looks import Tiling, Views
from batchseg.segmentors.base import Prediction, Scores
from batchseg.segmentors.combined import mosaic
from batchseg.segmentors.combined.decision import Answer, Decision
from batchseg.segmentors.combined.looks import Looks
from batchseg.segmentors.threshold import Identity
from tests.segmentors.largest_tensor import LargestTensor

CASES = st.fixed_dictionaries(
    {
        "seed": st.integers(0, 10_000),
        "size": st.tuples(st.integers(20, 90), st.integers(20, 90)),
        "side": st.sampled_from([33, 48, 64]),
        "overlap": st.sampled_from([0, 0.25, 0.5, 0.7]),
        "blend": st.sampled_from(["gaussian", "constant"]),
        "classes": st.sampled_from([2, 5, 30]),
        "cells": st.sampled_from([3, 8, 16, 48, 64]),
        "features": st.sampled_from([1, 2, 4, 16]),
        "below": st.sampled_from([None, 0.3, 0.6]),
        "level": st.sampled_from([0.0, 1.0, 6.0]),
    }
)


def scores_of(window: int, case: dict) -> Scores:
    """Noise of some smoothness; with a level of 0 all classes are equal everywhere."""
    generator = torch.Generator().manual_seed(case["seed"] + window)
    few = max(1, case["cells"] // case["features"])
    noise = torch.randn(1, case["classes"], few, few, generator=generator) * case["level"]
    return Scores("logits", functional.interpolate(noise, (case["cells"],) * 2, mode="bilinear")[0])


def predicted(case: dict) -> Prediction:
    tiling = Tiling(size=case["side"], overlap=case["overlap"], blend=case["blend"])
    decision = Decision(case["classes"], none_below=case["below"])
    canvas = Looks([Identity()], [Identity()], decision, tiling, Views()).canvas(case["size"])
    assert isinstance(canvas, mosaic.Mosaic)
    for window in range(len(canvas.windows.tops) * len(canvas.windows.lefts)):
        canvas.add(window, Answer(scores_of(window, case)))
    return canvas.prediction()


@given(CASES)
@settings_of(max_examples=150)
def test_no_class_is_left_out_that_wins(case: dict) -> None:
    found = predicted(case)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(mosaic, "FEW", 0.0)  # every class everywhere
        expected = predicted(case)
    assert np.array_equal(found.labels_HW, expected.labels_HW)
    assert found.confidence == expected.confidence


def test_few_classes_are_interpolated_where_few_can_win() -> None:
    case = {"seed": 1, "size": (384, 384), "side": 256, "overlap": 0.5, "blend": "gaussian", "classes": 150}
    with LargestTensor() as largest:
        predicted({**case, "cells": 32, "features": 8, "below": None, "level": 20.0})
    assert largest.bytes <= 4 * 2**20  # all 150 maps of a block of 128 x 128 would take 10 MB


def test_scores_that_are_no_numbers() -> None:
    looks = Looks([Identity()], [Identity()], Decision(2), Tiling(size=16), Views())
    with pytest.raises(ValueError, match="not numbers"):
        looks.canvas((16, 16)).add(0, Answer(Scores("logits", torch.full((2, 4, 4), torch.nan))))
