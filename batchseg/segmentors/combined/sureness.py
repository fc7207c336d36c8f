"""How sure a model was of the parts of a picture, as a value that adds.

Its sums are integers: they are the same however a picture was cut into parts, and in whichever order the
parts are added.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from batchseg.segmentors.base import Confidence

if TYPE_CHECKING:
    from torch import Tensor

_BINS = 4096  # the first is an entropy of 0, the last one of 1
_ONE = 2**24  # 1 in fixed point: every float32 from 0.5 to 1 has a number of its own
_LOW = 0.5
_SMALLEST = 1e-300


@dataclass(frozen=True, eq=False)
class Sureness:
    """Sums over pixels.

    Attributes:
        pixels: how many.
        low: pixels whose best class is less probable than 0.5.
        top: the sum of the probabilities of their best classes, in units of 2^-24.
        entropy: the sum of their entropies, divided by log(C), in units of 2^-24.
        entropy_bins: pixels by entropy, int64 [4096]; bin b holds those nearest to b / 4095.
        contested: pixels that two classes or more claim against the background; None: nobody counted.
    """

    pixels: int
    low: int
    top: int
    entropy: int
    entropy_bins: NDArray[np.int64]
    contested: int | None = None

    @classmethod
    def zeros(cls) -> Sureness:
        """That of no pixels: `sum(parts, start=Sureness.zeros())`."""
        return cls(0, 0, 0, 0, np.zeros(_BINS, np.int64))

    @classmethod
    def of(
        cls,
        probabilities_CN: Tensor,
        background: int | None = None,
        factors: Sequence[float] | None = None,
    ) -> Sureness:
        """That of N pixels, from class probabilities: floating point, on any device, summing to one over C.

        Args:
            background, factors: as in `network.confidence`.

        Raises:
            ValueError: there is a NaN among them, which every class would win.
        """
        top_N, entropy_N = _top_and_entropy(probabilities_CN)
        if bool(top_N.isnan().any()):
            raise ValueError("its scores are not numbers (NaN); are there such among its weights?")
        # to the nearest unit: rounding in the last places of a float64 leaves integers as they are
        top = (top_N * _ONE).round().long()
        entropy = (entropy_N * _ONE).round().long()
        bin_N = (entropy * (_BINS - 1) + _ONE // 2) // _ONE
        counts = bin_N.bincount(minlength=_BINS).cpu().numpy()
        claimed = None
        if background is not None:
            from batchseg.segmentors.network.confidence import contested

            claimed = int(contested(probabilities_CN, background, factors).sum())
        low = int((top_N < _LOW).sum())
        return cls(len(top), low, int(top.sum()), int(entropy.sum()), counts, claimed)

    def __add__(self, other: Sureness) -> Sureness:
        return Sureness(
            self.pixels + other.pixels,
            self.low + other.low,
            self.top + other.top,
            self.entropy + other.entropy,
            self.entropy_bins + other.entropy_bins,
            self._contested_with(other),
        )

    def _contested_with(self, other: Sureness) -> int | None:
        """Nobody knows where one of them was not counted, as in parts of earlier versions."""
        counted = [each.contested for each in (self, other) if each.pixels]
        known = [count for count in counted if count is not None]
        return sum(known) if known and len(known) == len(counted) else None

    def confidence(self) -> Confidence:
        """The figures of at least one pixel. The 95th percentile is exact to 1 / 8192.

        It interpolates linearly between ranks, as `numpy.percentile` does.
        """
        below, hundredths = divmod((self.pixels - 1) * 95, 100)
        ranks = [below, min(below + 1, self.pixels - 1)]
        lower, upper = np.searchsorted(self.entropy_bins.cumsum(), ranks, side="right") / (_BINS - 1)
        return Confidence(
            mean=self.top / _ONE / self.pixels,
            entropy_mean=self.entropy / _ONE / self.pixels,
            entropy_p95=float(lower + (upper - lower) * hundredths / 100),
            low_fraction=self.low / self.pixels,
            contested_fraction=None if self.contested is None else self.contested / self.pixels,
        )


def _top_and_entropy(probabilities_CN: Tensor) -> tuple[Tensor, Tensor]:
    """The highest probability, and Shannon's entropy divided by log(C), float64 [N] each.

    An entropy of 0 is certain, 1 is uniform; with one class it is 0.
    """
    import torch

    from batchseg.segmentors.network.bilinear import chunk_elements

    classes = len(probabilities_CN)
    # a few pixels at a time stay in a core's cache, which is several times as fast
    some = max(1, chunk_elements(probabilities_CN.device) // (8 * classes))
    tops, entropies = [], []
    for some_CM in torch.split(probabilities_CN, some, dim=1):
        values = some_CM.double()
        tops.append(values.amax(0))
        # 0 log 0 is 0; quicker than torch.special.xlogy
        entropies.append(-values.clamp(min=_SMALLEST).log_().mul_(values).sum(0))
    entropy_N = torch.cat(entropies) / (math.log(classes) or 1.0)
    return torch.cat(tops), entropy_N.clamp(0, 1)  # rounding can overstep
