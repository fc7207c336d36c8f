"""Label maps drawn over their images: colours, contours, void, and where two label maps differ.

Everything here takes and gives uint8 RGB [H, W, 3] and label maps [H, W] of class ids, with C for void.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Colour = tuple[int, int, int]
Pixels = NDArray[np.uint8]
LabelIds = NDArray[np.unsignedinteger[Any]]
Where = NDArray[np.bool_]

BLACK, WHITE = (0, 0, 0), (255, 255, 255)
LIGHT_GREY, DARK_GREY = (200, 200, 200), (70, 70, 70)
_LINE = 1 / 800  # width of a rim, of the longer side
_STRIPE = 1 / 90  # from one stripe to the next, of the longer side
_BRIGHT = 140  # grey levels from which black stands out more than white


@dataclass(frozen=True)
class Drawing:
    """How the classes of a label map are drawn.

    Attributes:
        names: of the C classes.
        colours: RGB of each.
        untouched: ids of the classes that show the image alone, which is what a background is.
    """

    names: tuple[str, ...]
    colours: tuple[Colour, ...]
    untouched: frozenset[int]

    @property
    def void(self) -> int:
        return len(self.names)

    @cached_property
    def palette(self) -> Pixels:
        """[C + 1, 3]; void has a row of its own, which is not drawn."""
        return np.array([*self.colours, BLACK], np.uint8)

    @cached_property
    def is_drawn(self) -> Where:
        """[C + 1]: False for void and for what is untouched."""
        return np.array([index not in self.untouched for index in range(self.void)] + [False])

    @cached_property
    def contrasts(self) -> Pixels:
        """[C + 1, 3]: black or white, whichever stands out from the class's colour."""
        grey = self.palette @ np.array([0.299, 0.587, 0.114])
        return np.where(grey[:, np.newaxis] > _BRIGHT, BLACK, WHITE).astype(np.uint8)


def size_within(size_hw: tuple[int, int], longest: int) -> tuple[int, int]:
    """Height and width with a longer side of at most `longest`, in the same proportion."""
    scale = min(1.0, longest / max(size_hw))
    height, width = (max(1, round(side * scale)) for side in size_hw)
    return height, width


def resized(image_HWC: Pixels, size_hw: tuple[int, int]) -> Pixels:
    """The image in another size; each pixel is the mean of those it stands for."""
    if image_HWC.shape[:2] == size_hw:
        return image_HWC
    return np.array(Image.fromarray(image_HWC).resize(size_hw[::-1], Image.Resampling.BOX))


def nearest(labels_HW: LabelIds, size_hw: tuple[int, int]) -> LabelIds:
    """The label map in another size: the ids under the centres of the new pixels, for a mean is no id.

    It may also be of colours, [H, W, 3].
    """
    if labels_HW.shape[:2] == size_hw:
        return labels_HW
    rows, columns = (
        ((np.arange(new) + 0.5) * old / new).astype(np.intp)
        for new, old in zip(size_hw, labels_HW.shape[:2], strict=True)
    )
    scaled_HW: LabelIds = labels_HW[rows[:, np.newaxis], columns]
    return scaled_HW


def blend(image_HWC: Pixels, labels_HW: LabelIds, drawing: Drawing, opacity: float) -> Pixels:
    """The image with each class in its colour over it: (1 - opacity) x image + opacity x colour.

    Void and untouched classes show the image, bit by bit. Raises ValueError where the sizes differ.
    """
    if labels_HW.shape != image_HWC.shape[:2]:
        raise ValueError(f"the image is {image_HWC.shape[:2]}, the label map {labels_HW.shape}")
    blended_HWC: Pixels = image_HWC.copy()
    # most of a picture is background, as a rule, and costs nothing
    drawn_N = np.flatnonzero(drawing.is_drawn.take(labels_HW))
    pixels_NC = blended_HWC.reshape(-1, 3)
    colours_NC = drawing.palette.take(labels_HW.reshape(-1).take(drawn_N), axis=0)
    mixed_NC = pixels_NC.take(drawn_N, axis=0) * np.float32(1 - opacity) + colours_NC * np.float32(opacity)
    pixels_NC[drawn_N] = mixed_NC  # cut off as Pillow's blend does
    return blended_HWC


def draw_contours(pixels_HWC: Pixels, labels_HW: LabelIds, drawing: Drawing) -> None:
    """Outline every region that is drawn, inside its border: in its colour, behind a rim in black or white.

    The rim stands out from the colour, and one of both from the image. What is too thin for both has no rim.
    """
    width = line_width(labels_HW.shape)
    box = _box(drawing.is_drawn.take(labels_HW), margin=3 * width)
    pixels_HWC, labels_HW = pixels_HWC[box], labels_HW[box]
    drawn_HW = drawing.is_drawn.take(labels_HW)
    rim_HW = borders(labels_HW, width) & drawn_HW
    line_HW = borders(labels_HW, 3 * width) & drawn_HW
    rim_HW &= _near(drawn_HW & ~rim_HW, width)
    for where_HW, colours in ((line_HW, drawing.palette), (rim_HW, drawing.contrasts)):
        pixels_HWC[where_HW] = colours.take(labels_HW[where_HW], axis=0)


def _box(where_HW: Where, margin: int) -> tuple[slice, slice]:
    """The rows and columns that hold all of these, and `margin` more on each side."""
    rows, columns = (np.flatnonzero(where_HW.any(axis=axis)) for axis in (1, 0))
    if not len(rows):
        return slice(0), slice(0)
    return (
        slice(max(0, rows[0] - margin), rows[-1] + margin + 1),
        slice(max(0, columns[0] - margin), columns[-1] + margin + 1),
    )


def line_width(size_hw: Sequence[int]) -> int:
    """Pixels of the rim of a contour, and half those of its colour: 1, and 2 from 1200 a side on."""
    return max(1, round(max(size_hw) * _LINE))


def borders(labels_HW: LabelIds, width: int) -> Where:
    """Pixels with another label within `width` pixels above, below, left or right."""
    found_HW = np.zeros(labels_HW.shape, bool)
    for axis in (0, 1):
        labels, found = np.moveaxis(labels_HW, axis, 0), np.moveaxis(found_HW, axis, 0)
        for step in range(1, min(width, len(labels) - 1) + 1):
            differs = labels[step:] != labels[:-step]
            found[step:] |= differs
            found[:-step] |= differs
    return found_HW


def _near(where_HW: Where, width: int) -> Where:
    """Pixels at most `width` above, below, left or right of these."""
    found_HW: Where = where_HW.copy()
    for axis in (0, 1):
        near, found = np.moveaxis(where_HW, axis, 0), np.moveaxis(found_HW, axis, 0)
        for step in range(1, min(width, len(near) - 1) + 1):
            found[step:] |= near[:-step]
            found[:-step] |= near[step:]
    return found_HW


def hatch_void(pixels_HWC: Pixels, where_HW: Where) -> None:
    """Stripes in light and dark grey, rising to the right, where there is no class."""
    if not where_HW.any():
        return
    pixels_HWC[where_HW & stripes(where_HW.shape, rising=True)] = LIGHT_GREY
    pixels_HWC[where_HW & stripes(where_HW.shape, rising=True, after=True)] = DARK_GREY


def mark_differences(pixels_HWC: Pixels, where_HW: Where) -> None:
    """Stripes in black and white, falling to the right: no class has such a pattern."""
    pixels_HWC[where_HW & stripes(where_HW.shape, rising=False)] = WHITE
    pixels_HWC[where_HW & stripes(where_HW.shape, rising=False, after=True)] = BLACK


def stripes(size_hw: Sequence[int], *, rising: bool, after: bool = False) -> Where:
    """Diagonal stripes with gaps, or those that lie right beside them."""
    height, width = size_hw
    period = max(5, round(max(size_hw) * _STRIPE))
    thick = max(1, period // 4)
    rows, columns = np.arange(height)[:, np.newaxis], np.arange(width)
    phase_HW = (columns + (rows if rising else -rows)) % period
    striped_HW: Where = (phase_HW // thick) == int(after)
    return striped_HW
