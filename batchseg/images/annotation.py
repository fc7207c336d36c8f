"""What is annotated on one image, as bytes that travel by themselves: areas of named classes, or a picture.

The bytes are the same where the annotation is the same, so that their digest tells a corrected one. What
cannot be read is found where the areas are drawn, and costs that image alone.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from batchseg.errors import RowFault
from batchseg.images.polygons import polygon_runs
from batchseg.images.run_lengths import brushed, filled, unpacked_counts
from batchseg.schema import TruthStatus

_MAGIC = b"batchseg annotation 1\n"
_NOBODY = 0  # the place of pixels that nobody annotated, among the names
# what the data of an area are: corners, or runs (see `images.run_lengths`)
AreaKind = Literal["polygon", "columns", "coco", "box", "brush"]
Names = tuple[str | None, ...]
Size = tuple[int, int]


@dataclass(frozen=True, slots=True)
class MarkedArea:
    """An area of one class.

    Attributes:
        name: of the class.
        kind: what `data` are: float64 x and y of corners; uint32 runs in columns; COCO's string; uint32 runs
            in rows of a box; bits of a brush.
        shape: of polygons the corners of each ring; of a box its left, top, width and height.
    """

    name: str
    kind: AreaKind
    data: bytes
    shape: tuple[int, ...] = ()


@dataclass(frozen=True)
class Annotation:
    """What is annotated on one image; exactly one of areas, picture and problem counts.

    Attributes:
        hw: height and width that it was drawn on; None where the picture alone tells.
        areas: later ones lie on top.
        picture: an image file whose colours are classes.
        colours: of the picture, as 0xrrggbb, and the class of each; None for nobody's.
        problem: why nothing can be read of it.
    """

    hw: Size | None = None
    areas: Sequence[MarkedArea] = ()
    picture: bytes | None = None
    colours: Mapping[int, str | None] | None = None
    problem: str | None = None

    @property
    def names(self) -> Names:
        """The names of the classes, behind the place of pixels that nobody annotated."""
        found = [area.name for area in self.areas] if self.colours is None else self.colours.values()
        return (None, *dict.fromkeys(name for name in found if name is not None))

    def to_bytes(self) -> bytes:
        """As `read_annotation` reads it."""
        head: dict[str, Any] = {"hw": self.hw}
        if self.problem is not None:
            head["problem"] = self.problem
        elif self.picture is not None:
            head["colours"] = sorted((self.colours or {}).items())
        else:
            head["areas"] = [(area.name, area.kind, area.shape, len(area.data)) for area in self.areas]
        parts = [self.picture or b""] if self.picture is not None else [area.data for area in self.areas]
        return b"".join([_MAGIC, json.dumps(head).encode(), b"\n", *parts])


def is_annotation(data: bytes | memoryview) -> bool:
    """Whether bytes are those of an `Annotation`."""
    return bytes(data[: len(_MAGIC)]) == _MAGIC


def read_annotation(data: bytes | memoryview) -> Annotation:
    """The annotation in some bytes that are one."""
    data = bytes(data)
    end = data.index(b"\n", len(_MAGIC))
    head, at = json.loads(data[len(_MAGIC) : end]), end + 1
    hw = tuple(head["hw"]) if head["hw"] is not None else None
    if "problem" in head:
        return Annotation(hw, problem=head["problem"])
    if "colours" in head:
        return Annotation(hw, picture=data[at:], colours=dict(head["colours"]))
    areas = []
    for name, kind, shape, size in head["areas"]:
        areas.append(MarkedArea(name, kind, data[at : at + size], tuple(shape)))
        at += size
    return Annotation(hw, tuple(areas))


def draw_areas(annotation: Annotation) -> NDArray[Any]:
    """The place of each pixel's class among the names, unsigned [H, W].

    Raises RowFault, of the truth, unreadable, where an area is none of this image.
    """
    assert annotation.hw is not None
    height, width = annotation.hw
    places = {name: place for place, name in enumerate(annotation.names)}
    # in columns, as COCO's runs are
    drawn_WH = np.full((width, height), _NOBODY, np.min_scalar_type(len(places)))
    for number, area in enumerate(annotation.areas, 1):
        try:
            _draw(drawn_WH, area, places[area.name])
        except ValueError as exc:
            raise RowFault(
                TruthStatus.UNREADABLE,
                f"annotation {number} of the image, {area.name!r}, cannot be drawn: {exc}",
            ) from exc
    return np.ascontiguousarray(drawn_WH.T)


def of_colours(
    annotation: Annotation, values: NDArray[Any], palette: NDArray[np.uint8] | None
) -> NDArray[Any]:
    """The same of a picture that was decoded: ids [H, W] with a palette or grey, or colours [H, W, 3].

    Raises RowFault, of the truth: out_of_range for a colour that has no class, mismatch where the picture has
    another size than is said of it.
    """
    if annotation.hw is not None and annotation.hw != values.shape[:2]:
        height, width = annotation.hw
        found = f"{values.shape[1]} x {values.shape[0]}"
        raise RowFault(
            TruthStatus.MISMATCH, f"its annotation is said to be {width} x {height} pixels, and is {found}"
        )
    if values.ndim == 2 and palette is not None and int(values.max()) < len(palette):
        values = palette[values]
    codes_HW = values.astype(np.int64)
    codes_HW = codes_HW @ np.array([2**16, 2**8, 1]) if values.ndim == 3 else codes_HW * 0x010101
    colours = annotation.colours or {}
    known = np.array(sorted(colours), np.int64)
    places = {name: place for place, name in enumerate(annotation.names)}
    table = np.array([places[colours[code]] for code in known.tolist()], np.min_scalar_type(len(places)))
    at_HW = np.searchsorted(known, codes_HW).clip(max=len(known) - 1)
    unknown_HW = known[at_HW] != codes_HW
    if unknown_HW.any():
        found_N, counts = np.unique(codes_HW[unknown_HW], return_counts=True)
        more = f" and {len(found_N) - 1} more colours" if len(found_N) > 1 else ""
        raise RowFault(
            TruthStatus.OUT_OF_RANGE,
            f"colour #{int(found_N[0]):06x} ({int(counts[0]):,} pixels){more} has no class in the "
            "file of the annotations",
        )
    placed_HW: NDArray[Any] = table[at_HW]
    return placed_HW


def _draw(drawn_WH: NDArray[Any], area: MarkedArea, value: int) -> None:
    """Raises ValueError."""
    width, height = drawn_WH.shape
    match area.kind:
        case "brush":
            drawn_WH.T[brushed(area.data, (height, width))] = value
        case "box":
            _draw_box(drawn_WH, area, value)
        case "polygon":
            corners_N2, start = np.frombuffer(area.data, np.float64).reshape(-1, 2), 0
            for corners in area.shape:
                _fill(drawn_WH, polygon_runs(corners_N2[start : start + corners], (height, width)), value)
                start += corners
        case "coco":
            _fill(drawn_WH, unpacked_counts(area.data), value)
        case _:
            _fill(drawn_WH, np.frombuffer(area.data, np.uint32).astype(np.int64), value)


def _draw_box(drawn_WH: NDArray[Any], area: MarkedArea, value: int) -> None:
    left, top, width, height = area.shape
    counts = np.frombuffer(area.data, np.uint32).astype(np.int64)
    if min(left, top) < 0 or left + width > drawn_WH.shape[0] or top + height > drawn_WH.shape[1]:
        raise ValueError(f"its box of {width} x {height} at {left}, {top} goes beyond the image")
    inside_HW = filled(counts, width * height).reshape(height, width)
    drawn_WH.T[top : top + height, left : left + width][inside_HW] = value


def _fill(drawn_WH: NDArray[Any], counts: NDArray[np.int64], value: int) -> None:
    """Runs in columns, of which only the columns that hold some are touched."""
    pixels = drawn_WH.reshape(-1)
    total = int(counts.sum())
    if (counts < 0).any() or total != len(pixels):
        raise ValueError(f"its runs have {total:,} pixels, and the image has {len(pixels):,}")
    after = int(counts[-1]) if len(counts) % 2 else 0
    between = counts[1:-1] if len(counts) % 2 else counts[1:]
    if len(between):
        first, last = int(counts[0]), total - after
        pixels[first:last][filled(np.concatenate([[0], between]), last - first)] = value
