"""Which bands of a picture a model reads, and what is black and white in them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, Strict

from batchseg.config.base import Model

BlackWhite = tuple[float, float]

_FORMS = (
    "must be the white, [black, white], a list of such pairs, one a band, a list of three or more whites, "
    "one a band, or {percentiles: [2, 98]}"
)


class Percentiles(Model):
    """Black and white from the picture itself: of each band, without the pixels that have no data."""

    percentiles: tuple[float, float] = Field(description="The two that are black and white, such as [2, 98].")


def _checked_scale(value: Any) -> Any:
    """The scale in one of its forms. Raises ValueError, one sentence whatever is wrong."""
    if value is None or isinstance(value, Percentiles):
        return value
    if isinstance(value, Mapping):
        return _checked_percentiles(value)
    for black, white in _pairs(value):
        if not black < white:
            raise ValueError(f"white must lie above black, and {white:g} does not lie above {black:g}")
    return value


def _pairs(value: Any) -> list[Any]:
    """The black and white of each band, or those of all."""
    if _is_number(value):
        return [(0.0, value)]
    if isinstance(value, list | tuple) and value:
        if all(map(_is_number, value)) and len(value) > 1:
            return [value] if len(value) == 2 else [(0.0, white) for white in value]
        if all(map(_is_pair, value)):
            return list(value)
    raise ValueError(_FORMS)


def _is_pair(value: Any) -> bool:
    return isinstance(value, list | tuple) and len(value) == 2 and all(map(_is_number, value))


def _checked_percentiles(value: Mapping[Any, Any]) -> Percentiles:
    if {*value} != {"percentiles"} or not _is_pair(value["percentiles"]):
        raise ValueError(_FORMS)
    low, high = map(float, value["percentiles"])
    if not 0 <= low < high <= 100:
        raise ValueError(f"percentiles must rise and lie in 0 to 100, and are {low:g} and {high:g}")
    return Percentiles(percentiles=(low, high))


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _checked_bands(value: Any) -> Any:
    """A list of band numbers, a number alone, or numbers between commas. Raises ValueError."""
    listed = value.split(",") if isinstance(value, str) else [value] if isinstance(value, int) else value
    if listed is None:
        return None
    if not isinstance(listed, list | tuple) or not listed or not all(map(_is_band, listed)):
        raise ValueError("must list bands by their numbers, the first of which is 1, such as [4, 3, 2]")
    return tuple(int(band) for band in listed)


def _is_band(value: Any) -> bool:
    if isinstance(value, str):
        return value.strip().isascii() and value.strip().isdigit() and int(value) > 0
    return isinstance(value, int) and not isinstance(value, bool) and value > 0


Number = Annotated[float, Strict()]
Scale = Annotated[
    Number
    | tuple[Number, Number]
    | tuple[tuple[Number, Number], ...]
    | tuple[Number, ...]
    | Percentiles
    | None,
    BeforeValidator(_checked_scale),
    Field(
        description="The value that is white, or [black, white], of images of 16 and 32 bits; for bands also "
        "a pair or (from three bands on) a white for each, or {percentiles: [2, 98]}, and then of 8 bits "
        "too. Null: the range of 8 or 16 bits, or of the bits that the file says are used."
    ),
]
Bands = Annotated[
    tuple[int, ...] | None,
    BeforeValidator(_checked_bands),
    Field(
        description="Numbers of the bands that the model reads, from 1 on and in its order, such as "
        "[4, 3, 2]. Null: red, green and blue, or all bands for a model that reads other than three."
    ),
]


def of_each_band(scale: Any) -> tuple[BlackWhite, ...] | None:
    """The black and white of each band, of a scale that gives one for each; else None."""
    if not isinstance(scale, tuple) or (len(scale) == 2 and not isinstance(scale[0], tuple)):
        return None
    return tuple(each if isinstance(each, tuple) else (0.0, each) for each in scale)
