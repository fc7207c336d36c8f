"""Which classes can win where windows overlap, tile by tile, so that only those are interpolated.

A pixel's score of a class is the mean of what its windows say, each interpolated between four cells and
weighted. In a small tile a class lies between the lowest and the highest of its cells in every window, and a
window's weight between its lowest and its highest. A class that cannot reach another one by these bounds is
left out. The others are computed pixel by pixel in the same steps as `rectangle` computes all: whatever the
tiles are, the labels are the same to the bit.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import reduce

import torch
from torch import Tensor

from batchseg.segmentors.network.bilinear import as_many_rivals, best_class, put_labels
from batchseg.segmentors.network.rectangle import between
from batchseg.segmentors.network.tiles import Combine, TiledSide, at_pixels, pooled

SIDE = 8  # of a tile, in pixels
FEW = 0.5  # share of all scores from which on it is quicker to compute every class everywhere
_ROUNDING = 2e-6  # of a sum of products of a few float32, with room to spare


@dataclass(frozen=True)
class TiledMaps:
    """What a block needs of one grid [C, h, w], and how the tiles of a block lie on it."""

    maps_CHW: Tensor
    y: TiledSide
    x: TiledSide

    @classmethod
    def of(cls, maps_CHW: Tensor, size: tuple[int, int], rows: range, columns: range) -> TiledMaps:
        """The block is `rows` and `columns` of the output of `size`."""
        y, x = (
            TiledSide.of(*between(cells, pixels, some, maps_CHW.device), SIDE)
            for cells, pixels, some in zip(maps_CHW.shape[1:], size, (rows, columns), strict=True)
        )
        held_H, held_W = (slice(int(each.cell_RT[0, 0]), int(each.cell_RT[-1, -1]) + 1) for each in (y, x))
        return cls(maps_CHW[:, held_H, held_W].contiguous(), _from_first(y), _from_first(x))

    def bound(self, combine: Combine) -> Tensor:
        """The highest, or the lowest, of each class among the cells of each tile [C, Ty, Tx]."""
        return pooled(self.maps_CHW, self.y.cell_RT, self.x.cell_RT, combine)

    def interpolated(self, class_Km: Tensor, tile_2m: Tensor) -> Tensor:
        """The scores [K, S, S, m] of some classes (K for each tile) at all pixels of some tiles."""
        height, width = self.maps_CHW.shape[1:]
        cell_RRm = self.y.cell_RT[:, None, tile_2m[0]] * width + self.x.cell_RT[None, :, tile_2m[1]]
        maps_KRRm = self.maps_CHW.take(class_Km[:, None, None] * (height * width) + cell_RRm)
        # between whole rows first, and cells without a share add nothing: the bits are those of `rectangle`
        rows_KSRm = _added(
            maps_KRRm[:, cell, None] * share_Sm[:, None]
            for cell, share_Sm in enumerate(self.y.weight_RST[:, :, tile_2m[0]])
        )
        return _added(
            rows_KSRm[:, :, cell, None] * share_Sm
            for cell, share_Sm in enumerate(self.x.weight_RST[:, :, tile_2m[1]])
        )


def _from_first(side: TiledSide) -> TiledSide:
    """With cells counted from the first that is needed."""
    return replace(side, cell_RT=side.cell_RT - side.cell_RT[0, 0])


@dataclass(frozen=True)
class Said:
    """What one window says of a block.

    Attributes:
        grids: which add, each over the same tiles.
        weights_HW: of the block's pixels; None where it is the only window.
    """

    grids: Sequence[TiledMaps]
    weights_HW: Tensor | None

    def bound(self, combine: Combine) -> Tensor:
        """The highest, or the lowest, of each class in each tile [C, Ty, Tx], or beyond it."""
        return _added(grid.bound(combine) for grid in self.grids)

    def weight_bound(self, combine: Combine) -> Tensor:
        """The same of the weights [Ty, Tx]."""
        y, x = self.grids[0].y.pixel_ST, self.grids[0].x.pixel_ST
        if self.weights_HW is None:
            return torch.ones((y.shape[1], x.shape[1]), device=y.device)
        return pooled(self.weights_HW, y, x, combine)

    def interpolated(self, class_Km: Tensor, tile_2m: Tensor) -> Tensor:
        """The scores [K, S, S, m] of some classes at all pixels of some tiles."""
        return _added(grid.interpolated(class_Km, tile_2m) for grid in self.grids)

    def weights(self, tile_2m: Tensor) -> Tensor:
        """Those of all pixels of some tiles [S, S, m], where there are other windows."""
        assert self.weights_HW is not None
        y, x = self.grids[0].y.pixel_ST[:, tile_2m[0]], self.grids[0].x.pixel_ST[:, tile_2m[1]]
        return self.weights_HW[y[:, None], x]


def rivals(said: Sequence[Said], sure: float = 0.0) -> tuple[Tensor, Tensor]:
    """Which classes could win some pixel of each tile, bool [C, Ty, Tx], and where there is but one.

    Args:
        sure: the tile is not such a one unless the class has so much of all in each of its pixels.
    """
    highest, lowest, most, least = (
        torch.stack([one(each, combine) for each in said])
        for one, combine in (
            (Said.bound, torch.maximum),
            (Said.bound, torch.minimum),
            (Said.weight_bound, torch.maximum),
            (Said.weight_bound, torch.minimum),
        )
    )
    most_k1TT, least_k1TT = most[:, None], least[:, None]
    best_1TT = (least_k1TT * lowest).sum(0).argmax(0)[None]
    own_k1TT = lowest.gather(1, best_1TT[None].expand(len(said), -1, -1, -1))
    ahead_kCTT = highest - own_k1TT  # by how much a class may be ahead of the best, in each window
    reach_CTT = torch.maximum(most_k1TT * ahead_kCTT, least_k1TT * ahead_kCTT).sum(0)
    rival_CTT = ~(reach_CTT < -_ROUNDING * most_k1TT.sum(0))
    is_sure_TT = own_k1TT.amin(0)[0] >= sure * (1 + _ROUNDING)
    return rival_CTT, (rival_CTT.sum(0) == 1) & is_sure_TT


def decide_tiles(said: Sequence[Said], rival_CTT: Tensor, alone_TT: Tensor, below: float | None) -> Tensor:
    """The class of every pixel of a block [H, W]: the lowest of equals, and C where the best has less than
    `below` of all."""
    y, x = said[0].grids[0].y, said[0].grids[0].x
    rival_TTC = rival_CTT.permute(1, 2, 0)
    labels_HW = at_pixels(rival_TTC.to(torch.uint8).argmax(2), y, x)
    for tile_2m, class_Km in _open_tiles(rival_TTC, alone_TT):
        label_SSm = _best(said, tile_2m, class_Km, len(rival_CTT), below)
        y_Sm, x_Sm = y.pixel_ST[:, tile_2m[0]], x.pixel_ST[:, tile_2m[1]]
        put_labels(labels_HW, y_Sm, x_Sm, label_SSm.long())
    return labels_HW


def _open_tiles(rival_TTC: Tensor, alone_TT: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """Row and column [2, m] of tiles that are to be computed, and as many classes [K, m] for each of them."""
    tile_2M = (~alone_TT).nonzero().T
    rival_MC = rival_TTC[tile_2M[0], tile_2M[1]]
    for tile_m, class_Km in as_many_rivals(rival_MC.sum(1), rival_MC.nonzero()[:, 1], SIDE * SIDE):
        yield tile_2M[:, tile_m], class_Km


def _best(
    said: Sequence[Said], tile_2m: Tensor, class_Km: Tensor, classes: int, below: float | None
) -> Tensor:
    values_KSSm = blended(
        [each.interpolated(class_Km, tile_2m) for each in said],
        [each.weights(tile_2m) for each in said] if len(said) > 1 else [],
    )
    label_SSm = best_class(values_KSSm, class_Km[:, None, None], classes)
    if below is not None:
        label_SSm[values_KSSm.amax(0) < below] = classes
    return label_SSm


def blended(values: Sequence[Tensor], weights: Sequence[Tensor]) -> Tensor:
    """The weighted mean of what windows say [K, ...]; one window alone has no weights."""
    if len(values) == 1:
        return values[0]
    total = _added(each * weight for each, weight in zip(values, weights, strict=True))
    return total / _added(weights)


def _added(values: Iterable[Tensor]) -> Tensor:
    """From the first to the last, each sum rounded by itself: the bits depend on nothing else."""
    return reduce(torch.add, values)
