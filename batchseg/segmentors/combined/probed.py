"""Probes: class probabilities at some pixels of a picture, interpolated as they are decided by."""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce

import torch
from torch import Tensor

from batchseg.segmentors.base import Probes
from batchseg.segmentors.combined.fuse import Grid, as_probabilities, normalised
from batchseg.segmentors.combined.probe_grid import ProbeGrid
from batchseg.segmentors.network.points import bilinear_points


def probe_whole(grids: Sequence[Grid], size: tuple[int, int], classes: int) -> Probes:
    """Those of a picture that is decided at once, of which the grids are all that was said.

    Logits are interpolated before their softmax, probabilities as they are.
    """
    grid = ProbeGrid.of(size)
    points = [bilinear_points(each.maps_CHW, size, grid.row_R, grid.column_K) for each in grids]
    several = len(points) > 1
    p_CRK = normalised(reduce(torch.add, points)) if several else as_probabilities(grids[0].kind, points[0])
    return grid.probes(of_classes(p_CRK, classes).cpu().numpy())


def of_classes(p_CRK: Tensor, classes: int) -> Tensor:
    """Without void, where that is a class more: its share goes to the others, or evenly if they have none."""
    if len(p_CRK) == classes:
        return p_CRK
    left_RK = 1 - p_CRK[classes]  # no sum over the classes, whose bits could depend on the number of probes
    return torch.where(left_RK > 0, p_CRK[:classes] / left_RK, 1 / classes)
