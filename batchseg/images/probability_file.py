"""Class probabilities of a picture in a file of numpy: a zip of arrays, each a square of the picture.

    shape                  int64 [2]: height and width of the picture
    names                  of its C classes
    p_TOP_LEFT             uint8 [C, h, w] of `full`, [2, h, w] of `top2`: round(255 p); TOP and LEFT are
                           whole multiples of 512, and at most 512 rows and columns follow
    classes_TOP_LEFT       of `top2` alone: the ids of these two classes [2, h, w], in the smallest type

Where a member of an ensemble answers with label maps there may be a class more, the last, which is void.
Pixels without data are 0 everywhere, and no others are. The same probabilities make the same bytes.
"""

from __future__ import annotations

import io
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, BinaryIO, NamedTuple, get_args

import numpy as np
from numpy.typing import NDArray

from batchseg.config.run import Kept
from batchseg.errors import RowFault
from batchseg.images.raster import Area
from batchseg.schema import Status

KINDS: tuple[Kept, ...] = get_args(Kept)
SIDE = 512  # pixels along a side of what is read and written at once
ONE = 255  # the code of a probability of 1
_FIRST_DAY = (1980, 1, 1, 0, 0, 0)  # of zip: with the day of today the same content would differ
_FASTEST = 1
# what zipfile and numpy raise where bytes of a file of numpy are others than were written
DAMAGED = (
    zipfile.BadZipFile,  # a header, a sum
    zlib.error,  # packed bytes
    EOFError,  # of which some are lacking
    ValueError,  # what they hold, the text of a name
    KeyError,  # the name of an array
    RuntimeError,  # the flag of encryption; NotImplementedError: the kind of packing
)


class Codes(NamedTuple):
    """Probabilities of a rectangle in units of 1/255.

    Attributes:
        p_KHW: uint8, of all classes in their order, or of the two best.
        classes_KHW: which two; None: all.
    """

    p_KHW: NDArray[np.uint8]
    classes_KHW: NDArray[np.unsignedinteger[Any]] | None = None

    def room(self, hw: tuple[int, int]) -> Codes:
        """The like for a rectangle of another size, not filled yet."""
        p_KHW, classes_KHW = self
        shape = (len(p_KHW), *hw)
        others = None if classes_KHW is None else np.empty(shape, classes_KHW.dtype)
        return Codes(np.empty(shape, p_KHW.dtype), others)

    def fill(self, rows: slice, columns: slice, some: Codes) -> None:
        """Put those of some rows and columns in their place."""
        for whole_KHW, some_KHW in zip(self, some, strict=True):
            if whole_KHW is not None and some_KHW is not None:
                whole_KHW[:, rows, columns] = some_KHW

    def cut(self, rows: slice, columns: slice) -> Codes:
        """Those of some rows and columns."""
        p_KHW, classes_KHW = self
        others = None if classes_KHW is None else classes_KHW[:, rows, columns]
        return Codes(p_KHW[:, rows, columns], others)


def probability_name(mask: str, kept: Kept) -> str:
    """Path below probabilities/ of the file of a mask, whose path is one below masks/."""
    return f"{mask}.{kept}.npz"


def probability_names(mask: str) -> list[str]:
    """What the file of a mask may be called, whatever was kept."""
    return [probability_name(mask, kept) for kept in KINDS]


def squares_of(area: Area) -> Iterator[Area]:
    """The squares of one grid over the whole picture, as far as they lie in a rectangle, row by row."""
    for top, bottom in _cuts(area.top, area.height):
        for left, right in _cuts(area.left, area.width):
            yield Area(top, left, bottom - top, right - left)


def _cuts(start: int, length: int) -> Iterator[tuple[int, int]]:
    while length > 0:
        size = min(length, SIDE - start % SIDE)
        yield start, start + size
        start, length = start + size, length - size


class ProbabilityWriter:
    """Writes a file square by square, and holds no more than one of them. To be closed at the end."""

    def __init__(self, file: str | BinaryIO, shape_hw: tuple[int, int], names: Sequence[str]) -> None:
        self._zip = zipfile.ZipFile(file, "w")
        self._add("shape", np.array(shape_hw, np.int64))
        self._add("names", np.array(names))

    def close(self) -> None:
        """Write the directory, without which it is no file. Raises OSError."""
        self._zip.close()

    def write(self, square: Area, codes: Codes) -> None:
        """Raises OSError."""
        if codes.classes_KHW is not None:
            self._add(f"classes_{square.top}_{square.left}", codes.classes_KHW)
        self._add(f"p_{square.top}_{square.left}", codes.p_KHW)

    def _add(self, name: str, array: NDArray[Any]) -> None:
        member = zipfile.ZipInfo(f"{name}.npy", _FIRST_DAY)
        member.create_system = 3  # whatever this machine is
        data = io.BytesIO()
        np.lib.format.write_array(data, array, allow_pickle=False)
        self._zip.writestr(member, data.getbuffer(), zipfile.ZIP_DEFLATED, _FASTEST)


@dataclass(frozen=True)
class ProbabilityFile:
    """An open file of probabilities.

    Attributes:
        shape_hw: of the picture.
        names: of the classes.
    """

    arrays: Any
    shape_hw: tuple[int, int]
    names: tuple[str, ...]

    def read(self, square: Area) -> Codes:
        """Of a square, as `squares_of` has it. Raises RowFault where it is damaged."""
        place = f"{square.top}_{square.left}"
        with _faults():
            p_KHW = self.arrays[f"p_{place}"]
            classes_KHW = self.arrays.get(f"classes_{place}")
            if p_KHW.shape[1:] != square[2:] or p_KHW.dtype != np.uint8:
                raise ValueError(f"p_{place} is {p_KHW.dtype} {p_KHW.shape}")
            if classes_KHW is not None and classes_KHW.shape != p_KHW.shape:
                raise ValueError(f"classes_{place} is {classes_KHW.shape}, beside p {p_KHW.shape}")
        return Codes(p_KHW, classes_KHW)


@contextmanager
def open_probabilities(file: str | BinaryIO) -> Iterator[ProbabilityFile]:
    """A file of probabilities, by its path or open, of which no more is read than is asked for.

    Raises RowFault (unreadable) where it is none, or is damaged.
    """
    with _faults():
        if not zipfile.is_zipfile(file):  # numpy would take it for one of its other kinds
            raise ValueError("no whole zip")
        arrays = np.load(file, allow_pickle=False)
        height, width = arrays["shape"].tolist()
        opened = ProbabilityFile(arrays, (height, width), tuple(arrays["names"].tolist()))
    with arrays:
        yield opened


@contextmanager
def _faults() -> Iterator[None]:
    try:
        yield
    except (*DAMAGED, OSError) as exc:  # a place in the file that cannot be, too
        raise RowFault(Status.UNREADABLE, f"it is damaged, or no file of probabilities ({exc})") from exc
