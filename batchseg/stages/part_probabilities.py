"""The probabilities of a raster, joined from those of its parts: the same whatever the parts."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack, closing
from itertools import groupby

from batchseg.config.run import Kept
from batchseg.errors import RowFault
from batchseg.images.probability_file import (
    Codes,
    ProbabilityFile,
    ProbabilityWriter,
    open_probabilities,
    probability_name,
    squares_of,
)
from batchseg.images.raster import Area
from batchseg.stages.files import putter
from batchseg.stages.item import RasterPart
from batchseg.stages.part_file import PROBABILITIES, KeptParts
from batchseg.storage.location import Location


def join_probabilities(
    results: Location, mask: str, parts: KeptParts, names: Sequence[str], kept: Kept
) -> None:
    """Write the file that lies beside a mask, square by square.

    Raises OutputError where it cannot be written, and RowFault where that of a part is damaged.
    """
    height, width = parts.parts[0].picture_hw

    def make(path: str) -> None:
        rows = groupby(squares_of(Area(0, 0, height, width)), key=lambda square: square.top)
        with closing(ProbabilityWriter(path, (height, width), names)) as writer:
            for _, squares in rows:
                with ExitStack() as stack:
                    opened: dict[int, ProbabilityFile] = {}
                    for square in squares:
                        writer.write(square, _joined(parts, square, opened, stack))

    put = putter(results / "probabilities", "file of probabilities")
    put(probability_name(mask, kept), lambda target: target.write_by(make))


def _joined(parts: KeptParts, square: Area, opened: dict[int, ProbabilityFile], stack: ExitStack) -> Codes:
    codes: Codes | None = None
    for part in parts.parts:
        piece = _common(square, part.area)
        if piece is None:
            continue
        if part.number not in opened:
            opened[part.number] = _open(parts.folder, part, stack)
        found = opened[part.number].read(piece)
        if piece == square:
            return found
        codes = codes or found.room(square[2:])
        top, left = piece.top - square.top, piece.left - square.left
        codes.fill(slice(top, top + piece.height), slice(left, left + piece.width), found)
    assert codes is not None  # parts cover the raster
    return codes


def _open(folder: Location, part: RasterPart, stack: ExitStack) -> ProbabilityFile:
    place = folder / f"{part.number}{PROBABILITIES}"
    file = stack.enter_context(place.filesystem.open_input_file(place.path))
    try:
        return stack.enter_context(open_probabilities(file))
    except RowFault as fault:
        raise RowFault(fault.status, f"{place}: {fault}; delete {folder}, and run again") from fault


def _common(one: Area, other: Area) -> Area | None:
    """What two rectangles have in common."""
    top, left = max(one.top, other.top), max(one.left, other.left)
    bottom = min(one.top + one.height, other.top + other.height)
    right = min(one.left + one.width, other.left + other.width)
    return Area(top, left, bottom - top, right - left) if top < bottom and left < right else None
