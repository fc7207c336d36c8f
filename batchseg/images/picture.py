"""One overlay: which panels it has, what is drawn on them, and what its legend says."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from batchseg.images.legend import Entry, class_entry, lay_out, mark_entry, void_entry
from batchseg.images.overlay import (
    Drawing,
    LabelIds,
    Pixels,
    blend,
    draw_contours,
    hatch_void,
    mark_differences,
)

_NO_IMAGE = 112  # grey, in place of an image that cannot be read


@dataclass(frozen=True)
class Subject:
    """What there is to be seen of one image, all of it of one size.

    Attributes:
        image_HWC: uint8 RGB; None where it cannot be read.
        labels_HW: the mask; None where there is none.
        truth_HW: the ground truth; None where there is none, or it is not to be shown.
        notes: sentences to write below.
    """

    image_HWC: Pixels | None
    labels_HW: LabelIds | None = None
    truth_HW: LabelIds | None = None
    notes: Sequence[str] = ()


def draw_picture(
    subject: Subject, drawing: Drawing, kind: Literal["blend", "contour", "triptych"], opacity: float
) -> Pixels:
    """The picture with its legend, uint8 RGB. There is an image or a mask."""
    image_HWC, labels_HW, truth_HW = subject.image_HWC, subject.labels_HW, subject.truth_HW
    if image_HWC is None:
        assert labels_HW is not None
        image_HWC, opacity = np.full((*labels_HW.shape, 3), _NO_IMAGE, np.uint8), 1.0
    if labels_HW is None:
        return lay_out([("", image_HWC)], [], subject.notes)
    opacity = 0.0 if kind == "contour" else opacity
    prediction_HWC = _painted(image_HWC, labels_HW, drawing, opacity)
    if kind != "triptych":
        return lay_out([("", prediction_HWC)], _entries(drawing, labels_HW), subject.notes)
    panels = [] if subject.image_HWC is None else [("image", image_HWC)]
    entries = _entries(drawing, labels_HW, truth_HW)
    if truth_HW is not None:
        panels.append(("truth", _painted(image_HWC, truth_HW, drawing, opacity)))
        differs_HW = (labels_HW != truth_HW) & (truth_HW != drawing.void)
        if differs_HW.any():
            mark_differences(prediction_HWC, differs_HW)
            entries.append(mark_entry("differs from the truth"))
    return lay_out([*panels, ("prediction", prediction_HWC)], entries, subject.notes)


def _painted(image_HWC: Pixels, labels_HW: LabelIds, drawing: Drawing, opacity: float) -> Pixels:
    painted_HWC = blend(image_HWC, labels_HW, drawing, opacity) if opacity else image_HWC.copy()
    hatch_void(painted_HWC, labels_HW == drawing.void)
    draw_contours(painted_HWC, labels_HW, drawing)
    return painted_HWC


def _entries(drawing: Drawing, labels_HW: LabelIds, truth_HW: LabelIds | None = None) -> list[Entry]:
    """What is in the picture: classes in the order of their ids, then what has none."""
    size = drawing.void + 1
    here = np.bincount(labels_HW.ravel(), minlength=size) > 0
    there = np.zeros(size, bool) if truth_HW is None else np.bincount(truth_HW.ravel(), minlength=size) > 0
    entries = [class_entry(drawing, int(index)) for index in np.flatnonzero((here | there)[:-1])]
    if here[-1]:
        entries.append(void_entry("no class (void)"))
    if there[-1]:
        entries.append(void_entry("no truth (ignored)"))
    return entries
