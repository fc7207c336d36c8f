"""From every boundary pixel of a class to the nearest one of the same class on the other side.

Most are near, so all look around themselves first, step by step outwards. What is further away is looked for
along rows, once it is known for each column how far the nearest boundary is above or below. All classes are
done together, and only those of which a figure depends on it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import cached_property
from itertools import groupby
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Ids = NDArray[np.unsignedinteger[Any]]
Flags = NDArray[np.bool_]
Numbers = NDArray[np.float64]
Places = NDArray[np.intp]

_AROUND = 3  # pixels that are looked at around each
_CELLS_AT_ONCE = 2**24  # of all classes: two bytes each
_LONG = 2**13  # of a side: shorter ones are counted in 16 bits
_OFTEN = 8  # steps along a row, between which those that are found are set aside
_SAME = 1 + 1e-9  # 3 x 0.1 is a little more than 0.3, and a distance of the tolerance is within it


class EdgeDistances:
    """Distances between the boundaries of two label maps [H, W], sides 0 and 1.

    Attributes:
        counts: boundary pixels by side and class, int64 [2, C].
    """

    def __init__(
        self,
        ids: tuple[Ids, Ids],
        edges: tuple[Flags, Flags],
        num_classes: int,
        spacing: tuple[float, float] = (1.0, 1.0),
    ) -> None:
        self.num_classes, self.spacing = num_classes, spacing
        height, width = ids[0].shape
        self.stride = width + 2 * _AROUND
        kind = np.min_scalar_type(num_classes)
        self.flat: list[NDArray[Any]] = []
        self.places: list[Places] = []
        self.classes: list[NDArray[Any]] = []
        for ids_HW, edge in zip(ids, edges, strict=True):
            padded = np.full((height + 2 * _AROUND, self.stride), num_classes, kind)
            inner = padded[_AROUND : _AROUND + height, _AROUND : _AROUND + width]
            np.copyto(inner, ids_HW, where=edge, casting="unsafe")
            flat = padded.reshape(-1)
            places = np.flatnonzero(flat != num_classes)
            order = np.argsort(flat[places], kind="stable")  # so that each class is a slice
            self.flat.append(flat)
            self.places.append(places[order])
            self.classes.append(flat[places[order]])
        every = np.arange(num_classes + 1, dtype=np.int64)
        self.bounds = [np.searchsorted(found, every) for found in self.classes]
        self.counts = np.stack([np.diff(bounds) for bounds in self.bounds]).astype(np.int64)

    def within(self, tolerances_C: Numbers) -> NDArray[np.int64]:
        """Boundary pixels of both sides that are no further than their class's tolerance, [C]."""
        limits = tolerances_C * _SAME
        both = self._in_both
        further = [label for label in both if limits[label] >= self.reach]
        self._look_along([_Wanted(side, label) for side in (0, 1) for label in further])
        found = np.zeros(self.num_classes, np.int64)
        for label in both:
            for side in (0, 1):
                found[label] += np.count_nonzero(self._of_class(side, label) <= limits[label])
        return found

    def hausdorff(self, quantile: float) -> Numbers:
        """The larger of the two quantiles of each class, [C]; NaN where a side lacks it."""
        both = self._in_both
        wanted = []
        for side in (0, 1):
            for label in both:
                distances = self._of_class(side, label)
                behind = len(distances) - 1 - int(np.ceil(quantile * (len(distances) - 1)))
                if np.count_nonzero(np.isinf(distances)) > behind:
                    wanted.append(_Wanted(side, label, behind))
        self._look_along(wanted)
        found = np.full(self.num_classes, np.nan)
        for label in both:
            found[label] = max(_quantile(self._of_class(side, label), quantile) for side in (0, 1))
        return found

    @property
    def _in_both(self) -> list[int]:
        """The classes that both sides have."""
        labels: list[int] = np.flatnonzero(self.counts.all(0)).tolist()
        return labels

    @property
    def reach(self) -> float:
        """What is no further has been found by looking around."""
        return _AROUND * min(self.spacing)

    def _slice(self, side: int, label: int) -> slice:
        return slice(*self.bounds[side][label : label + 2].tolist())

    def _of_class(self, side: int, label: int) -> Numbers:
        return self._near[side][self._slice(side, label)]

    @cached_property
    def _near(self) -> list[Numbers]:
        """By side: infinite where nothing has been found yet."""
        return [self._look_around(side) for side in (0, 1)]

    def _look_around(self, side: int) -> Numbers:
        other, places, classes = self.flat[1 - side], self.places[side], self.classes[side]
        distances = np.full(len(places), np.inf)
        left = np.flatnonzero((self.counts[1 - side] > 0)[classes])
        places, classes = places[left], classes[left]
        for distance, steps in self._rings():
            if not len(left):
                break
            hit = np.zeros(len(left), np.bool_)
            for step in steps:
                hit |= other.take(places + step) == classes
            distances[left[hit]] = distance
            missed = np.flatnonzero(~hit)
            left, places, classes = left.take(missed), places.take(missed), classes.take(missed)
        return distances

    def _rings(self) -> Iterator[tuple[float, list[int]]]:
        """Steps to pixels around, by their distance, the nearest first."""
        span = range(-_AROUND, _AROUND + 1)
        down, across = self.spacing
        steps = sorted(
            (float(np.hypot(row * down, column * across)), row * self.stride + column)
            for row in span
            for column in span
        )
        near = (step for step in steps if step[0] <= self.reach)
        for distance, ring in groupby(near, key=lambda step: step[0]):
            yield distance, [step for _, step in ring]

    def _look_along(self, wanted: Sequence[_Wanted]) -> None:
        """Find what has not been found, of some sides and classes."""
        at_once = max(1, _CELLS_AT_ONCE // len(self.flat[0]))
        for side in (0, 1):
            of_side = [each for each in wanted if each.side == side]
            for start in range(0, len(of_side), at_once):
                self._look_along_rows(side, of_side[start : start + at_once])

    def _look_along_rows(self, side: int, wanted: Sequence[_Wanted]) -> None:
        labels = np.array([each.label for each in wanted])
        unknown = np.concatenate([self._unknown(side, label) for label in labels])
        if not len(unknown):
            return
        near = 1 - side
        targets = np.concatenate([self.places[near][self._slice(near, label)] for label in labels])
        rows, columns = np.divmod(targets, self.stride)
        at_rows, at_columns = np.divmod(self.places[side][unknown], self.stride)
        left, top = min(columns.min(), at_columns.min()), at_rows.min()
        width = int(max(columns.max(), at_columns.max()) - left) + 1
        layers = np.repeat(np.arange(len(labels)), self.counts[near][labels])
        longest = len(self.flat[0]) // self.stride
        kind = np.int16 if longest < _LONG else np.int32
        order = np.argsort(rows.astype(kind), kind="stable")  # by digits, where there are 16 bits
        cells = layers[order] * width + columns[order] - left
        none = np.array(2 * longest, kind)
        gaps = _gaps(rows[order] - top, cells, (int(at_rows.max() - top) + 1, len(labels) * width), none)
        squares = (np.arange(3 * longest + 1) * self.spacing[0]) ** 2
        squares[longest:] = np.inf
        numbers = np.zeros(self.num_classes, np.intp)
        numbers[labels] = np.arange(len(labels))
        at_layers = numbers[self.classes[side][unknown]]
        self._near[side][unknown] = _nearest(
            lambda places: squares.take(gaps.take(places)),
            _Cells((at_rows - top) * len(labels) + at_layers, at_columns - left, at_layers, width),
            np.array([each.behind for each in wanted]),
            self.spacing[1],
        )

    def _unknown(self, side: int, label: int) -> Places:
        found: Places = np.flatnonzero(np.isinf(self._of_class(side, label)))
        found += self.bounds[side][label]
        return found


class _Wanted(NamedTuple):
    """A class of a side, of which all but so many distances, the largest, must be known."""

    side: int
    label: int
    behind: int = 0


class _Cells(NamedTuple):
    """Places in layers of rows: the number of its row, its column, and its layer, of each."""

    rows: Places
    columns: Places
    layers: Places
    width: int


def _quantile(distances: Numbers, quantile: float) -> float:
    """Linear between neighbours, as numpy's; what is infinite lies behind, and is not asked for."""
    place = quantile * (len(distances) - 1)
    below, above = int(np.floor(place)), int(np.ceil(place))
    ordered = np.partition(distances, [below, above])
    return float(ordered[below] + (ordered[above] - ordered[below]) * (place - below))


def _gaps(rows: Places, cells: Places, hw: tuple[int, int], none: NDArray[Any]) -> NDArray[Any]:
    """In each cell of so many rows, how many rows up or down the nearest target is, flat and of none's type.

    Args:
        rows: of the targets, ascending; some lie above or below.
        cells: of the targets, 0 .. width - 1.
        none: further away than any target by the height at least, where a cell has none.
    """
    (height, width), kind = hw, none.dtype.type
    gaps = np.empty(hw, kind)
    rows_of = rows.astype(kind)
    starts = np.searchsorted(rows, np.arange(height + 1))
    last = np.full(width, -none, kind)
    last[cells[: starts[0]]] = rows_of[: starts[0]]
    for row in range(height):
        last[cells[starts[row] : starts[row + 1]]] = row
        np.subtract(kind(row), last, out=gaps[row])
    last = np.full(width, none, kind)
    last[cells[starts[height] :][::-1]] = rows_of[starts[height] :][::-1]
    for row in range(height - 1, -1, -1):
        last[cells[starts[row] : starts[row + 1]]] = row
        np.minimum(gaps[row], last - kind(row), out=gaps[row])
    return gaps.reshape(-1)


def _nearest(squares: Callable[[Places], Numbers], cells: _Cells, behind: Places, across: float) -> Numbers:
    """Distances from some cells to the nearest target: out along their rows, as long as one can be nearer.

    Args:
        squares: of the distance to the nearest target of a cell's column, by the cell.
        across: width of a column.
        behind: of each layer, how many distances need not be known; these are infinite.
    """
    rows, columns, layers = cells.rows * cells.width, cells.columns, cells.layers
    best = squares(rows + columns)
    found = np.full(len(rows), np.inf)
    places = np.arange(len(rows))
    for step in range(1, cells.width + _OFTEN):
        beside = (step * across) ** 2
        if step % _OFTEN == 1:
            done = best <= beside
            found[places[done]] = best[done]
            left = np.bincount(layers[~done], minlength=len(behind))
            going = ~done & (left > behind)[layers]
            places, best, rows = places[going], best[going], rows[going]
            columns, layers = columns[going], layers[going]
            if not len(places):
                break
        # beyond the edge the last column is looked at again, as if it were further away
        for column in (np.minimum(columns + step, cells.width - 1), np.maximum(columns - step, 0)):
            np.minimum(best, squares(rows + column) + beside, out=best)
    found[places] = best
    distances: Numbers = np.sqrt(found)
    return distances
