"""confidence against numpy and scipy."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import entropy
from torch import Tensor

from batchseg.segmentors.base import Confidence
from batchseg.segmentors.network.confidence import confidence, confidence_of_logits

DEVICES = ["cpu"] + ["cuda"] * torch.cuda.is_available()


def probabilities(classes: int, height: int, width: int, sharpness: float = 3.0) -> Tensor:
    generator = torch.Generator().manual_seed(classes * height * width)
    return (sharpness * torch.randn(classes, height, width, generator=generator)).softmax(0)


def expected(probabilities_CHW: Tensor) -> Confidence:
    values = probabilities_CHW.double().cpu().numpy()
    top = values.max(0)
    relative = entropy(values, axis=0) / math.log(len(values)) if len(values) > 1 else np.zeros_like(top)
    return Confidence(top.mean(), relative.mean(), np.percentile(relative, 95), (top < 0.5).mean())


def assert_close(actual: Confidence, wanted: Confidence) -> None:
    for name in Confidence.__slots__:
        assert getattr(actual, name) == pytest.approx(getattr(wanted, name), abs=1e-5), name


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("classes", [1, 2, 11, 150])
@pytest.mark.parametrize("size", [(1, 1), (1, 2), (3, 7), (64, 48)])
def test_equals_numpy_and_scipy(classes, size, device):
    values = probabilities(classes, *size)
    assert_close(confidence(values.to(device)), expected(values))


@given(st.integers(1, 5), st.integers(1, 45), st.floats(0, 20))
@settings(deadline=None)
def test_equals_numpy_and_scipy_for_any_number_of_pixels(classes, pixels, sharpness):
    values = probabilities(classes, 1, pixels, sharpness)
    assert_close(confidence(values), expected(values))


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("size", [(1, 1), (64, 48), (300, 400)])
@pytest.mark.parametrize("classes", [2, 11, 150])
def test_of_logits_is_that_of_their_softmax(classes, size, device):
    logits = 4 * torch.randn(classes, *size, generator=torch.Generator().manual_seed(1))
    logits[0, 0] = -torch.inf  # a class that is switched off there
    assert_close(confidence_of_logits(logits.to(device)), expected(logits.double().softmax(0)))


def test_logits_that_are_no_numbers_are_refused():
    logits = torch.zeros(3, 20, 20)
    logits[1, 7, 9] = torch.nan
    with pytest.raises(ValueError, match="NaN"):
        confidence_of_logits(logits)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_types_are_computed_in_float32(dtype):
    values = probabilities(11, 30, 20).to(dtype)
    assert confidence(values) == confidence(values.float())


def test_certainty():
    values = torch.zeros(4, 5, 6)
    values[2] = 1
    assert confidence(values) == Confidence(mean=1.0, entropy_mean=0.0, entropy_p95=0.0, low_fraction=0.0)


def test_ignorance():
    assert_close(confidence(torch.full((4, 5, 6), 0.25)), Confidence(0.25, 1.0, 1.0, 1.0))


def test_a_network_that_has_lost_its_numbers_is_no_network():
    probabilities = torch.full((3, 20, 20), 1 / 3)
    probabilities[1, 7, 9] = torch.nan
    with pytest.raises(ValueError, match="NaN"):
        confidence(probabilities)


def test_exactly_half_is_not_low():
    assert confidence(torch.full((2, 3, 3), 0.5)).low_fraction == 0.0


def test_the_layout_in_memory_does_not_matter():
    values = probabilities(11, 30, 20)
    assert_close(confidence(values.permute(1, 2, 0).contiguous().permute(2, 0, 1)), confidence(values))


def test_values_are_plain_numbers_between_zero_and_one():
    result = confidence(probabilities(150, 8, 8, sharpness=0.0), background=0)
    for name in Confidence.__slots__:
        assert type(getattr(result, name)) is float
        assert 0 <= getattr(result, name) <= 1
