"""Sureness against confidence, which has all the pixels at once."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from batchseg.segmentors.base import Confidence
from batchseg.segmentors.combined.sureness import Sureness
from batchseg.segmentors.network.confidence import confidence


def probabilities(classes: int, pixels: int, sharpness: float = 3.0) -> Tensor:
    generator = torch.Generator().manual_seed(classes * pixels)
    return (sharpness * torch.randn(classes, pixels, generator=generator)).softmax(0)


def assert_equal(one: Sureness, other: Sureness) -> None:
    for name in ("pixels", "low", "top", "entropy"):
        assert getattr(one, name) == getattr(other, name), name
    assert (one.entropy_bins == other.entropy_bins).all()


@given(st.integers(1, 40), st.integers(1, 300), st.floats(0, 20))
@settings(deadline=None)
def test_equals_confidence(classes, pixels, sharpness):
    values = probabilities(classes, pixels, sharpness)
    actual, expected = Sureness.of(values).confidence(), confidence(values[:, None])
    assert actual.mean == pytest.approx(expected.mean, abs=1e-6)
    assert actual.entropy_mean == pytest.approx(expected.entropy_mean, abs=1e-6)
    assert actual.entropy_p95 == pytest.approx(expected.entropy_p95, abs=1 / 8192 + 1e-6)
    assert actual.low_fraction == pytest.approx(expected.low_fraction, abs=1e-6)


@given(st.integers(2, 30), st.lists(st.integers(0, 60), min_size=1, max_size=6), st.floats(0, 20))
@settings(deadline=None)
def test_does_not_depend_on_how_a_picture_was_cut(classes, lengths, sharpness):
    values = probabilities(classes, sum(lengths), sharpness)
    whole = Sureness.of(values)
    parts = [Sureness.of(part) for part in torch.split(values, lengths, dim=1)]
    assert_equal(sum(parts, start=Sureness.zeros()), whole)
    assert_equal(sum(reversed(parts), start=Sureness.zeros()), whole)
    shuffled = torch.randperm(sum(lengths), generator=torch.Generator().manual_seed(0))
    assert_equal(Sureness.of(values[:, shuffled]), whole)


def test_certain_and_uniform_pixels_are_exact():
    certain, uniform = torch.eye(4), torch.full((4, 7), 0.25)
    assert Sureness.of(certain).confidence() == Confidence(1.0, 0.0, 0.0, 0.0)
    assert Sureness.of(uniform).confidence() == Confidence(0.25, 1.0, 1.0, 1.0)
    assert Sureness.of(torch.ones(1, 3)).confidence() == Confidence(1.0, 0.0, 0.0, 0.0)


def test_not_a_number_is_an_error():
    values = probabilities(3, 10)
    values[1, 4] = torch.nan
    with pytest.raises(ValueError, match="not numbers"):
        Sureness.of(values)
