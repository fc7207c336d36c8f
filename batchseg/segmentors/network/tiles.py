"""How square tiles of an output lie on a grid of scores that is upsampled to it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from batchseg.segmentors.network.bilinear import Axis, blend_corners, cells_around


def axes_of(grid_CHW: Tensor, size: tuple[int, int]) -> tuple[Axis, Axis]:
    """The rows and the columns of an output of `size`, between the cells of a grid."""
    y, x = (
        Axis.between(cells, pixels, grid_CHW.device)
        for cells, pixels in zip(grid_CHW.shape[1:], size, strict=True)
    )
    return y, x


@dataclass(frozen=True, slots=True)
class TiledSide:
    """One axis of the output in tiles, over the cells of one grid.

    Attributes:
        axis: the cells of each pixel, and their weights.
        pixel_ST: output pixels of each tile; a last tile that is shorter repeats its last one.
        cell_RT: the cells that the pixels of each tile lie between; short runs repeat their last one.
        weight_RST: the share of each of these cells in each of these pixels.
    """

    axis: Axis
    pixel_ST: Tensor
    cell_RT: Tensor
    weight_RST: Tensor

    @classmethod
    def of(cls, axis: Axis, side: int) -> TiledSide:
        """Cut an axis into tiles of `side` pixels."""
        device, last_pixel = axis.lower_N.device, len(axis.lower_N) - 1
        start_T = torch.arange(0, last_pixel + 1, side, device=device)
        pixel_ST = (start_T + torch.arange(side, device=device)[:, None]).clamp(max=last_pixel)
        first_T, last_T = axis.lower_N[pixel_ST[0]], axis.upper_N[pixel_ST[-1]]
        step_R = torch.arange(int((last_T - first_T).max()) + 1, device=device)[:, None]
        lower_ST, upper_ST = axis.lower_N[pixel_ST], axis.upper_N[pixel_ST]
        cell_R1T = (first_T + step_R)[:, None]
        weight_RST = torch.where(cell_R1T == lower_ST, axis.lower_weight_N[pixel_ST], 0.0)
        weight_RST += torch.where(cell_R1T == upper_ST, axis.upper_weight_N[pixel_ST], 0.0)
        return cls(axis, pixel_ST, torch.minimum(first_T + step_R, last_T), weight_RST)


@dataclass(frozen=True, slots=True)
class TiledGrid:
    """A grid of scores, and how the tiles of the output lie on it."""

    scores_CHW: Tensor
    y: TiledSide
    x: TiledSide

    def pooled(self, map_HW: Tensor, combine: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
        """For each tile [Ty, Tx], its cells in a map of the grid's size combined: the lowest, the highest."""
        return _pool(_pool(map_HW, 0, self.y.cell_RT, combine), 1, self.x.cell_RT, combine)

    def bounds(self, row_B: Tensor, tile_2M: Tensor) -> tuple[Tensor, Tensor]:
        """The highest and the lowest score [C, M] of every class among the cells of some tiles.

        Args:
            row_B: a band of rows of tiles.
            tile_2M: row, counted within the band, and column of each tile.
        """
        cell_RM = tile_2M[0] * self.scores_CHW.shape[2] + self.x.cell_RT[:, tile_2M[1]]
        cell_RB = self.y.cell_RT[:, row_B]
        highest, lowest = (
            _pool(_pool(self.scores_CHW, 1, cell_RB, combine).flatten(1), 1, cell_RM, combine)
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
        cell_4M = cells_around(self.y.axis, self.x.axis, y_M, x_M)
        own_4M = self.scores_CHW.take(label_M * total_HW.numel() + cell_4M)
        corners_24M = torch.stack([own_4M, total_HW.take(cell_4M)])
        return blend_corners(corners_24M, self.y.axis, self.x.axis, y_M[None], x_M[None])[:, 0, 0]


def _pool(values: Tensor, dim: int, cell_RT: Tensor, combine: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
    result, *others = (values.index_select(dim, cell_T) for cell_T in cell_RT)
    for other in others:
        result = combine(result, other)
    return result


def _weighted(values_KRXm: Tensor, weight_RSm: Tensor) -> Tensor:
    """The sums [K, X, S, m] over the cells R."""
    *others, last = range(len(weight_RSm))
    total = values_KRXm[:, last, :, None] * weight_RSm[last]
    # from the last cell to the first: the order in which torch's kernel rounds
    for cell in reversed(others):
        total = torch.addcmul(total, values_KRXm[:, cell, :, None], weight_RSm[cell])
    return total
