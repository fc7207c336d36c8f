"""Scenes of things that differ in shape, colour, texture and size, drawn from a seed with exact truth."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from batchseg.scenes.digits import EDGE, SourceDigits, write_digit
from batchseg.scenes.words import DIGITS, LEXICON, Attribute

COLOURS = {
    "red": (214, 30, 36),
    "yellow": (244, 214, 40),
    "green": (36, 150, 56),
    "blue": (36, 84, 214),
    "purple": (142, 50, 178),
    "brown": (122, 74, 34),
    "black": (18, 18, 20),
    "white": (246, 246, 246),
}
SHARE_OF_SIDE = {"small": (0.21, 0.26), "large": (0.3, 0.37)}  # how wide a thing is
_TRIES = 40
Size = tuple[int, float]  # of the scene and of a thing, in pixels
_SPOKES = 5
_MIDDLE_GREY = 128


@dataclass(frozen=True)
class Thing:
    """What one object is like, in concepts. Its shape may be a handwritten digit, such as `three`."""

    shape: str
    colour: str
    texture: str
    size: str

    def changed(self, rng: np.random.Generator, attribute: Attribute) -> Thing:
        """The same but for one attribute."""
        concepts = DIGITS if attribute == "shape" and self.shape in DIGITS else LEXICON[attribute]
        others = [each for each in concepts if each != getattr(self, attribute)]
        return replace(self, **{attribute: str(rng.choice(others))})


@dataclass(frozen=True)
class ThingScene:
    """A picture of things.

    Attributes:
        image_HWC: uint8 RGB.
        owner_HW: uint8, 0 where nothing is, k where things[k - 1] is.
    """

    image_HWC: NDArray[np.uint8]
    owner_HW: NDArray[np.uint8]
    things: tuple[Thing, ...]

    def mask(self, named: dict[Attribute, str]) -> NDArray[np.uint8]:
        """1 where a thing is that has all the named concepts, else 0; uint8 [H, W]."""
        wanted = [
            number
            for number, thing in enumerate(self.things, 1)
            if all(getattr(thing, attribute) == concept for attribute, concept in named.items())
        ]
        return np.isin(self.owner_HW, wanted).astype(np.uint8)


def any_thing(rng: np.random.Generator) -> Thing:
    """Of every attribute one concept."""
    return Thing(**{name: str(rng.choice([*concepts])) for name, concepts in LEXICON.items()})


def alike_things(rng: np.random.Generator, count: int) -> list[Thing]:
    """A thing, others that differ from it in shape, colour or texture alone, and at last one of any kind.

    So each of these words counts: no two of them tell the first thing from all the others.
    """
    first = any_thing(rng)
    attributes: list[Attribute] = ["shape", "colour", "texture"]
    rng.shuffle(attributes)
    things = [first, *(first.changed(rng, attributes[n % 3]) for n in range(count - 2)), any_thing(rng)]
    return [replace(thing, size=any_thing(rng).size) for thing in things[:count]]


def with_digits(rng: np.random.Generator, things: Sequence[Thing]) -> list[Thing]:
    """The same things, but the last two are handwritten digits of one colour."""
    colour, values = things[-1].colour, rng.permutation([*DIGITS])
    kept = list(things[: max(1, len(things) - 2)])
    written = (Thing(str(value), colour, "plain", any_thing(rng).size) for value in values)
    return [*kept, *(next(written) for _ in things[len(kept) :])]


def draw_things(
    rng: np.random.Generator, things: Sequence[Thing], side: int, digits: SourceDigits | None = None
) -> ThingScene:
    """Draw things beside each other on a grey ground. One that finds no room is left out.

    The same state of the generator gives the same scene.

    Args:
        digits: from which the things are written that are digits.
    """
    image_HWC = _ground(rng, side)
    owner_HW = np.zeros((side, side), np.uint8)
    drawn: list[Thing] = []
    for thing in sorted(things, key=lambda each: each.size):  # large ones first
        width = side * rng.uniform(*SHARE_OF_SIDE[thing.size])
        found = _room(rng, owner_HW, width)
        if found is None:
            continue
        drawn.append(thing)
        y_HW, x_HW = np.mgrid[:side, :side].astype(np.float32)
        y_HW, x_HW = (y_HW - found[0]) / width * 2, (x_HW - found[1]) / width * 2
        if thing.shape in DIGITS:
            assert digits is not None
            inside_HW = _written(rng, digits, thing.shape, found, (side, width))
        else:
            inside_HW = _inside(thing.shape, rng.uniform(0, 2 * np.pi), y_HW, x_HW)
        shade_HW = _shade(thing.texture, rng, y_HW * width / 2, x_HW * width / 2, side)
        colour_3 = np.clip(np.array(COLOURS[thing.colour]) + rng.normal(0, 8, 3), 0, 255)
        other_3 = colour_3 * 0.35 if colour_3.mean() > _MIDDLE_GREY / 2 else colour_3 + 110
        paint_HWC = np.where(shade_HW[..., None], other_3, colour_3)
        image_HWC[inside_HW] = paint_HWC[inside_HW]
        owner_HW[inside_HW] = len(drawn)
    exposed_HWC = image_HWC * rng.uniform(0.85, 1.1) + rng.normal(0, rng.uniform(1, 5), image_HWC.shape)
    return ThingScene(exposed_HWC.clip(0, 255).astype(np.uint8), owner_HW, tuple(drawn))


def _ground(rng: np.random.Generator, side: int) -> NDArray[np.float32]:
    """Grey, a little darker towards one corner."""
    slope_HW = np.linspace(-1, 1, side)[:, None] * rng.uniform(-18, 18)
    slope_HW = slope_HW + np.linspace(-1, 1, side)[None] * rng.uniform(-18, 18)
    tint_3 = rng.uniform(105, 165) + rng.normal(0, 5, 3)
    ground_HWC: NDArray[np.float32] = (slope_HW[..., None] + tint_3).astype(np.float32)
    return ground_HWC


def _room(rng: np.random.Generator, owner_HW: NDArray[np.uint8], width: float) -> tuple[float, float] | None:
    """Row and column of a centre whose surroundings are free."""
    side, half = len(owner_HW), width / 2
    for _ in range(_TRIES):
        row, column = rng.uniform(half, side - half, 2)
        top, left = max(0, int(row - half) - 1), max(0, int(column - half) - 1)
        if not owner_HW[top : int(row + half) + 2, left : int(column + half) + 2].any():
            return float(row), float(column)
    return None


def _written(
    rng: np.random.Generator, digits: SourceDigits, value: str, centre: tuple[float, float], size: Size
) -> NDArray[np.bool_]:
    """Where the ink of a digit is, a sample of its value chosen at random."""
    side, width = size
    pick = rng.choice(np.flatnonzero(digits.values_N == [*DIGITS].index(value)))
    ink_hw = write_digit(rng, digits.ink_NSS[pick], round(width))
    inside_HW = np.zeros((side, side), bool)
    top, left = (
        int(np.clip(round(middle - long / 2), 0, side - long))
        for middle, long in zip(centre, ink_hw.shape, strict=True)
    )
    inside_HW[top : top + ink_hw.shape[0], left : left + ink_hw.shape[1]] = ink_hw >= EDGE
    return inside_HW


def _inside(
    shape: str, turn: float, y_HW: NDArray[np.float32], x_HW: NDArray[np.float32]
) -> NDArray[np.bool_]:
    """Where a shape is that fills a circle of radius 1 around the origin, turned."""
    radius_HW, angle_HW = np.hypot(y_HW, x_HW), np.arctan2(y_HW, x_HW) - turn
    if shape == "circle":
        return np.asarray(radius_HW <= 1)
    if shape == "ring":
        return np.asarray((radius_HW <= 1) & (radius_HW >= 0.55))
    if shape == "star":
        phase_HW = np.abs((angle_HW * _SPOKES / (2 * np.pi)) % 1 - 0.5) * 2  # 1 at a point, 0 between two
        return np.asarray(radius_HW <= 0.42 + 0.58 * phase_HW**1.5)
    sides = {"triangle": 3, "square": 4}[shape]
    to_middle_HW = (angle_HW % (2 * np.pi / sides)) - np.pi / sides
    return np.asarray(radius_HW * np.cos(to_middle_HW) <= np.cos(np.pi / sides))


def _shade(
    texture: str,
    rng: np.random.Generator,
    y_HW: NDArray[np.float32],
    x_HW: NDArray[np.float32],
    side: int,
) -> NDArray[np.bool_]:
    """Where a texture has its second colour; its period follows the side of the scene."""
    period = max(4.0, side / 14) * rng.uniform(0.9, 1.15)
    turn, shift = rng.uniform(0, np.pi), rng.uniform(0, period, 2)
    u_HW = (y_HW * np.cos(turn) + x_HW * np.sin(turn) + shift[0]) / period % 1
    v_HW = (x_HW * np.cos(turn) - y_HW * np.sin(turn) + shift[1]) / period % 1
    if texture == "striped":
        return np.asarray(u_HW < 0.5)
    if texture == "checked":
        return np.asarray((u_HW < 0.5) ^ (v_HW < 0.5))
    if texture == "spotted":
        return np.asarray(np.hypot(u_HW - 0.5, v_HW - 0.5) < 0.33)
    return np.zeros(y_HW.shape, bool)
