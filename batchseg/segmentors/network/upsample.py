"""The argmax of bilinearly upsampled scores, and where it is unsure, without upsampling them.

Bilinear weights are non-negative and sum to one. So where the four low-resolution cells around an output
pixel have the same best class, that class is the answer; and elsewhere a class whose best corner is below
the worst corner of another can be left out. What remains to be interpolated is a few classes at a few pixels.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor
from torch.nn import functional

from batchseg.segmentors.network.bilinear import (
    ROUNDING,
    Axis,
    as_many_rivals,
    best_class,
    blend_corners,
    cell_corners,
    chunk_elements,
    class_argmax,
    finite,
    put_labels,
)

_SMALL = 64 * 64  # output pixels up to which interpolating everything is quick enough


def bilinear_argmax(scores_CHW: Tensor, size: tuple[int, int]) -> Tensor:
    """The best class of every pixel after bilinear upsampling to `size` (height, width); ties to the lowest.

    Equal to `interpolate(scores[None].float(), size=size, mode="bilinear", align_corners=False)[0].argmax(0)`
    wherever the best two classes differ by more than the rounding of float32. A class with a NaN at one of
    the four corners wins, as it does there; infinite scores count as the largest finite ones, because
    interpolate makes a NaN of infinity times a weight of zero.

    Args:
        scores_CHW: floating point, on any device; half types are interpolated in float32.
        size: height and width of the result.

    Returns:
        Labels [height, width] on the same device: uint8 while C <= 255, else int32.
    """
    classes, height, width = scores_CHW.shape
    most = chunk_elements(scores_CHW.device)
    # a GPU interpolates everything faster than it could be told what to leave out, as long as it has room
    small = most // classes if scores_CHW.is_cuda else _SMALL
    if size[0] * size[1] <= max(height * width, small):
        scores = finite(scores_CHW[None].float().contiguous())
        return class_argmax(
            functional.interpolate(scores, size=size, mode="bilinear", align_corners=False)[0]
        )
    rows = Axis.between(height, size[0], scores_CHW.device)
    columns = Axis.between(width, size[1], scores_CHW.device)
    best_HW = class_argmax(scores_CHW)
    labels_HW = best_HW.index_select(1, columns.lower_N).index_select(0, rows.lower_N)
    scores_CN = scores_CHW.flatten(1)  # a view, unless the scores are cut out of larger ones
    for block_2M in _mixed_blocks(best_HW, rows, columns, most=max(1, most // classes)):
        _interpolate_blocks(scores_CN, labels_HW, (rows, columns), block_2M)
    return labels_HW


def bilinear_unsure(
    scores_CHW: Tensor,
    size: tuple[int, int],
    below: float,
    as_probabilities: Callable[[Tensor], Tensor],
    *,
    bounded: bool = True,
) -> Tensor:
    """Where, after bilinear upsampling to `size`, the best class of a pixel is less probable than `below`.

    Equal to `as_probabilities(interpolate(scores[None], ...)[0]).amax(0) < below`, up to float32's rounding.
    Where the four cells around a pixel have the same best class, its probability lies not below the lowest
    of the four: the logarithm of a class's softmax is concave, and a ratio of means lies among the ratios.
    So only pixels between classes, and beside cells that are unsure themselves, are interpolated.

    Args:
        as_probabilities: over the first axis: softmax, or non-negative scores divided by their sum.
        bounded: whether the probability of a class lies not below the lowest at the cells around, as with
            both of these; where it does not, all pixels are interpolated.

    Returns:
        bool [height, width], on the same device.
    """
    scores_CHW = scores_CHW.float()
    rows, columns = (
        Axis.between(cells, pixels, scores_CHW.device)
        for cells, pixels in zip(scores_CHW.shape[1:], size, strict=True)
    )
    sure_HW = (as_probabilities(scores_CHW).amax(0) >= below) & bounded
    pixel_P = (~_clear(class_argmax(scores_CHW), sure_HW, rows, columns)).flatten().nonzero()[:, 0]
    unsure_HW = torch.zeros(size, dtype=torch.bool, device=scores_CHW.device)
    scores_CN = scores_CHW.flatten(1)
    for some_M in torch.split(pixel_P, max(1, chunk_elements(scores_CHW.device) // len(scores_CN))):
        y_M, x_M = some_M // size[1], some_M % size[1]
        corners_C4M = cell_corners(scores_CN, rows, columns, y_M, x_M)
        values_CM = blend_corners(corners_C4M, rows, columns, y_M[None], x_M[None])[:, 0, 0]
        unsure_HW.view(-1)[some_M] = as_probabilities(values_CM).amax(0) < below
    return unsure_HW


def _clear(best_HW: Tensor, sure_HW: Tensor, rows: Axis, columns: Axis) -> Tensor:
    """Output pixels [height, width] whose four cells have one best class, all of them surely."""
    best_HW = torch.where(sure_HW, best_HW.int(), -1)
    one, *others = (
        best_HW[row_N][:, column_N]
        for row_N in (rows.lower_N, rows.upper_N)
        for column_N in (columns.lower_N, columns.upper_N)
    )
    clear_HW = one >= 0
    for other in others:
        clear_HW &= one == other
    return clear_HW


def _mixed_blocks(best_HW: Tensor, rows: Axis, columns: Axis, most: int) -> Iterator[Tensor]:
    """Row and column [2, M] of the blocks whose four cells differ in their best class, `most` at a time."""
    # of the cell at each place, the next in its row and in its column, and the one beyond both
    mixed_HW = torch.zeros_like(best_HW, dtype=torch.bool)
    mixed_HW[:, :-1] = best_HW[:, :-1] != best_HW[:, 1:]
    mixed_HW[:-1] |= best_HW[:-1] != best_HW[1:]
    mixed_HW[:-1, :-1] |= best_HW[:-1, :-1] != best_HW[1:, 1:]
    row_B, column_B = (axis.lower_N[axis.first_B] for axis in (rows, columns))
    mixed_BB = mixed_HW.index_select(1, column_B).index_select(0, row_B)
    yield from torch.split(mixed_BB.nonzero().T, most, dim=1)


def _interpolate_blocks(
    scores_CN: Tensor, labels_HW: Tensor, axes: tuple[Axis, Axis], block_2M: Tensor
) -> None:
    """Write the labels of some blocks (their row and column among all blocks) into `labels_HW`."""
    y, x = axes
    corners_C4M = cell_corners(scores_CN, y, x, y.first_B[block_2M[0]], x.first_B[block_2M[1]])
    lowest_M = corners_C4M.amin(1).amax(0)  # what the best class has at least, all over the block
    # not >=, so that NaN stays
    rival_CM = ~(corners_C4M.amax(1) < lowest_M - lowest_M.abs() * ROUNDING)
    corner_4 = torch.arange(4, device=block_2M.device)[:, None]
    elements = len(y.pixels_SB) * len(x.pixels_SB)
    for block_m, class_Km in as_many_rivals(rival_CM.sum(0), rival_CM.T.nonzero()[:, 1], elements):
        corners_K4m = corners_C4M[class_Km[:, None], corner_4, block_m]
        y_Sm, x_Sm = y.pixels_SB[:, block_2M[0, block_m]], x.pixels_SB[:, block_2M[1, block_m]]
        values_KSSm = blend_corners(corners_K4m, y, x, y_Sm, x_Sm)
        label_SSm = best_class(values_KSSm, class_Km[:, None, None], len(scores_CN))
        put_labels(labels_HW, y_Sm, x_Sm, label_SSm)
