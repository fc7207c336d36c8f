"""How square tiles of an output lie on a grid of scores that is upsampled to it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import reduce

import torch
from torch import Tensor

from batchseg.segmentors.network.bilinear import Axis, blend_corners, cells_around

Combine = Callable[[Tensor, Tensor], Tensor]


def axes_of(grid_CHW: Tensor, size: tuple[int, int]) -> tuple[Axis, Axis]:
    """The rows and the columns of an output of `size`, between the cells of a grid."""
    y, x = (
        Axis.between(cells, pixels, grid_CHW.device)
        for cells, pixels in zip(grid_CHW.shape[1:], size, strict=True)
    )
    return y, x


@dataclass(frozen=True, slots=True)
class TiledSide:
    """One side of the output, or of a rectangle of it, in tiles over the cells of one grid.

    Attributes:
        pixels: how many there are.
        pixel_ST: those of each tile; a last tile that is shorter repeats its last one.
        cell_RT: the cells that the pixels of each tile lie between; short runs repeat their last one.
        weight_RST: the share of each of these cells in each of these pixels.
    """

    pixels: int
    pixel_ST: Tensor
    cell_RT: Tensor
    weight_RST: Tensor

    @classmethod
    def of(cls, lower_N: Tensor, upper_N: Tensor, weight_N: Tensor, side: int) -> TiledSide:
        """Cut pixels, with the two cells of each and the weight of the second, into tiles of `side`."""
        device, pixels = lower_N.device, len(lower_N)
        start_T = torch.arange(0, pixels, side, device=device)
        pixel_ST = (start_T + torch.arange(side, device=device)[:, None]).clamp(max=pixels - 1)
        first_T, last_T = lower_N[pixel_ST[0]], upper_N[pixel_ST[-1]]
        cell_RT = first_T + torch.arange(int((last_T - first_T).max()) + 1, device=device)[:, None]
        weight_ST, cell_R1T = weight_N[pixel_ST], cell_RT[:, None]
        weight_RST = torch.where(cell_R1T == lower_N[pixel_ST], 1 - weight_ST, 0.0)
        weight_RST += torch.where(cell_R1T == upper_N[pixel_ST], weight_ST, 0.0)
        return cls(pixels, pixel_ST, torch.minimum(cell_RT, last_T), weight_RST)


@dataclass(frozen=True, slots=True)
class TiledGrid:
    """A grid of scores, and how the tiles of the output lie on it."""

    scores_CHW: Tensor
    axes: tuple[Axis, Axis]
    y: TiledSide
    x: TiledSide

    @classmethod
    def of(cls, scores_CHW: Tensor, size: tuple[int, int], side: int) -> TiledGrid:
        axes = axes_of(scores_CHW, size)
        sides = (TiledSide.of(each.lower_N, each.upper_N, each.upper_weight_N, side) for each in axes)
        return cls(scores_CHW, axes, *sides)

    def pooled(self, map_HW: Tensor, combine: Combine) -> Tensor:
        """For each tile [Ty, Tx], its cells in a map of the grid's size combined: the lowest, the highest."""
        return pooled(map_HW, self.y.cell_RT, self.x.cell_RT, combine)

    def bounds(self, row_B: Tensor, tile_2M: Tensor) -> tuple[Tensor, Tensor]:
        """The highest and the lowest score [C, M] of every class among the cells of some tiles.

        Args:
            row_B: a band of rows of tiles.
            tile_2M: row, counted within the band, and column of each tile.
        """
        rows_CBW = [self.scores_CHW.index_select(1, cell_B) for cell_B in self.y.cell_RT[:, row_B]]
        cell_RM = tile_2M[0] * self.scores_CHW.shape[2] + self.x.cell_RT[:, tile_2M[1]]
        highest, lowest = (
            _pool(reduce(combine, rows_CBW).flatten(1), 1, cell_RM, combine)
            for combine in (torch.maximum, torch.minimum)
        )
        return highest, lowest

    def interpolated(self, class_Km: Tensor, tile_2m: Tensor) -> Tensor:
        """The scores [K, S, S, m] of some classes (K for each tile) at all pixels of some tiles."""
        cells, width = self.scores_CHW[0].numel(), self.scores_CHW.shape[2]
        cell_RRm = self.y.cell_RT[:, None, tile_2m[0]] * width + self.x.cell_RT[None, :, tile_2m[1]]
        scores_KRRm = self.scores_CHW.take(class_Km[:, None, None] * cells + cell_RRm)
        # within rows, then between them: the order of torch's kernel
        across_KRSm = _weighted(scores_KRRm.transpose(1, 2), self.x.weight_RST[:, :, tile_2m[1]])
        return _weighted(across_KRSm, self.y.weight_RST[:, :, tile_2m[0]]).transpose(1, 2)

    def class_and_total(self, total_HW: Tensor, label_M: Tensor, y_M: Tensor, x_M: Tensor) -> Tensor:
        """At some pixels: the score of one class each, and that of `total_HW` [2, M]."""
        cell_4M = cells_around(*self.axes, y_M, x_M)
        own_4M = self.scores_CHW.take(label_M * total_HW.numel() + cell_4M)
        corners_24M = torch.stack([own_4M, total_HW.take(cell_4M)])
        return blend_corners(corners_24M, *self.axes, y_M[None], x_M[None])[:, 0, 0]


def pooled(maps: Tensor, row_RT: Tensor, column_RT: Tensor, combine: Combine) -> Tensor:
    """For each tile, some rows and columns of the last two axes combined."""
    return _pool(_pool(maps, -2, row_RT, combine), -1, column_RT, combine)


def at_pixels(tile_TT: Tensor, y: TiledSide, x: TiledSide) -> Tensor:
    """What is true of a tile, for each of its pixels [height, width]."""
    row_H, column_W = (
        torch.arange(each.pixels, device=tile_TT.device) // len(each.pixel_ST) for each in (y, x)
    )
    return tile_TT.index_select(1, column_W).index_select(0, row_H)


def _pool(values: Tensor, dim: int, place_RT: Tensor, combine: Combine) -> Tensor:
    return reduce(combine, (values.index_select(dim, place_T) for place_T in place_RT))


def _weighted(values_KRXm: Tensor, weight_RSm: Tensor) -> Tensor:
    """The sums [K, X, S, m] over the cells R."""
    *others, last = range(len(weight_RSm))
    total = values_KRXm[:, last, :, None] * weight_RSm[last]
    # from the last cell to the first: the order in which torch's kernel rounds
    for cell in reversed(others):
        total = torch.addcmul(total, values_KRXm[:, cell, :, None], weight_RSm[cell])
    return total
