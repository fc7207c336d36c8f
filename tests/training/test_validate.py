"""The temperature, against the minimum that scipy finds on the same pixels."""

from __future__ import annotations

import pytest
import torch
from scipy.optimize import minimize_scalar
from torch.nn import functional

from batchseg.metrics.confusion import ConfusionMatrix
from batchseg.training.validate import Validation


@pytest.mark.parametrize("sharpness", [0.5, 1.0, 3.0])
def test_the_temperature_is_the_likeliest(sharpness: float) -> None:
    generator = torch.Generator().manual_seed(4)
    logits = torch.randn(4000, 5, generator=generator)
    torch.manual_seed(5)
    truth = torch.distributions.Categorical(logits=logits).sample()
    found = Validation(ConfusionMatrix.zeros(5), [sharpness * logits], [truth])
    best = minimize_scalar(
        lambda value: float(functional.cross_entropy(sharpness * logits / value, truth)),
        bounds=(0.25, 8),
        method="bounded",
    )
    temperature, likelihood = found.calibration()
    assert temperature == pytest.approx(best.x, rel=0.02)
    assert likelihood == pytest.approx(best.fun, abs=1e-4)


def test_nothing_to_fit_leaves_logits_as_they_are() -> None:
    assert Validation(ConfusionMatrix.zeros(5)).calibration()[0] == 1
