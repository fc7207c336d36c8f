"""The argmax of a sum of bilinearly upsampled grids of scores, without upsampling them.

The grids come from views in other sizes, or from the members of an ensemble. The output is cut into square
tiles. The pixels of a tile lie between a few cells of each grid. Where one class is the best in all of these
cells of all grids, it is the answer. Elsewhere a class cannot win if the sum of its highest cells lies below
the sum of another class's lowest cells: sum_k max(s_kc) < max_d sum_k min(s_kd). The classes that are left
are interpolated.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from functools import reduce
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from batchseg.segmentors.network.bilinear import (
    ROUNDING,
    as_many_rivals,
    best_class,
    blend_corners,
    cell_corners,
    chunk_elements,
    class_argmax,
    finite,
    put_labels,
)
from batchseg.segmentors.network.tiles import TiledGrid, at_pixels, axes_of

_FEW = 1 << 21  # values of all classes at all pixels of all grids, up to which interpolating them is as quick
_SHORTEST, _LONGEST = 4, 16  # sides of a tile, in pixels


def several_argmax(grids_CHW: Sequence[Tensor], size: tuple[int, int]) -> Tensor:
    """The class with the highest sum of bilinearly upsampled grids, for every pixel; ties to the lowest.

    Equal to the argmax of the sum of `interpolate(grid[None].float(), size=size, mode="bilinear",
    align_corners=False)[0]` wherever the best two classes differ by more than the rounding of float32.
    NaN and infinities are treated as in `bilinear_argmax`.

    Args:
        grids_CHW: of one number of classes, each with a height and width of its own, already multiplied by
            its weight. Floating point, on one device; computed in float32.
        size: height and width of the result.

    Returns:
        Labels [height, width] on the same device: uint8 while C <= 255, else int32.
    """
    grids_CHW = [*map(_prepared, grids_CHW)]
    classes, device = len(grids_CHW[0]), grids_CHW[0].device
    # a GPU interpolates everything faster than it could be told what to leave out, as long as it has room
    few = chunk_elements(device) if device.type == "cuda" else _FEW
    pixels = size[0] * size[1]
    if len(grids_CHW) * classes * pixels <= few or pixels <= max(grid[0].numel() for grid in grids_CHW):
        return class_argmax(_interpolated(grids_CHW, size))
    if any(_defies_tiles(grid, size) for grid in grids_CHW):
        return _pixel_by_pixel(grids_CHW, size)
    grids = _tiled(grids_CHW, size)
    best_TT, agreed_TT = _agreed(grids)
    labels_HW = at_pixels(best_TT, grids[0].y, grids[0].x)
    for some in _together(_contested(grids, ~agreed_TT), chunk_elements(device)):
        _decide(grids, labels_HW, some)
    return labels_HW


def several_at(grids_CHW: Sequence[Tensor], size: tuple[int, int], y_M: Tensor, x_M: Tensor) -> Tensor:
    """The sums [C, M], float32, of all classes at some pixels (y, x) of the grids upsampled to `size`."""
    parts_CM = []
    for grid in grids_CHW:
        y, x = axes_of(grid, size)
        corners_C4M = cell_corners(grid.flatten(1), y, x, y_M, x_M)
        parts_CM.append(blend_corners(corners_C4M, y, x, y_M[None], x_M[None])[:, 0, 0])
    return _total(parts_CM)


def several_below(grids_CHW: Sequence[Tensor], labels_HW: Tensor, below: float) -> Tensor:
    """Where the sum of a pixel's class, divided by the sum over all classes, lies under `below`.

    A class's sum minus `below` times the sum over all classes is interpolated like a class. So where one
    class is the best in all cells around a tile, and has more than `below` of all in each of them, or less in
    each, nothing is interpolated; elsewhere the pixel's class and the sum over all classes are.

    Args:
        grids_CHW: as in `several_argmax`, none negative.
        labels_HW: what `several_argmax` gave for them.

    Returns:
        bool [height, width], on the same device. False where the sum over all classes is 0 or not a number.
    """
    height, width = labels_HW.shape
    grids = _tiled([*map(_prepared, grids_CHW)], (height, width))
    totals_HW = [grid.scores_CHW.sum(0) for grid in grids]
    margins_HW = [
        grid.scores_CHW.amax(0) - below * total_HW for grid, total_HW in zip(grids, totals_HW, strict=True)
    ]
    least_TT, most_TT = (
        _total(grid.pooled(margin_HW, combine) for grid, margin_HW in zip(grids, margins_HW, strict=True))
        for combine in (torch.minimum, torch.maximum)
    )
    _, agreed_TT = _agreed(grids)
    y, x = grids[0].y, grids[0].x
    below_HW = at_pixels(agreed_TT & (most_TT < 0), y, x)
    clear_HW = at_pixels(agreed_TT & ((least_TT > 0) | (most_TT < 0)), y, x)
    for some_M in torch.split((~clear_HW).flatten().nonzero()[:, 0], chunk_elements(labels_HW.device) // 8):
        label_M = labels_HW.view(-1)[some_M].long()
        values_2M = _total(
            [
                grid.class_and_total(total_HW, label_M, some_M // width, some_M % width)
                for grid, total_HW in zip(grids, totals_HW, strict=True)
            ]
        )
        below_HW.view(-1)[some_M] = values_2M[0] < below * values_2M[1]
    return below_HW


def _prepared(grid_CHW: Tensor) -> Tensor:
    """In float32, contiguous and without infinities."""
    grid_CHW = grid_CHW.float().contiguous()
    # looking for them costs a fraction of a copy
    return grid_CHW if bool(torch.stack(grid_CHW.aminmax()).isfinite().all()) else finite(grid_CHW)


def _total(parts: Iterable[Tensor]) -> Tensor:
    return reduce(torch.add, parts)


def _interpolated(grids_CHW: Sequence[Tensor], size: tuple[int, int]) -> Tensor:
    upsampled = (
        functional.interpolate(grid[None], size=size, mode="bilinear", align_corners=False)[0]
        for grid in grids_CHW
    )
    return reduce(Tensor.add_, upsampled)


def _defies_tiles(grid_CHW: Tensor, size: tuple[int, int]) -> bool:
    """Whether a tile lies over many cells of a grid, or a NaN could spread over a whole tile."""
    shrunk = any(cells > 2 * pixels for cells, pixels in zip(grid_CHW.shape[1:], size, strict=True))
    return shrunk or bool(grid_CHW.amax().isnan())


def _pixel_by_pixel(grids_CHW: Sequence[Tensor], size: tuple[int, int]) -> Tensor:
    """All classes of all pixels, some pixels at a time."""
    classes, device = len(grids_CHW[0]), grids_CHW[0].device
    class_C = torch.arange(classes, device=device)[:, None]
    pixel_P = torch.arange(size[0] * size[1], device=device)
    labels_M = [
        best_class(several_at(grids_CHW, size, some_M // size[1], some_M % size[1]), class_C, classes)
        for some_M in torch.split(pixel_P, max(1, chunk_elements(device) // classes))
    ]
    return torch.cat(labels_M).view(size)


def _tiled(grids_CHW: Sequence[Tensor], size: tuple[int, int]) -> list[TiledGrid]:
    """All grids over the same tiles, which are about as large as the cells of the finest grid."""
    scale = min(
        pixels / cells for grid in grids_CHW for pixels, cells in zip(size, grid.shape[1:], strict=True)
    )
    side = min(max(_SHORTEST, round(scale)), _LONGEST)
    return [TiledGrid.of(grid, size, side) for grid in grids_CHW]


def _agreed(grids: Sequence[TiledGrid]) -> tuple[Tensor, Tensor]:
    """For each tile [Ty, Tx], a class, and whether it is the best in all cells of all grids."""
    bests_HW = [class_argmax(grid.scores_CHW) for grid in grids]
    lowest, highest = (
        torch.stack([grid.pooled(best, combine) for grid, best in zip(grids, bests_HW, strict=True)])
        for combine in (torch.minimum, torch.maximum)
    )
    return lowest[0], lowest.amin(0) == highest.amax(0)


class _Contested(NamedTuple):
    """Tiles that more than one class may win in.

    Attributes:
        tile_2M: row and column of each.
        rivals_M: how many classes could win there.
        class_P: which ones: those of tile after tile, rising.
    """

    tile_2M: Tensor
    rivals_M: Tensor
    class_P: Tensor


def _contested(grids: Sequence[TiledGrid], open_TT: Tensor) -> Iterator[_Contested]:
    """The open tiles, a band of rows at a time."""
    widest = max(open_TT.shape[1], *(grid.scores_CHW.shape[2] for grid in grids))
    most = chunk_elements(open_TT.device) // (len(grids[0].scores_CHW) * widest)
    row_T = open_TT.any(1).nonzero()[:, 0]
    for row_B in torch.split(row_T, max(1, most)):
        tile_2M = torch.stack(open_TT[row_B].nonzero(as_tuple=True))
        highest, lowest = zip(*(grid.bounds(row_B, tile_2M) for grid in grids), strict=True)
        least_M = _total(lowest).amax(0)  # what the best class has at least, all over the tile
        # not >=, so that all classes stay where sums overflow
        rival_CM = ~(_total(highest) < least_M - least_M.abs() * ROUNDING)
        tile_2M = torch.stack([row_B[tile_2M[0]], tile_2M[1]])
        yield _Contested(tile_2M, rival_CM.sum(0), rival_CM.T.nonzero()[:, 1])


def _together(bands: Iterable[_Contested], most: int) -> Iterator[_Contested]:
    """Bands joined until they have about so many pairs of a tile and a class."""
    waiting: list[_Contested] = []
    for band in bands:
        waiting.append(band)
        if sum(len(some.class_P) for some in waiting) >= most:
            yield _Contested(*(torch.cat(parts, dim=-1) for parts in zip(*waiting, strict=True)))
            waiting = []
    if waiting:
        yield _Contested(*(torch.cat(parts, dim=-1) for parts in zip(*waiting, strict=True)))


def _decide(grids: Sequence[TiledGrid], labels_HW: Tensor, contested: _Contested) -> None:
    """Write the labels of some tiles into `labels_HW`."""
    tile_2M, rivals_M, class_P = contested
    classes, side = len(grids[0].scores_CHW), len(grids[0].y.pixel_ST)
    largest = max(side * side, *(len(grid.y.cell_RT) * len(grid.x.cell_RT) for grid in grids))
    for tile_m, class_Km in as_many_rivals(rivals_M, class_P, largest):
        tile_2m = tile_2M[:, tile_m]
        values_KSSm = _total(grid.interpolated(class_Km, tile_2m) for grid in grids)
        label_SSm = best_class(values_KSSm, class_Km[:, None, None], classes)
        y_Sm, x_Sm = grids[0].y.pixel_ST[:, tile_2m[0]], grids[0].x.pixel_ST[:, tile_2m[1]]
        put_labels(labels_HW, y_Sm, x_Sm, label_SSm)
