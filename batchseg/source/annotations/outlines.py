"""Outlines as areas; boxes and ellipses as corners, turned as labelling tools do: clockwise, in degrees."""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from itertools import chain
from math import cos, radians, sin, tau

from batchseg.images.annotation import MarkedArea

Point = tuple[float, float]
_CORNERS = 256  # of an ellipse: it strays from the curve by less than 0.0001 of its radius


def outlined(label: str, corners: Sequence[Point]) -> MarkedArea:
    """The area within one ring of corners."""
    data = array("d", [*chain.from_iterable(corners)]).tobytes()
    return MarkedArea(label, "polygon", data, (len(corners),))


def turned_box(left_top: Point, size: Point, degrees: float, about: Point) -> list[Point]:
    """Its four corners, turned about a point."""
    (left, top), (width, height) = left_top, size
    corners = [(left, top), (left + width, top), (left + width, top + height), (left, top + height)]
    return corners if not degrees else [_turned(corner, degrees, about) for corner in corners]


def ellipse(centre: Point, radii: Point, degrees: float) -> list[Point]:
    """Corners along it, turned about its centre."""
    angles = [tau * index / _CORNERS for index in range(_CORNERS)]
    corners = [(centre[0] + radii[0] * cos(angle), centre[1] + radii[1] * sin(angle)) for angle in angles]
    return corners if not degrees else [_turned(corner, degrees, centre) for corner in corners]


def _turned(point: Point, degrees: float, about: Point) -> Point:
    x, y, angle = point[0] - about[0], point[1] - about[1], radians(degrees)
    return about[0] + x * cos(angle) - y * sin(angle), about[1] + x * sin(angle) + y * cos(angle)
