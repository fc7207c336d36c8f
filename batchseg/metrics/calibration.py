"""How far class probabilities can be trusted, from pixels whose truth is known: values that add.

ECE      expected calibration error with 15 bins of equal width, b / 15 < p <= (b + 1) / 15 of the highest
         probability p of a pixel: the mean over pixels of |accuracy - mean p| of their bin (Guo et al. 2017,
         "On Calibration of Modern Neural Networks"). torchmetrics' `MulticlassCalibrationError(norm="l1")`,
         but for p = 1, which has a bin of its own there.
Brier    the mean over pixels of the squared distance between the probabilities and the truth, summed over the
         classes, 0 to 2 (Brier 1950).
NLL      the mean over pixels of -log of the true class's probability, of which none counts as less than the
         epsilon of float32: scikit-learn's `log_loss` of float32.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

BINS = 15
FIGURES = ("probed_pixels", "ece", "brier", "nll", "truth_probability_p05")
Sums = NDArray[Any]  # whole numbers or float64
_ONE = 2**24  # 1 in fixed point: sums of integers are the same in any order
_LEAST = float(np.finfo(np.float32).eps)
# of a pixel: true and most probable class, their probabilities, and the squared distance from the truth
PIXEL = np.dtype(
    [("truth", "<i4"), ("predicted", "<i4"), ("top", "<f4"), ("true", "<f4"), ("squares", "<f8")]
)


@dataclass(frozen=True, eq=False)
class Calibration:
    """What probabilities said of some pixels, and what is true of these.

    The parts of a picture add, in any order, to what the picture has.

    Attributes:
        pixels_N: of type PIXEL.
    """

    pixels_N: NDArray[np.void]

    @classmethod
    def of(
        cls,
        p_CN: NDArray[np.float32],
        truth_N: NDArray[Any],
        likely_N: NDArray[Any],
        known_N: NDArray[np.bool_],
    ) -> Calibration:
        """Of N pixels, as far as they are known.

        Args:
            p_CN: probabilities of the classes, with a sum of 1.
            truth_N: true class ids; anything where they are not known.
            likely_N: what may be the most probable class, such as what was decided for; any id.
            known_N: which pixels count.
        """
        classes, pixel_N = len(p_CN), np.arange(p_CN.shape[1])
        truth_N, likely_N = (np.minimum(each, classes - 1).astype(np.intp) for each in (truth_N, likely_N))
        top_N, true_N = p_CN.max(0, initial=0), p_CN[truth_N, pixel_N]
        other_N = np.flatnonzero(p_CN[likely_N, pixel_N] < top_N)  # to look for the highest takes longest
        likely_N[other_N] = p_CN[:, other_N].argmax(0)
        # float64, so that the sum over the classes does not depend on how many pixels there are
        squares_N = np.einsum("cn,cn->n", p_CN, p_CN, dtype=np.float64) - 2.0 * true_N + 1.0
        pixels_N = np.empty(len(pixel_N), PIXEL)
        columns = (truth_N, likely_N, top_N, true_N, squares_N)
        for name, values in zip(PIXEL.names or (), columns, strict=True):
            pixels_N[name] = values
        return cls(pixels_N[known_N])

    def __add__(self, other: Calibration) -> Calibration:
        return Calibration(np.concatenate([self.pixels_N, other.pixels_N]))

    def figures(self) -> dict[str, float | int | None]:
        """The figures of FIGURES, by name, as `schema.IMAGES` has them; None where there are no pixels."""
        pixels, count = self.pixels_N, len(self.pixels_N)
        if not count:
            return {**dict.fromkeys(FIGURES), "probed_pixels": 0}
        true_N = pixels["true"].astype(np.float64)
        return {
            "probed_pixels": count,
            "ece": self._ece,
            "brier": _total(pixels["squares"]) / count,
            "nll": _total(-np.log(true_N.clip(_LEAST, 1))) / count,
            "truth_probability_p05": float(np.percentile(true_N, 5)),
        }

    def groups(self) -> dict[str, NDArray[Any]]:
        """The columns of `schema.CALIBRATION`, without the id: a group for each pair of classes and bin."""
        pixels = self.pixels_N
        keys = (pixels["truth"].astype(np.int64) << 32) + pixels["predicted"] * BINS + _bins(pixels["top"])
        key_G, group_N, pixels_G = np.unique(keys, return_inverse=True, return_counts=True)
        top_G, true_G = (
            np.bincount(group_N, _units(pixels[name]), len(key_G)) / _ONE for name in ("top", "true")
        )
        pair_G = key_G & (2**32 - 1)
        return {
            "truth": key_G >> 32,
            "predicted": pair_G // BINS,
            "bin": pair_G % BINS,
            "pixels": pixels_G,
            "top_sum": top_G,
            "truth_sum": true_G,
        }

    def sums(self) -> CalibrationSums:
        """What adds over images."""
        return CalibrationSums.of(self.groups())

    @property
    def _ece(self) -> float:
        """As of `CalibrationSums`, without grouping the pixels by class."""
        pixels, bin_N = self.pixels_N, _bins(self.pixels_N["top"])
        top_B = np.bincount(bin_N, _units(pixels["top"]), BINS) / _ONE
        right_B = np.bincount(bin_N[pixels["truth"] == pixels["predicted"]], minlength=BINS)
        return float(np.abs(top_B - right_B).sum()) / len(pixels)


@dataclass(frozen=True, eq=False)
class CalibrationSums:
    """Sums over the pixels of any number of images.

    Attributes:
        pixels_B, top_B, right_B: of each bin: how many, the sum of their highest probabilities, and how many
            are right.
        pixels_C, true_C: of each true class: how many, and the sum of its probabilities there. Classes that
            come later than any that was met are not among them.
    """

    pixels_B: Sums
    top_B: Sums
    right_B: Sums
    pixels_C: Sums
    true_C: Sums

    @classmethod
    def zeros(cls) -> CalibrationSums:
        """Those of no pixels: `sum(parts, start=CalibrationSums.zeros())`."""
        return cls(np.zeros(BINS), np.zeros(BINS), np.zeros(BINS), np.zeros(0), np.zeros(0))

    @classmethod
    def of(cls, groups: Mapping[str, NDArray[Any]]) -> CalibrationSums:
        """Of some rows of the table, by its columns. Raises ValueError for a bin that there is not."""
        truth_G, bin_G, pixels_G = groups["truth"], groups["bin"], groups["pixels"]
        right_G = pixels_G * (truth_G == groups["predicted"])
        bins = (np.bincount(bin_G, each, BINS) for each in (pixels_G, groups["top_sum"], right_G))
        classes = (np.bincount(truth_G, each) for each in (pixels_G, groups["truth_sum"]))
        return cls(*bins, *classes)

    def __add__(self, other: CalibrationSums) -> CalibrationSums:
        length = max(len(self.pixels_C), len(other.pixels_C))
        return CalibrationSums(
            self.pixels_B + other.pixels_B,
            self.top_B + other.top_B,
            self.right_B + other.right_B,
            _longer(self.pixels_C, length) + _longer(other.pixels_C, length),
            _longer(self.true_C, length) + _longer(other.true_C, length),
        )

    @property
    def pixels(self) -> int:
        return int(self.pixels_B.sum())

    @property
    def ece(self) -> float | None:
        """None without pixels."""
        return float(np.abs(self.top_B - self.right_B).sum()) / self.pixels if self.pixels else None

    def thresholds(self, classes: int) -> Sums:
        """How probable each class is on average where it is true, [C] of at least so many: where it is more
        probable than that, the model is sure of it (Northcutt et al. 2021, "Confident Learning").

        Infinite for a class that is true nowhere: nobody can tell when the model is sure of it.
        """
        found_C = np.full(max(classes, len(self.pixels_C)), np.inf)
        known = len(self.pixels_C)
        np.divide(self.true_C, self.pixels_C, out=found_C[:known], where=self.pixels_C > 0)
        return found_C


def _longer(sums_C: Sums, length: int) -> Sums:
    return np.pad(sums_C, (0, length - len(sums_C)))


def _bins(top_N: NDArray[Any]) -> NDArray[np.int64]:
    bin_N: NDArray[np.int64] = np.ceil(top_N.astype(np.float64) * BINS).astype(np.int64).clip(1, BINS) - 1
    return bin_N


def _units(values_N: NDArray[Any]) -> NDArray[np.float64]:
    """In fixed point, as whole numbers."""
    units_N: NDArray[np.float64] = np.rint(values_N.astype(np.float64) * _ONE)
    return units_N


def _total(values_N: NDArray[Any]) -> float:
    return float(_units(values_N).sum()) / _ONE
