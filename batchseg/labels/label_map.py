"""Label maps: what the classes are called, how they are drawn, and which truth ids mean them.

raw truth (ids or colours)  --LabelMap.encode-->  class ids 0 .. C-1, and C ("void") for no truth
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from batchseg.errors import LabelMapError, RowFault
from batchseg.labels.colours import BLACK, Colour, distinct_colours, voc_colour

Ids = NDArray[np.unsignedinteger[Any]]


MAX_CLASSES = 2**16 - 1


IGNORE_INDEX = 255


# a lookup table reaches from the lowest truth id to the highest: these bounds keep it small and
# admit every uint16, every packed RGB id and the negative "nothing here" of .npy files
LOWEST_TRUTH_ID, HIGHEST_TRUTH_ID = -(2**15), 2**24 - 1


_LISTED = 5
_BACKGROUND = {"background", "unlabeled", "unlabelled"}
_AS_DRAWN: Mapping[Colour, int] = MappingProxyType({})


@dataclass(frozen=True)
class LabelMap:
    """The classes of a model or a data set; the id of a class is its position in `names`.

    Attributes:
        names: unique, 1 to 65535 of them.
        colours: RGB of each class, no two alike; empty for the default palette.
        ignore_index: the truth id that means "no truth", and the pixel value of void in written masks.
        remap: truth id -> class id or `ignore_index`; None where truth ids are class ids.
        read_colours: colour in a truth -> class id or `ignore_index`. By default `colours`, if these are
            given; the default palette is for drawing alone, since no truth is known to have it.
        read_names: further names in a truth of named classes -> class id or `ignore_index`.
        groups: the class here of each class of the model, whose probabilities add; None: they are the same.
        is_partial: groups may leave classes out, which are then never predicted, and hold `void` for classes
            of the model that are none of these.

    Raises:
        LabelMapError: the parts contradict each other.
    """

    names: tuple[str, ...]
    colours: tuple[Colour, ...] = ()
    ignore_index: int = IGNORE_INDEX
    remap: Mapping[int, int] | None = None
    read_colours: Mapping[Colour, int] = field(default_factory=lambda: _AS_DRAWN)
    groups: tuple[int, ...] | None = None
    read_names: Mapping[str, int] = field(default_factory=dict)
    is_partial: bool = False

    def __post_init__(self) -> None:
        if self.read_colours is _AS_DRAWN:
            named = {colour: index for index, colour in enumerate(self.colours)}
            object.__setattr__(self, "read_colours", named)
        if not self.colours:
            object.__setattr__(self, "colours", default_colours(self.names))
        for problem in (*_name_problems(self), *_colour_problems(self), *_id_problems(self)):
            raise LabelMapError(problem)

    @classmethod
    def from_names(cls, names: Sequence[str]) -> LabelMap:
        """Classes with the default palette; void is 255, or 65535 where 255 is a class."""
        return cls(tuple(names), ignore_index=IGNORE_INDEX if len(names) <= IGNORE_INDEX else MAX_CLASSES)

    @property
    def num_classes(self) -> int:
        return len(self.names)

    @property
    def num_model_classes(self) -> int:
        """How many classes the model tells apart: more than there are here, where some are merged."""
        return self.num_classes if self.groups is None else len(self.groups)

    @property
    def void(self) -> int:
        """The id, inside the program, of pixels without truth and of pixels where a mask abstains."""
        return self.num_classes

    @property
    def dtype(self) -> np.dtype[Any]:
        """The smallest type that holds the classes and void: uint8, or uint16 from 256 classes on."""
        return np.min_scalar_type(self.void)

    @property
    def of_masks(self) -> LabelMap:
        """The same classes, read from masks: there a pixel is its class id, or `ignore_index` for void."""
        return replace(self, remap=None)

    @cached_property
    def mask_fingerprint(self) -> str:
        """SHA-256, in hex, of everything here that changes the pixels of a mask: no names, no colours."""
        return _digest(self.num_classes, self.ignore_index, *self._merging)

    @cached_property
    def drawn_fingerprint(self) -> str:
        """SHA-256, in hex, that also covers names and colours: what rows bear whose mask was computed before
        a palette could be rewritten."""
        return _digest(self.names, self._colours_before, self.ignore_index, None, *self._merging)

    @cached_property
    def single_fingerprint(self) -> str:
        """SHA-256, in hex, of both: what rows bear that were written when masks and scores had one key."""
        remap = None if self.remap is None else sorted(self.remap.items())
        return _digest(self.names, self._colours_before, self.ignore_index, remap, *self._merging)

    @property
    def _merging(self) -> list[tuple[int, ...]]:
        """Nothing where no classes are merged, so that the fingerprints stay what they were."""
        return [] if self.groups is None else [self.groups]

    @property
    def _colours_before(self) -> list[Colour]:
        """What earlier versions drew: classes without a colour of their own had that of PASCAL VOC."""
        first = 0 if is_background(self.names[0]) else 1
        return [
            colour if colour in self.read_colours else voc_colour(first + index)
            for index, colour in enumerate(self.colours)
        ]

    def encode(self, raw: NDArray[Any]) -> Ids:
        """Class ids, [H, W] of `dtype`, of a ground truth as it was read.

        Truth ids equal to `ignore_index`, unless remapped, and those mapped to it become `void`.

        Args:
            raw: truth ids, [H, W] of any integer type or bool, or colours, uint8 [H, W, 3].

        Raises:
            RowFault: `raw` is neither (unreadable), or holds an id or a colour that is not in the
                label map (out_of_range).
        """
        match raw.shape, raw.dtype.kind, raw.dtype.itemsize:
            case (_, _), "i" | "u" | "b", _:
                return self._look_up(raw, self.known_ids)
            case (_, _, 3), "u", 1:
                return self._by_colour(raw)
        raise truth_fault(
            "UNREADABLE",
            f"the ground truth is {raw.dtype} of shape {raw.shape}, neither integer class ids [H, W] "
            "nor uint8 colours [H, W, 3]",
        )

    @cached_property
    def known_ids(self) -> dict[int, int]:
        """Truth id -> class id or void."""
        remap = dict(enumerate(range(self.num_classes))) if self.remap is None else self.remap
        known = {truth: self.void if to == self.ignore_index else to for truth, to in remap.items()}
        return {self.ignore_index: self.void, **known}

    def _by_colour(self, colours_HWC: NDArray[np.uint8]) -> Ids:
        if not self.read_colours:
            raise truth_fault("UNREADABLE", "it is in colour, and the label map names no colours (`colour`)")
        known = {
            red << 16 | green << 8 | blue: self.void if to == self.ignore_index else to
            for (red, green, blue), to in self.read_colours.items()
        }
        return self._look_up(_pack(colours_HWC), known, as_colours=True)

    def _look_up(self, codes_HW: NDArray[Any], known: dict[int, int], *, as_colours: bool = False) -> Ids:
        lowest, highest = min(0, *known), max(known)
        if codes_HW.size and not lowest <= codes_HW.min() <= codes_HW.max() <= highest:
            raise self._unknown(codes_HW, known, as_colours)
        # zero means unknown, so the table costs only the pages it touches; negative codes index its end
        table = np.zeros(highest - lowest + 1, np.min_scalar_type(self.void + 1))
        table[list(known)] = np.fromiter(known.values(), np.int64) + 1
        ids_HW = table.take(codes_HW.astype(np.intp, copy=False))
        if not ids_HW.all():
            raise self._unknown(codes_HW, known, as_colours)
        ids_HW -= 1
        return ids_HW.astype(self.dtype, copy=False)

    def _unknown(self, codes_HW: NDArray[Any], known: dict[int, int], as_colours: bool) -> RowFault:
        codes, counts = np.unique(codes_HW, return_counts=True)
        pixels = dict(zip(codes.tolist(), counts.tolist(), strict=True))
        unknown = [code for code in pixels if code not in known]
        shown = [
            f"{f'#{code:06x}' if as_colours else int(code)} ({pixels[code]} pixel{'s'[: pixels[code] != 1]})"
            for code in unknown[:_LISTED]
        ]
        more = f" and {len(unknown) - _LISTED} more" if len(unknown) > _LISTED else ""
        noun = ("colour" if as_colours else "id") + "s"[: len(unknown) != 1]
        return truth_fault(
            "OUT_OF_RANGE",
            f"{noun} {', '.join(shown)}{more} of the ground truth {'is' if len(unknown) == 1 else 'are'} "
            f"not in the label map ({self._known_text(as_colours)})",
        )

    def _known_text(self, as_colours: bool) -> str:
        if as_colours:
            return f"{len(self.read_colours)} colours; ignored_colours lists those that count nowhere"
        known = self.known_ids
        classes = _ranges([truth for truth, to in known.items() if to != self.void])
        return f"{classes}; ignored: {_ranges([truth for truth, to in known.items() if to == self.void])}"


def _digest(*parts: Any) -> str:
    return hashlib.sha256(json.dumps(list(parts)).encode()).hexdigest()


def is_background(name: str) -> bool:
    """Whether a class is called so, and means what is left over by all others."""
    return name.strip("_ ").lower() in _BACKGROUND


def _name_problems(labels: LabelMap) -> list[str]:
    if not 1 <= len(labels.names) <= MAX_CLASSES:
        return [f"a label map has 1 to {MAX_CLASSES} classes, not {len(labels.names)}"]
    return [f"class name {name!r} is given twice" for name in _repeated(labels.names)]


def _colour_problems(labels: LabelMap) -> list[str]:
    if len(labels.colours) != len(labels.names):
        return [f"{len(labels.names)} classes need as many colours, not {len(labels.colours)}"]
    wrong = [colour for colour in labels.colours if not all(value in range(256) for value in colour)]
    return [
        *(f"colour {colour} is not three values of 0 to 255" for colour in wrong),
        *(f"colour {colour} is given to two classes" for colour in _repeated(labels.colours)),
    ]


def _id_problems(labels: LabelMap) -> list[str]:
    problems = []
    last = labels.num_classes - 1
    if not labels.num_classes <= labels.ignore_index <= MAX_CLASSES:
        problems.append(
            f"ignore_index is {labels.ignore_index}, which is a class or no pixel value; choose one from "
            f"{labels.num_classes} to {MAX_CLASSES} (ids to ignore in the truth go to ignored_truth_ids)"
        )
    for truth, to in (labels.remap or {}).items():
        if not LOWEST_TRUTH_ID <= truth <= HIGHEST_TRUTH_ID:
            problems.append(f"truth id {truth} is not in {LOWEST_TRUTH_ID} to {HIGHEST_TRUTH_ID}")
        if to != labels.ignore_index and not 0 <= to <= last:
            problems.append(f"truth id {truth} is mapped to {to}, which is no class (0 to {last})")
    if labels.groups is not None and labels.is_partial:
        if not {*labels.groups} <= {*range(labels.num_classes + 1)}:
            problems.append(f"groups must be of the classes 0 to {last}, or {labels.void} for void")
    elif labels.groups is not None and {*labels.groups} != {*range(labels.num_classes)}:
        problems.append(f"groups must name each of the classes 0 to {last}, and no other")
    return problems


def _repeated(values: Sequence[Any]) -> list[Any]:
    return [value for value, times in Counter(values).items() if times > 1]


def default_colours(names: Sequence[str], taken: Collection[Colour] = ()) -> tuple[Colour, ...]:
    """A colour for each class, no two alike and none of those `taken`; a background is black."""
    background = next((name for name in names if is_background(name)), None) if BLACK not in taken else None
    others = distinct_colours(taken)
    return tuple(BLACK if name == background else next(others) for name in names)


def _pack(colours: NDArray[np.uint8]) -> NDArray[np.intp]:
    """One number, 0xrrggbb, for each colour of the last axis."""
    red, green, blue = (colours[..., channel].astype(np.intp) for channel in range(3))
    red <<= 16
    green <<= 8
    red |= green
    red |= blue
    return red


def _ranges(ids: Sequence[int]) -> str:
    """0, 1, 2, 7 -> "0 to 2, 7"."""
    runs: list[list[int]] = []
    for number in sorted(ids):
        if runs and number == runs[-1][1] + 1:
            runs[-1][1] = number
        else:
            runs.append([number, number])
    return ", ".join(str(start) if start == end else f"{start} to {end}" for start, end in runs)


def truth_fault(status: str, sentence: str) -> RowFault:
    """A RowFault by the name of its `TruthStatus`."""
    from batchseg.schema import TruthStatus  # loads pyarrow, which the command line's start must not

    return RowFault(TruthStatus[status], sentence)
