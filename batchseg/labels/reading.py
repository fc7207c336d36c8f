"""How the label files of a source are read: as ids, as colours, or by a threshold. Decided once for all.

A file alone does not tell: a tile that is all white may hold the id 255 or the colour of a class, and the
indices of a palette may be ids or not. So the decision is made for the source, from a sample.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from batchseg.errors import LabelMapError, RowFault
from batchseg.labels.indices import contradiction, used_indices
from batchseg.labels.label_map import Ids, LabelMap, truth_fault
from batchseg.labels.named_classes import NamedClasses

if TYPE_CHECKING:
    from batchseg.config.truth import TruthSettings

Meaning = Literal["ids", "colours"]

NEARLY = 32  # levels from black or from white within which lossy compression leaves a mask of two values
_LUMA = (0.299, 0.587, 0.114)  # ITU-R BT.601, as in JPEG


@dataclass(frozen=True)
class Reading:
    """How label files become class ids.

    Attributes:
        rgb: what RGB files hold; None where the sample had none, and the label map's colours leave it open.
        palette: what the indices of palettes mean: ids, or the colours they stand for; None: ids, and a
            file is refused where a palette has the label map's colours at other ids.
        grey: what grey files hold.
        threshold: grey levels from here on are class 1, those below class 0.
        by_name: label files are annotations of named classes.
    """

    label_map: LabelMap
    rgb: Meaning | None = "ids"
    palette: Meaning | None = "ids"
    grey: Meaning = "ids"
    threshold: int | None = None
    by_name: bool = False

    def __post_init__(self) -> None:
        if self.threshold is not None and self.label_map.num_classes != 2:
            raise LabelMapError(
                f"truth.threshold makes two classes, and the label map has {self.label_map.num_classes}"
            )
        if "colours" in (self.rgb, self.palette, self.grey) and not self.label_map.read_colours:
            raise LabelMapError("truth.values: colours needs a label map that names the colours (`colour`)")

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256, in hex, of everything that changes the class of a pixel."""
        labels = self.label_map
        facts: list[Any] = [labels.num_classes, labels.ignore_index]
        facts += [None if labels.remap is None else sorted(labels.remap.items())]
        facts += [self.rgb, self.palette, self.grey, self.threshold]
        if "colours" in (self.rgb, self.palette, self.grey):
            facts.append(sorted(labels.read_colours.items()))
        if self.by_name:
            facts += [self.classes.unannotated, sorted(self.classes.ids.items())]
        return hashlib.sha256(json.dumps(facts).encode()).hexdigest()

    @property
    def settings(self) -> dict[str, Any]:
        """All but the label map, in plain values."""
        return {
            "rgb": self.rgb,
            "palette": self.palette,
            "grey": self.grey,
            "threshold": self.threshold,
            **({"by_name": True} if self.by_name else {}),
        }

    @property
    def sentence(self) -> str:
        """What is done, for a person."""
        if self.by_name:
            return f"by the names of classes; {self.classes.sentence}"
        if self.threshold is not None:
            return f"grey levels from {self.threshold} on are {self.label_map.names[1]!r}"
        read = {"RGB": self.rgb, "palettes": self.palette, "grey": self.grey}
        by_colour = [name for name, meaning in read.items() if meaning == "colours"]
        return f"{' and '.join(by_colour)} by colour" if by_colour else "as ids"

    def encode(self, values: NDArray[Any], palette: NDArray[np.uint8] | None = None, white: int = 255) -> Ids:
        """Class ids [H, W], and the label map's `void` where there is no truth.

        Args:
            values: ids [H, W] of an integer type or bool, or colours uint8 [H, W, 3].
            palette: uint8 [N, 3], the colours of the ids, where `values` are indices of a palette.
            white: the value of white, where `values` are grey: of 1 bit it is 1.

        Raises:
            RowFault: the file is not what it is read as (unreadable), or holds what is not in the label map
                (out_of_range).
        """
        if self.threshold is not None:
            return self.part(values, palette, white)[0]
        if values.ndim == 3:
            return self._colours(values)
        if palette is not None:
            return self._indices(values, palette)
        return self.label_map.encode(_repeated(values, white) if self.grey == "colours" else values)

    def named(self, places_HW: NDArray[Any], names: Sequence[str | None]) -> Ids:
        """Class ids [H, W] of an annotation, and the label map's `void` where there is no truth.

        Args:
            places_HW: of the class of each pixel among the names.
            names: None for pixels that nobody annotated.

        Raises RowFault (out_of_range) where a name is no class.
        """
        table: Ids = np.array(self.classes.ids_of(names), self.label_map.dtype)
        named_HW: Ids = table[places_HW]
        return named_HW

    @cached_property
    def classes(self) -> NamedClasses:
        """What the names in annotations mean."""
        return NamedClasses(self.label_map)

    def part(
        self, values: NDArray[Any], palette: NDArray[np.uint8] | None = None, white: int = 255
    ) -> tuple[Ids, int]:
        """Class ids by the threshold, and how many pixels are neither nearly black nor nearly white.

        Raises RowFault, as `encode` does.
        """
        assert self.threshold is not None
        grey_HW = _grey(values, palette, white)
        if self.threshold > 1 and white == 255 and grey_HW.min() == 0 and grey_HW.max() == 1:
            raise truth_fault(
                "UNREADABLE",
                f"it holds 0 and 1 alone, which are ids, and a threshold of {self.threshold} takes both for "
                "black; leave truth.threshold out, or save the file as black and white",
            )
        between = np.count_nonzero((grey_HW > NEARLY) & (grey_HW < 255 - NEARLY))
        return (grey_HW >= self.threshold).astype(self.label_map.dtype), int(between)

    def _colours(self, colours_HWC: NDArray[np.uint8]) -> Ids:
        if self.rgb == "colours":
            return self.label_map.encode(colours_HWC)
        if self.rgb is None:
            raise truth_fault(
                "UNREADABLE",
                "it is an RGB file, while those that were looked at are not: say whether these hold ids or "
                "the label map's colours (truth.values: ids, or colours)",
            )
        if not is_grey(colours_HWC):
            raise truth_fault(
                "UNREADABLE",
                "it is in colour, and "
                + (
                    "the RGB files of this source are read as ids (truth.values: colours: by colour)"
                    if self.label_map.read_colours
                    else "the label map names no colours; name them (`colour`), or save ids as grey PNG"
                ),
            )
        return self.label_map.encode(np.ascontiguousarray(colours_HWC[..., 0]))

    def _indices(self, ids_HW: NDArray[Any], palette: NDArray[np.uint8]) -> Ids:
        if self.palette == "colours":
            used = used_indices(ids_HW)
            _refuse_colourless(int(used[-1]), palette)
            table = np.zeros(len(palette), self.label_map.dtype)
            try:
                table[used] = self.label_map.encode(palette[used][np.newaxis])[0]
            except RowFault:
                return self.label_map.encode(palette[ids_HW])  # whose sentence counts the pixels
            encoded_HW: Ids = table[ids_HW]
            return encoded_HW
        if self.palette is None and (sentence := contradiction(self.label_map, ids_HW, palette)):
            raise truth_fault("UNREADABLE", sentence)
        return self.label_map.encode(ids_HW)


class ReadingChoice:
    """Finds out, from some label files, how all of a source are to be read."""

    def __init__(self, label_map: LabelMap, settings: TruthSettings) -> None:
        self.label_map, self.settings = label_map, settings
        self.in_colour = self.grey_rgb = self.as_colours = self.as_ids = 0

    @property
    def depends_on_files(self) -> bool:
        """Whether any file need be looked at."""
        settled = self.settings.values is not None or self.settings.threshold is not None
        return not settled and bool(self.label_map.read_colours)

    def look(self, values: NDArray[Any]) -> None:
        """Take one file's `values` into account, as for `Reading.encode`."""
        if values.ndim == 3 and is_grey(values):
            levels = np.unique(values[..., 0])[np.newaxis]
            self.grey_rgb += 1
            self.as_colours += self._fits(_repeated(levels))
            self.as_ids += self._fits(levels)
        elif values.ndim == 3:
            self.in_colour += 1

    def of_names(self, path: str) -> Reading:
        """Of annotations of named classes, in a file. Raises LabelMapError where pixel values are meant."""
        for setting in ("values", "threshold"):
            if getattr(self.settings, setting) is not None:
                raise LabelMapError(
                    f"truth.{setting}: says what pixels of label files mean, and {path} names its classes; "
                    "leave it out"
                )
        return Reading(self.label_map, by_name=True)

    def reading(self) -> Reading:
        """Raises LabelMapError where the label map cannot be read so."""
        chosen, threshold = self.settings.values, self.settings.threshold
        if threshold is not None:
            return Reading(self.label_map, threshold=threshold)
        if chosen is not None:
            return Reading(self.label_map, rgb=chosen, palette=chosen, grey=chosen)
        return Reading(
            self.label_map, rgb=self._rgb(), palette=None if self.label_map.read_colours else "ids"
        )

    def _rgb(self) -> Meaning | None:
        if not self.label_map.read_colours:
            return "ids"
        if self.in_colour or (self.as_colours and self.as_colours >= self.as_ids):
            return "colours"
        return "ids" if self.grey_rgb else None

    def _fits(self, values: NDArray[np.uint8]) -> bool:
        try:
            self.label_map.encode(values)
        except RowFault:
            return False
        return True


def as_written(label_map: LabelMap) -> Reading:
    """How batchseg's own masks are read: their pixels are class ids."""
    return Reading(label_map.of_masks)


def is_grey(colours_HWC: NDArray[np.uint8]) -> bool:
    """Whether the three channels are equal in every pixel."""
    red_HW = colours_HWC[..., 0]
    return all(np.array_equal(red_HW, colours_HWC[..., channel]) for channel in (1, 2))


def _repeated(grey_HW: NDArray[Any], white: int = 255) -> NDArray[np.uint8]:
    if grey_HW.dtype == bool:
        grey_HW, white = grey_HW.astype(np.uint8), 1
    if grey_HW.dtype != np.uint8:
        raise truth_fault(
            "UNREADABLE",
            f"its pixels are {grey_HW.dtype}, and truth.values: colours reads grey of 8 bits alone",
        )
    return np.repeat((grey_HW * np.uint8(255 // white))[..., np.newaxis], 3, axis=-1)


def _refuse_colourless(index: int, palette: NDArray[np.uint8]) -> None:
    if index >= len(palette):
        raise truth_fault("UNREADABLE", f"its palette has no colour for index {index}")


def _grey(values: NDArray[Any], palette: NDArray[np.uint8] | None, white: int) -> NDArray[Any]:
    """Grey levels [H, W], 0 to 255 but for files of more than 8 bits. Raises RowFault for colours."""
    if palette is not None and values.ndim == 2:
        _refuse_colourless(int(values.max(initial=0)), palette)
        values = palette[values]
    if values.ndim == 2:
        factor = 255 if values.dtype == bool else 255 // white
        return values if factor == 1 else values * np.uint8(factor)
    if int((values.max(axis=-1) - values.min(axis=-1)).max()) > NEARLY:
        raise truth_fault(
            "UNREADABLE",
            "it is in colour, and truth.threshold reads grey levels; save it as black and white, or, where "
            "its colours are exact, name them in the label map (`colour`) and leave truth.threshold out",
        )
    levels_HW: NDArray[np.uint8] = np.rint(values @ np.array(_LUMA, np.float32)).astype(np.uint8)
    return levels_HW
