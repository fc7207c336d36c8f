"""Outlines of label maps as polygons that follow the edges of pixels exactly, with holes.

A side of a region is a straight line that has the region on its right as one walks along it, with y down:
east along the top, south along the right, west along the bottom, north along the left. The end of one is the
start of the next, and going on until the first comes again makes a ring. All of it is done for all regions
at once: noise has millions of sides, and a loop over them would take minutes.

Two pixels of a region may meet at a corner alone. Turning right there keeps them apart, so that no ring
crosses itself. But a region that comes back to the corner from around a hole would have a ring that touches
itself, which is not valid. There both passes belong to one ring, which is parted in two: an outline and a
hole may touch.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from batchseg.errors import ConfigError
from batchseg.images.regions import Numbers, regions

Geometries = NDArray[np.object_]
_Indices = NDArray[np.intp]

# from a pixel to the corner where its top, right, bottom and left side start
_START_X, _START_Y = np.array([0, 1, 1, 0]), np.array([0, 0, 1, 1])
_EAST, _SOUTH, _WEST, _NORTH = range(4)


def load_shapely() -> Any:
    """The package. Raises ConfigError where it is not installed."""
    try:
        import shapely
    except ImportError as exc:
        raise ConfigError("outlines need the package shapely: pip install 'batchseg[export]'") from exc
    return shapely


def outlines(numbers_HW: NDArray[Any], *, coverage: bool = False) -> Geometries:
    """The outline of each number from 1 to the highest: shapely geometries, of which the first is that of 1.

    x is the column and y the row, from the upper left corner on; the area is that of the pixels. A number
    whose pixels hang together by their sides has a Polygon, another a MultiPolygon, and one that has no
    pixels None. All are valid.

    Args:
        numbers_HW: integers; 0 and less is no number.
        coverage: whether lines have a point wherever three regions meet, and not at their corners alone, as
            `shapely.coverage_simplify` needs it.

    Raises ConfigError where shapely is not installed.
    """
    shapely = load_shapely()
    outlined: Geometries = np.full(int(numbers_HW.max(initial=0)), None, np.object_)
    pieces_HW = regions(numbers_HW)
    sides = _sides(pieces_HW, numbers_HW > 0, coverage)
    if not len(sides.pixel):
        return outlined
    following, ring = _part_at_corners(sides, _rings(sides.following), pieces_HW)
    order = _in_order(following, ring)
    sizes = np.bincount(ring)
    corners = np.stack([sides.x[order], sides.y[order]], 1).astype(np.float64)
    rings = shapely.linearrings(corners, indices=np.repeat(np.arange(len(sizes)), sizes))
    pixel = sides.pixel[order[np.cumsum(sizes) - 1]]  # one of each ring
    piece = pieces_HW.ravel()[pixel]
    # of each piece first the outer ring, the only one that runs clockwise on the screen, then its holes
    outer_first = np.lexsort((~_is_outer(corners, sizes), piece))
    _, first, place = np.unique(piece[outer_first], return_index=True, return_inverse=True)
    polygons = shapely.polygons(rings[outer_first], indices=place)
    number = numbers_HW.ravel()[pixel[outer_first[first]]]
    _gather(polygons, number.astype(np.intp) - 1, outlined)
    return outlined


def placed(outlined: Geometries, transform: Sequence[float]) -> Geometries:
    """Outlines where they lie on the map.

    Args:
        transform: a, b, c, d, e, f of x = a column + b row + c, y = d column + e row + f.
    """
    a, b, c, d, e, f = transform

    def place(points: NDArray[np.float64]) -> NDArray[np.float64]:
        x, y = points.T
        return np.stack([a * x + b * y + c, d * x + e * y + f], axis=1)

    found: Geometries = load_shapely().transform(outlined, place)
    return found


class _Sides(NamedTuple):
    """All sides of all regions: the pixel that each starts at (its place in the map), where that is, which
    side follows it, and for each of the four directions the side that starts at a pixel."""

    pixel: _Indices
    x: _Indices
    y: _Indices
    following: _Indices
    starting: list[NDArray[np.int32]]


def _sides(pieces_HW: Numbers, wanted_HW: NDArray[np.bool_], coverage: bool) -> _Sides:
    places_HW = np.arange(pieces_HW.size, dtype=np.int32).reshape(pieces_HW.shape)
    width = pieces_HW.shape[1]
    found = []
    for turns in range(4):
        pieces, places = np.rot90(pieces_HW, turns), np.rot90(places_HW, turns)
        found.append(_sides_above(pieces, places, np.rot90(wanted_HW, turns), coverage))
    starting, before = [], 0
    for pixel, _, _ in found:
        at = np.full(pieces_HW.size, -1, np.int32)
        at[pixel] = np.arange(before, before + len(pixel), dtype=np.int32)
        starting.append(at)
        before += len(pixel)
    following = [
        np.choose((turn + direction) % 4, [at[pixel] for at in starting]).astype(np.intp)
        for direction, (_, pixel, turn) in enumerate(found)
    ]
    pixels = [pixel for pixel, _, _ in found]
    x = [pixel % width + _START_X[direction] for direction, pixel in enumerate(pixels)]
    y = [pixel // width + _START_Y[direction] for direction, pixel in enumerate(pixels)]
    return _Sides(
        np.concatenate(pixels), np.concatenate(x), np.concatenate(y), np.concatenate(following), starting
    )


def _sides_above(
    pieces_HW: Numbers, places_HW: Numbers, wanted_HW: NDArray[np.bool_], coverage: bool
) -> tuple[_Indices, _Indices, NDArray[np.int8]]:
    """Of a map that was turned until the sides in question lie above: the pixel that each starts at, the one
    that the following side starts at, and by how many quarters that is turned (1: right, -1: left)."""
    above_HW = wanted_HW.copy()
    above_HW[1:] &= pieces_HW[1:] != pieces_HW[:-1]
    go_on_HW = above_HW[:, 1:] & above_HW[:, :-1] & (pieces_HW[:, 1:] == pieces_HW[:, :-1])
    if coverage:
        go_on_HW[1:] &= pieces_HW[:-1, 1:] == pieces_HW[:-1, :-1]
    first_HW, last_HW = above_HW.copy(), above_HW.copy()
    first_HW[:, 1:] &= ~go_on_HW
    last_HW[:, :-1] &= ~go_on_HW
    rows, columns = np.nonzero(last_HW)
    right = np.minimum(columns + 1, pieces_HW.shape[1] - 1)
    is_same = (pieces_HW[rows, right] == pieces_HW[rows, columns]) & (right > columns)
    is_left_turn = is_same & ~above_HW[rows, right]
    is_straight = is_same & ~is_left_turn
    pixel = np.where(is_left_turn, places_HW[rows - is_left_turn, right], places_HW[rows, columns])
    pixel = np.where(is_straight, places_HW[rows, right], pixel)
    turn = np.where(is_same, np.where(is_left_turn, -1, 0), 1).astype(np.int8)
    return places_HW[first_HW], pixel, turn


def _rings(following: _Indices) -> _Indices:
    """The number of the ring that each side belongs to."""
    from scipy.sparse import csr_array
    from scipy.sparse.csgraph import connected_components

    count = len(following)
    graph = csr_array((np.ones(count, np.bool_), following, np.arange(count + 1)), shape=(count, count))
    rings: _Indices = connected_components(graph, directed=False)[1]
    return rings


def _part_at_corners(sides: _Sides, ring: _Indices, pieces_HW: Numbers) -> tuple[_Indices, _Indices]:
    """What follows each side, and the rings, where none touches itself any more."""
    upper, lower = pieces_HW[:-1], pieces_HW[1:]
    falling = _only_diagonal(upper[:, :-1], lower[:, 1:], upper[:, 1:], lower[:, :-1])
    rising = _only_diagonal(upper[:, 1:], lower[:, :-1], upper[:, :-1], lower[:, 1:])
    width = pieces_HW.shape[1]
    corner = falling[0] * width + falling[1], rising[0] * width + rising[1]  # the upper left of four pixels
    one = np.concatenate([sides.starting[_WEST][corner[0]], sides.starting[_NORTH][corner[1] + 1]])
    other = np.concatenate(
        [sides.starting[_EAST][corner[0] + width + 1], sides.starting[_SOUTH][corner[1] + width]]
    )
    both = (one >= 0) & (ring[one] == ring[other])
    if not both.any():
        return sides.following, ring
    one, other = one[both], other[both]
    before = np.empty_like(sides.following)
    before[sides.following] = np.arange(len(before))
    following = sides.following.copy()
    following[before[one]], following[before[other]] = other, one
    return following, _rings(following)


def _only_diagonal(
    one: Numbers, other: Numbers, side: Numbers, other_side: Numbers
) -> tuple[_Indices, _Indices]:
    rows, columns = np.nonzero((one == other) & (side != one) & (other_side != one))
    return rows, columns


def _in_order(following: _Indices, ring: _Indices) -> _Indices:
    """The sides ring by ring, each followed by the next: the rings are joined to one chain, and scipy walks
    along it."""
    from scipy.sparse import csr_array
    from scipy.sparse.csgraph import breadth_first_order

    count = len(following)
    _, first = np.unique(ring, return_index=True)
    before = np.empty_like(following)
    before[following] = np.arange(count)
    chain = following.copy()
    last = before[first]
    chain[last] = np.roll(first, -1)
    graph = csr_array((np.ones(count, np.bool_), chain, np.arange(count + 1)), shape=(count, count))
    order: _Indices = breadth_first_order(graph, first[0], return_predecessors=False)
    return order


def _is_outer(corners: NDArray[np.float64], sizes: _Indices) -> NDArray[np.bool_]:
    ends = np.cumsum(sizes)
    following = np.arange(1, len(corners) + 1)
    following[ends - 1] = ends - sizes
    x, y = corners.T
    area: NDArray[np.bool_] = np.add.reduceat(x * y[following] - x[following] * y, ends - sizes) > 0
    return area


def _gather(polygons: Geometries, place: _Indices, outlined: Geometries) -> None:
    """Put each polygon in its place, and several of one place together."""
    order = np.argsort(place, kind="stable")
    polygons, place = polygons[order], place[order]
    found, times = np.unique(place, return_counts=True)
    alone = np.repeat(times == 1, times)
    outlined[place[alone]] = polygons[alone]
    if not alone.all():
        several = np.repeat(np.arange((times > 1).sum()), times[times > 1])
        outlined[found[times > 1]] = load_shapely().multipolygons(polygons[~alone], indices=several)
