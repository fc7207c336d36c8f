"""Polygons that are simplified together, so that neighbours keep their common border."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from batchseg.images.outlines import Geometries, load_shapely
from batchseg.images.regions import Numbers, regions

TOGETHER = 20_000  # polygons that are simplified at once: four times as many take nine times as long


def without_gaps(numbers_HW: Numbers, count: int) -> Numbers:
    """The map with further numbers in place of 0, from `count` + 1 on: then every line is a common border."""
    pieces_HW = regions(numbers_HW)
    is_free = np.zeros(int(pieces_HW.max(initial=-1)) + 1, np.bool_)
    is_free[pieces_HW[numbers_HW <= 0]] = True
    free = (count + np.cumsum(is_free)).astype(np.int32)
    return np.where(numbers_HW > 0, numbers_HW, free[pieces_HW]).astype(np.int32)


def simplified(coverage: Geometries, tolerance: float) -> Geometries:
    """Polygons that cover everything, with fewer points. All stay valid, and none overlaps another.

    Those of a noisy map, of which there are very many, are simplified group by group; the lines between the
    groups stay as they are.
    """
    shapely = load_shapely()
    found: Geometries = coverage.copy()
    boxes = shapely.bounds(coverage)
    centres = (boxes[:, :2] + boxes[:, 2:]) / 2
    for group in _groups(centres, np.arange(len(coverage))):
        found[group] = shapely.coverage_simplify(coverage[group], tolerance, simplify_boundary=False)
    return found


def _groups(centres: NDArray[np.float64], places: NDArray[Any]) -> Iterator[NDArray[Any]]:
    """Places that lie side by side, cut in two until they are few enough."""
    if len(places) <= TOGETHER:
        yield places
        return
    xy = centres[places]
    along = int(np.argmax(np.ptp(xy, axis=0)))
    order, middle = np.argsort(xy[:, along], kind="stable"), len(places) // 2
    for half in (order[:middle], order[middle:]):
        yield from _groups(centres, places[half])
