"""Decide from probabilities that were kept, and take probes of them: numpy alone, and no model."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from batchseg.images.probability_file import ONE, Codes
from batchseg.images.raster import Area
from batchseg.segmentors.base import Probes
from batchseg.segmentors.combined.decision import Decision
from batchseg.segmentors.combined.probe_grid import ProbeGrid


def decide_codes(codes: Codes, decision: Decision) -> tuple[NDArray[Any], NDArray[np.bool_]]:
    """The label map [h, w] of a rectangle, and where it has no data, which is void.

    The classes that were kept are those of a first member, whose `groups` say what is merged. Of the two best
    classes alone none is.
    """
    has_data_HW = codes.p_KHW.max(0) > 0
    if codes.classes_KHW is None:
        labels_HW, best_HW = _of_all(codes.p_KHW, decision)
    else:
        labels_HW, best_HW = _of_two(codes.p_KHW, codes.classes_KHW, decision)
    labels_HW = labels_HW.astype(np.min_scalar_type(decision.classes))
    if decision.none_below is not None:
        labels_HW[best_HW.astype(np.float32) < decision.none_below * ONE] = decision.classes
    labels_HW[~has_data_HW] = decision.classes
    return labels_HW, ~has_data_HW


def _of_all(p_CHW: NDArray[Any], decision: Decision) -> tuple[NDArray[Any], NDArray[Any]]:
    """The best class of each pixel, and the highest of their codes."""
    p_CHW = _merged(p_CHW, decision)
    weighed_CHW = p_CHW
    if decision.factors is not None:
        weighed_CHW = p_CHW * _factors(decision)[: len(p_CHW), None, None]
    return weighed_CHW.argmax(0), p_CHW.max(0)


def _merged(p_CHW: NDArray[Any], decision: Decision) -> NDArray[Any]:
    """The codes of the label map's classes, and of void where that is a class more."""
    group = decision.groups[0]
    if group is None:
        return p_CHW
    to_C = [*group, decision.classes][: len(p_CHW)]  # void stays that
    sums_CHW = np.zeros((max(to_C) + 1, *p_CHW.shape[1:]), np.uint16)
    for to, p_HW in zip(to_C, p_CHW, strict=True):
        sums_CHW[to] += p_HW
    return sums_CHW


def _of_two(
    p_2HW: NDArray[Any], classes_2HW: NDArray[Any], decision: Decision
) -> tuple[NDArray[Any], NDArray[Any]]:
    first_HW, second_HW = classes_2HW
    if decision.factors is None:
        return first_HW, p_2HW[0]
    one_HW, other_HW = p_2HW * _factors(decision)[classes_2HW]
    wins_HW = (other_HW > one_HW) | ((other_HW == one_HW) & (second_HW < first_HW))
    return np.where(wins_HW, second_HW, first_HW), p_2HW[0]


def _factors(decision: Decision) -> NDArray[np.float32]:
    """Of each class, and of void, where that is a class more."""
    return np.array([*(decision.factors or ()), 1.0], np.float32)


class CodeProbes:
    """Takes the probes of a picture from its codes, square by square."""

    def __init__(self, picture_hw: tuple[int, int], decision: Decision) -> None:
        self.decision, self.grid = decision, ProbeGrid.of(picture_hw)
        self.p_CRK = np.zeros((decision.classes, *self.grid.shape), np.float32)
        self.has_all = True

    def take(self, square: Area, codes: Codes) -> None:
        """Of two classes a pixel there are no probes."""
        self.has_all &= codes.classes_KHW is None
        if self.has_all:
            row_R, column_K = self.grid.within(square).inside
            some_CRK = _merged(codes.p_KHW[:, row_R[:, None], column_K], self.decision)
            rows, columns = self.grid.slices(square)
            self.p_CRK[: len(some_CRK), rows, columns] = some_CRK[: self.decision.classes]

    def probes(self) -> Probes | None:
        """Once all squares were taken; None where there are none."""
        if not self.has_all:
            return None
        total_RK = self.p_CRK.sum(0)  # not 1: each was rounded, and void has none
        even = np.float32(1 / self.decision.classes)
        p_CRK = np.where(total_RK > 0, self.p_CRK / np.maximum(total_RK, 1), even)
        return replace(self.grid.probes(p_CRK), is_rounded=True)
