"""Windows over a picture, or over a part of a large one, blended while what is said of them comes in."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache, reduce
from itertools import pairwise

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from batchseg.images.raster import Area
from batchseg.segmentors.base import Prediction, Probes
from batchseg.segmentors.combined.canvas import WindowGrid
from batchseg.segmentors.combined.decide import presence_of, refuse_labels_alone, weighed
from batchseg.segmentors.combined.decision import Answer, Decision
from batchseg.segmentors.combined.fuse import probability_grids
from batchseg.segmentors.combined.kept import Keeper
from batchseg.segmentors.combined.probe_grid import Places, ProbeGrid
from batchseg.segmentors.combined.probed import of_classes
from batchseg.segmentors.combined.rivals import FEW, Said, TiledMaps, blended, decide_tiles, rivals
from batchseg.segmentors.combined.sureness import Sureness
from batchseg.segmentors.combined.windows import window_weights
from batchseg.segmentors.network.bilinear import best_class
from batchseg.segmentors.network.points import bilinear_points
from batchseg.segmentors.network.rectangle import rectangle

EVERY = 4  # of so many pixels along a side, one tells how sure the model was: about what networks resolve
_ALL = (slice(None), slice(None))


class Mosaic:
    """Decides a rectangle of a picture window by window.

    Class probabilities of the windows are averaged with the weights of the grid's `blend`. A block of pixels
    that the same windows cover is decided once all of them are there; windows that no open block needs are
    freed. A block is decided from its windows alone, in the order of the windows, so that it does not matter
    what else is decided with it.

    Args:
        area: the rectangle, in pixels of the picture.
        looks: how many answers there are to each window.
        windows: those that see a pixel of the rectangle.
        picture_hw: height and width of the picture, on which its probes lie.
        nodata_HW: where the rectangle has no data, for the probabilities.
    """

    def __init__(
        self,
        area: Area,
        decision: Decision,
        looks: int,
        windows: WindowGrid,
        *,
        picture_hw: tuple[int, int],
        nodata_HW: NDArray[np.bool_] | None = None,
    ) -> None:
        self.area, self.decision, self.looks, self.windows = area, decision, looks, windows
        self.answers: dict[int, list[Answer]] = {}
        self.grids: dict[int, list[Tensor]] = {}
        self.rows = _blocks(area.top, area.height, windows.tops, windows.side)
        self.columns = _blocks(area.left, area.width, windows.lefts, windows.side)
        self.labels_HW = np.empty((area.height, area.width), np.min_scalar_type(decision.classes))
        self.sureness: Sureness | None = None  # of label maps alone nobody knows
        self.presence: float | None = None
        self.probe_grid = ProbeGrid.of(picture_hw, area)
        self.probed_CRK = np.full((decision.classes, *self.probe_grid.shape), np.nan, np.float32)
        self.keeper = Keeper(area, decision, nodata_HW) if decision.keeping is not None else None

    @property
    def is_complete(self) -> bool:
        return not self.rows

    def add(self, window: int, answer: Answer) -> None:
        """What was said of a window, counted row by row. Raises ValueError where scores are no numbers."""
        self.answers.setdefault(window, []).append(answer)
        if len(self.answers[window]) < self.looks:
            return
        answers = self.answers.pop(window)
        said = presence_of(answers)
        if said is not None:  # of a picture that windows look at, what is in one of them is in it
            self.presence = said if self.presence is None else max(self.presence, said)
        if self.sureness is None and any(each.scores.kind != "labels" for each in answers):
            self.sureness = Sureness.zeros()
        if self.sureness is None:
            refuse_labels_alone(self.decision)
        grids = self.grids[window] = probability_grids(answers, self.decision)
        if not all(bool(maps_CHW.sum().isfinite()) for maps_CHW in grids):
            raise ValueError("its scores are not numbers (NaN); are there such among its weights?")
        while self.rows and self._has_rows(self.rows[0][2]):
            self._decide_row(*self.rows.pop(0))

    def prediction(self) -> Prediction:
        """Once all is there."""
        kept = self.keeper.packed() if self.keeper is not None else None
        sure = self.sureness is not None and self.sureness.pixels
        confidence = self.sureness.confidence() if self.sureness is not None and sure else None
        return Prediction(self.labels_HW, confidence, kept, self._probes(), self.presence)

    def _probes(self) -> Probes | None:
        """None where nobody wants them, and where windows of the rectangle had label maps alone."""
        lacking = not self.decision.probing or self.sureness is None or bool(np.isnan(self.probed_CRK).any())
        return None if lacking else self.probe_grid.probes(self.probed_CRK)

    def _has_rows(self, rows: Sequence[int]) -> bool:
        columns = range(len(self.windows.lefts))
        return all(row * len(columns) + column in self.grids for row in rows for column in columns)

    def _decide_row(self, start: int, end: int, window_rows: Sequence[int]) -> None:
        """Decide a row of blocks, and free the windows that no later row needs."""
        across = len(self.windows.lefts)
        for first, stop, window_columns in self.columns:
            windows = [row * across + column for row in window_rows for column in window_columns]
            self._decide_block((start, end, first, stop), windows)
        needed = self.rows[0][2][0] if self.rows else len(self.windows.tops)
        for window in [each for each in self.grids if each // across < needed]:
            del self.grids[window]

    def _decide_block(self, block: tuple[int, int, int, int], windows: Sequence[int]) -> None:
        cuts = [_Cut.of(self, window, block) for window in windows]
        labels_HW = self._labels(cuts)
        if self.keeper is not None:
            self._keep(self.keeper, block, cuts, labels_HW)
        (start, end, first, stop), (top, left, _, _) = block, self.area
        self.labels_HW[start - top : end - top, first - left : stop - left] = labels_HW.cpu().numpy()
        if self.decision.probing:
            self._probe(Area(start, first, end - start, stop - first), cuts)
        some = (slice(-start % EVERY, None, EVERY), slice(-first % EVERY, None, EVERY))
        if self.sureness is not None and cuts[0].weights_HW[some].numel():
            sampled_Chw = _blended(cuts, some)[: self.decision.classes]
            self.sureness += Sureness.of(sampled_Chw.flatten(1), *self.decision.claims)

    def _probe(self, block: Area, cuts: Sequence[_Cut]) -> None:
        """The probes of a block, of which label maps alone have none."""
        rows, columns = self.probe_grid.slices(block)
        some = self.probe_grid.within(block).inside
        if self.sureness is None or not (len(some[0]) and len(some[1])):
            return
        weights = [cut.weights_HW[np.ix_(*some)] for cut in cuts] if len(cuts) > 1 else []
        p_CRK = blended([cut.points(*some) for cut in cuts], weights)
        self.probed_CRK[:, rows, columns] = of_classes(p_CRK, self.decision.classes).cpu().numpy()

    def _keep(
        self, keeper: Keeper, block: tuple[int, int, int, int], cuts: Sequence[_Cut], labels_HW: Tensor
    ) -> None:
        start, end, first, stop = block
        area = Area(start, first, end - start, stop - first)
        for strip in keeper.strips(area, cuts[0].grids[0]):
            rows = slice(strip.top - start, strip.top - start + strip.height)
            keeper.add(strip, _blended(cuts, (rows, slice(None))), labels_HW[rows])

    def _labels(self, cuts: Sequence[_Cut]) -> Tensor:
        """Of a block, of which most pixels mostly need no more than a look at their cells."""
        below, factors = self.decision.none_below, self.decision.factors
        if factors is None:
            said = [cut.said(alone=len(cuts) == 1) for cut in cuts]
            rival_CTT, alone_TT = rivals(said, below or 0.0)
            if float((rival_CTT.sum(0) * ~alone_TT).float().mean()) < FEW * len(rival_CTT):
                return decide_tiles(said, rival_CTT, alone_TT, below)
        total_CHW = _blended(cuts)
        class_C11 = torch.arange(len(total_CHW), device=total_CHW.device)[:, None, None]
        labels_HW = best_class(weighed(total_CHW, "probabilities", self.decision), class_C11, len(total_CHW))
        if below is not None:
            labels_HW[total_CHW.amax(0) < below] = self.decision.classes
        return labels_HW


@dataclass(frozen=True)
class _Cut:
    """What one window says of one block: its grids, and the block's rows and columns among its own pixels."""

    grids: list[Tensor]
    side: int
    rows: range
    columns: range
    weights_HW: Tensor

    @classmethod
    def of(cls, mosaic: Mosaic, window: int, block: tuple[int, int, int, int]) -> _Cut:
        windows, grids = mosaic.windows, mosaic.grids[window]
        row, column = divmod(window, len(windows.lefts))
        start, end, first, stop = block
        top, left, side = windows.tops[row], windows.lefts[column], windows.side
        rows, columns = range(start - top, end - top), range(first - left, stop - left)
        weights_HW = _weights(side, windows.blend, grids[0].device)
        some_HW = weights_HW[rows.start : rows.stop, columns.start : columns.stop]
        return cls(grids, side, rows, columns, some_HW)

    def said(self, alone: bool) -> Said:
        """The same by tiles; the only window needs no weights."""
        size = (self.side, self.side)
        grids = [TiledMaps.of(maps_CHW, size, self.rows, self.columns) for maps_CHW in self.grids]
        return Said(grids, None if alone else self.weights_HW)

    def probabilities(self, some: tuple[slice, slice]) -> Tensor:
        """[C, H, W] at some of the block's pixels."""
        size, rows, columns = (self.side, self.side), self.rows[some[0]], self.columns[some[1]]
        return reduce(torch.add, (rectangle(maps_CHW, size, rows, columns) for maps_CHW in self.grids))

    def points(self, row_R: Places, column_K: Places) -> Tensor:
        """[C, R, K] where some rows and columns of the block cross."""
        size, some = (self.side, self.side), (row_R + self.rows.start, column_K + self.columns.start)
        return reduce(torch.add, (bilinear_points(maps_CHW, size, *some) for maps_CHW in self.grids))


@lru_cache(maxsize=4)
def _weights(side: int, blend: str, device: torch.device) -> Tensor:
    return window_weights((side, side), blend).to(device)


def _blended(cuts: Sequence[_Cut], some: tuple[slice, slice] = _ALL) -> Tensor:
    """The weighted mean of what windows say, [C, H, W]."""
    return blended([cut.probabilities(some) for cut in cuts], [cut.weights_HW[some] for cut in cuts])


def _blocks(start: int, length: int, starts: Sequence[int], side: int) -> list[tuple[int, int, list[int]]]:
    """Runs of pixels along a side that the same windows cover: the first, the last + 1, and the windows."""
    end = start + length
    edges = {each for begin in starts for each in (begin, begin + side) if start < each < end}
    return [
        (low, high, [index for index, begin in enumerate(starts) if begin <= low and high <= begin + side])
        for low, high in pairwise(sorted({start, end, *edges}))
    ]
