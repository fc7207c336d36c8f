"""Probabilities kept beside a label map: quantised where they were computed, and packed as they come.

They are those that were decided by. In units of 1/255 the winner could be level with another class, or fall
behind it; there it has one unit more than the others, so that whoever decides again finds it.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from batchseg.config.run import Kept
from batchseg.images.probability_file import ONE, SIDE, Codes, ProbabilityWriter, squares_of
from batchseg.images.raster import Area
from batchseg.segmentors.combined.decision import Decision
from batchseg.segmentors.combined.fuse import Grid, as_probabilities, normalised
from batchseg.segmentors.network.bilinear import chunk_elements, finite
from batchseg.segmentors.network.rectangle import Size, rectangle

_AT_ONCE = 2**22  # elements in float32: 16 MiB
Nodata = NDArray[np.bool_]


def keep_whole(
    grids: Sequence[Grid], size: Size, labels_HW: Tensor, decision: Decision, nodata_HW: Nodata | None
) -> bytes:
    """The file of a picture that was decided at once, by interpolating a few rows of a square at a time."""
    keeper = Keeper(Area(0, 0, *size), decision, nodata_HW)
    maps = [replace(grid, maps_CHW=finite(grid.maps_CHW)) for grid in grids]
    for square in squares_of(keeper.area):
        for strip in keeper.strips(square, maps[0].maps_CHW):
            p_Chw = _interpolated(maps, size, strip)
            rows, columns = _slices(strip, keeper.area)
            keeper.add(strip, p_Chw, labels_HW[rows, columns])
    return keeper.packed()


def _interpolated(grids: Sequence[Grid], size: Size, area: Area) -> Tensor:
    """As it was decided: logits are interpolated before their softmax, probabilities as they are."""
    rows, columns = (
        range(start, start + count) for start, count in ((area.top, area.height), (area.left, area.width))
    )
    first, *others = (rectangle(grid.maps_CHW, size, rows, columns) for grid in grids)
    if not others:
        return as_probabilities(grids[0].kind, first)
    for other in others:
        first = first + other
    return normalised(first)


class Keeper:
    """Takes the probabilities of a rectangle, from the top down, and packs every square that is whole.

    Args:
        area: the rectangle, in pixels of the picture.
        nodata_HW: where it has no data; None: nowhere.
    """

    def __init__(self, area: Area, decision: Decision, nodata_HW: Nodata | None = None) -> None:
        assert decision.keeping is not None
        self.area, self.decision, self.nodata_HW, self.keeping = area, decision, nodata_HW, decision.keeping
        self._file = io.BytesIO()
        self._writer = ProbabilityWriter(self._file, (area.height, area.width), self.keeping.names)
        self._squares = {_cell(square): square for square in squares_of(area)}
        self._open: dict[Area, tuple[Codes, int]] = {}

    def strips(self, area: Area, scores_C: Tensor) -> list[Area]:
        """A rectangle in runs of rows of which so many classes take little memory."""
        most = max(_AT_ONCE, chunk_elements(scores_C.device) // 8)
        rows = max(1, most // (len(scores_C) * area.width))
        return [
            area._replace(top=area.top + start, height=min(rows, area.height - start))
            for start in range(0, area.height, rows)
        ]

    def add(self, area: Area, p_CHW: Tensor, labels_HW: Tensor) -> None:
        """The probabilities of some pixels of the picture, and what was decided for them."""
        best_HW = _best(p_CHW, labels_HW, self.decision)
        codes = _quantised(p_CHW, best_HW, self.keeping.kept, self.decision.classes)
        if self.nodata_HW is not None:
            rows, columns = _slices(area, self.area)
            for codes_KHW in codes:
                if codes_KHW is not None:
                    codes_KHW[:, self.nodata_HW[rows, columns]] = 0
        for piece in squares_of(area):
            self._put(piece, area, codes)

    def packed(self) -> bytes:
        """The file, once all is there."""
        self._writer.close()
        return self._file.getvalue()

    def _put(self, piece: Area, area: Area, codes: Codes) -> None:
        """Add a piece of a square, which is written once it has all of them."""
        square = self._squares[_cell(piece)]
        held, lacking = self._open.pop(square, (None, square.height * square.width))
        held = held or codes.room(square[2:])
        held.fill(*_slices(piece, square), codes.cut(*_slices(piece, area)))
        lacking -= piece.height * piece.width
        if lacking:
            self._open[square] = (held, lacking)
        else:
            self._writer.write(square, held)


def _cell(area: Area) -> tuple[int, int]:
    return area.top // SIDE, area.left // SIDE


def _slices(area: Area, within: Area) -> tuple[slice, slice]:
    """The rows and columns of a rectangle among those of one that has it."""
    top, left = area.top - within.top, area.left - within.left
    return slice(top, top + area.height), slice(left, left + area.width)


def _best(p_CHW: Tensor, labels_HW: Tensor, decision: Decision) -> Tensor:
    """The class that shall have the highest code: that which was decided for, [H, W], of type int64.

    Where it was not the most probable, because classes have factors, or none was sure enough, it is that.
    """
    if decision.factors is not None:
        return p_CHW.argmax(0)
    most = len(p_CHW) if decision.none_below is None else decision.classes
    labels_HW = labels_HW.long()
    undecided_HW = labels_HW >= most
    return torch.where(undecided_HW, p_CHW.argmax(0), labels_HW) if bool(undecided_HW.any()) else labels_HW


def _quantised(p_CHW: Tensor, best_HW: Tensor, kept: Kept, classes: int) -> Codes:
    best_1HW = best_HW[None]
    if kept == "full":
        codes_CHW = (p_CHW * ONE).round().to(torch.uint8)
        rivals_1HW = codes_CHW.scatter(0, best_1HW, 0).amax(0, keepdim=True)
        raised_1HW = _above(codes_CHW.gather(0, best_1HW), rivals_1HW)
        return Codes(codes_CHW.scatter(0, best_1HW, raised_1HW).cpu().numpy())
    second = p_CHW.scatter(0, best_1HW, -1.0).max(0, keepdim=True)
    p_2HW = torch.cat([p_CHW.gather(0, best_1HW), second.values])
    codes_2HW = (p_2HW * ONE).round().to(torch.uint8)
    codes_2HW[:1] = _above(codes_2HW[:1], codes_2HW[1:])
    classes_2HW = torch.cat([best_1HW, second.indices]).cpu().numpy()
    return Codes(codes_2HW.cpu().numpy(), classes_2HW.astype(np.min_scalar_type(classes)))


def _above(codes_1HW: Tensor, rivals_1HW: Tensor) -> Tensor:
    """The codes of the winner, where need be one above those of the next."""
    return torch.maximum(codes_1HW, rivals_1HW.clamp(max=ONE - 1) + 1)
