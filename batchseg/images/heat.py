"""What a decision rests on, as a picture: the image with its region, and beside it what was found."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from batchseg.images.legend import Entry, class_entry, in_ascii, lay_out, mark_entry
from batchseg.images.overlay import (
    Colour,
    Drawing,
    Pixels,
    Where,
    draw_contours,
    mark_differences,
    nearest,
    resized,
    size_within,
)

FOR, AGAINST = (255, 128, 0), (0, 128, 255)  # told apart by those who do not see red and green
_COLOURS = np.array([FOR, AGAINST], np.float32)
_LONGEST, _SHORTEST = 640, 320  # pixels of the longer side of a panel
_DIMMED = 0.6  # of the image below the heat
_OPACITY = 0.9  # of the strongest heat
_ALL_BUT_PEAKS, _FAINT = 0.995, 0.05
_LUMA = np.array([0.299, 0.587, 0.114], np.float32)


@dataclass(frozen=True)
class Region:
    """Where a mask has the class that is explained.

    Attributes:
        where_HW: bool, at the size of the image.
    """

    where_HW: Where
    name: str
    colour: Colour


@dataclass(frozen=True)
class Finding:
    """A panel beside the image: values a pixel, or pixels that change.

    Attributes:
        values_HW: float32.
        meaning: of what is above 0; what is below speaks against the class.
    """

    title: str
    meaning: str
    values_HW: NDArray[np.float32] | None = None
    changed_HW: Where | None = None


def draw_findings(image_HWC: Pixels, region: Region, findings: Sequence[Finding], note: str) -> Pixels:
    """Panels of one size with a legend, uint8 RGB; whatever the size of the image, they can be read.

    Args:
        image_HWC: uint8 RGB.
        note: a sentence below.
    """
    size_hw = _size(image_HWC.shape[:2])
    image_HWC = _at(image_HWC, size_hw)
    where_HW = nearest(region.where_HW.astype(np.uint8), size_hw).astype(bool)
    panels = [("image", _outlined(image_HWC, where_HW, region))]
    entries = [class_entry(_drawing(region), 0)]
    for each in findings:
        panel_HWC = image_HWC.copy()
        if each.values_HW is not None:
            panel_HWC = heat_over(image_HWC, _values_at(each.values_HW, size_hw))
            entries += _of_heat(each)
        if each.changed_HW is not None and each.changed_HW.any():
            mark_differences(panel_HWC, nearest(each.changed_HW.astype(np.uint8), size_hw).astype(bool))
            entries.append(mark_entry(each.meaning))
        panels.append((in_ascii(each.title), _outlined(panel_HWC, where_HW, region)))
    return lay_out(panels, entries, [note])


def heat_over(image_HWC: Pixels, values_HW: NDArray[np.float32]) -> Pixels:
    """The image in dark grey, with what is above 0 in orange and what is below in blue over it.

    The colour is strongest from the 99.5th percentile of all values on, whatever their sign.
    """
    grey_HW1 = (image_HWC.astype(np.float32) @ _LUMA)[..., None] * _DIMMED
    strength_HW = (np.abs(values_HW) / _strongest(values_HW)).clip(0, 1)
    opacity_HW1 = strength_HW[..., None] * _OPACITY
    colours_HWC = np.where(values_HW[..., None] > 0, _COLOURS[0], _COLOURS[1])
    mixed_HWC: Pixels = (grey_HW1 * (1 - opacity_HW1) + colours_HWC * opacity_HW1).astype(np.uint8)
    return mixed_HWC


def _outlined(image_HWC: Pixels, where_HW: Where, region: Region) -> Pixels:
    outlined_HWC: Pixels = image_HWC.copy()
    draw_contours(outlined_HWC, (~where_HW).astype(np.uint8), _drawing(region))
    return outlined_HWC


def _drawing(region: Region) -> Drawing:
    """The class alone, whatever its name; all else is void."""
    return Drawing((region.name,), (region.colour,), frozenset())


def _of_heat(finding: Finding) -> list[Entry]:
    assert finding.values_HW is not None
    visible = _FAINT * _strongest(finding.values_HW)
    against = [_ramp("speaks against it", AGAINST)] if finding.values_HW.min() < -visible else []
    return [_ramp(finding.meaning, FOR), *against]


def _strongest(values_HW: NDArray[np.float32]) -> float:
    """Without the few pixels at which a gradient peaks: the others would all look like nothing."""
    return float(np.quantile(np.abs(values_HW), _ALL_BUT_PEAKS)) or float(np.abs(values_HW).max()) or 1.0


def _ramp(text: str, colour: Colour) -> Entry:
    def fill(field_HWC: Pixels) -> None:
        strength_W1 = np.linspace(0, 1, field_HWC.shape[1], dtype=np.float32)[:, None]
        field_HWC[:] = strength_W1 * np.array(colour, np.float32)

    return Entry(text, fill)


def _size(image_hw: Sequence[int]) -> tuple[int, int]:
    height, width = size_within((image_hw[0], image_hw[1]), _LONGEST)
    times = -(-_SHORTEST // max(height, width))
    return height * times, width * times


def _at(image_HWC: Pixels, size_hw: tuple[int, int]) -> Pixels:
    """Enlarged by whole pixels, or reduced to the mean of what each stands for."""
    if size_hw[0] < image_HWC.shape[0] or size_hw[1] < image_HWC.shape[1]:
        return resized(image_HWC, size_hw)
    return nearest(image_HWC, size_hw).astype(np.uint8)


def _values_at(values_HW: NDArray[np.float32], size_hw: tuple[int, int]) -> NDArray[np.float32]:
    smaller = Image.fromarray(values_HW).resize(size_hw[::-1], Image.Resampling.BOX)
    return np.asarray(smaller, np.float32)
