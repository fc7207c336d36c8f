"""The argmax of bilinearly upsampled scores, and where it is unsure, without upsampling them.

Bilinear weights are non-negative and sum to one. So where the four low-resolution cells around an output
pixel have the same best class, that class is the answer; and elsewhere a class whose best corner is below
the worst corner of another can be left out. What remains to be interpolated is a few classes at a few pixels.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

_SMALL = 64 * 64  # output pixels up to which interpolating everything is quick enough
_BLOCK = 32  # longest run of output pixels treated as one, so that a block fits in a chunk
_ROUNDING = 1e-6  # relative error of a few float32 operations, with room to spare
_UINT8_CLASSES = 255  # one value stays free for pixels without a class


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
    most = _elements(scores_CHW.device)
    # a GPU interpolates everything faster than it could be told what to leave out, as long as it has room
    small = most // classes if scores_CHW.is_cuda else _SMALL
    if size[0] * size[1] <= max(height * width, small):
        scores = _finite(scores_CHW[None].float().contiguous())
        return _argmax(functional.interpolate(scores, size=size, mode="bilinear", align_corners=False)[0])
    rows = _Axis.between(height, size[0], scores_CHW.device)
    columns = _Axis.between(width, size[1], scores_CHW.device)
    best_HW = _argmax(scores_CHW)
    labels_HW = best_HW.index_select(1, columns.lower_N).index_select(0, rows.lower_N)
    scores_CN = scores_CHW.flatten(1)  # a view, unless the scores are cut out of larger ones
    for block_2M in _mixed_blocks(best_HW, rows, columns, most=max(1, most // classes)):
        _interpolate_blocks(scores_CN, labels_HW, (rows, columns), block_2M)
    return labels_HW


def bilinear_unsure(
    scores_CHW: Tensor, size: tuple[int, int], below: float, as_probabilities: Callable[[Tensor], Tensor]
) -> Tensor:
    """Where, after bilinear upsampling to `size`, the best class of a pixel is less probable than `below`.

    Equal to `as_probabilities(interpolate(scores[None], ...)[0]).amax(0) < below`, up to float32's rounding.
    Where the four cells around a pixel have the same best class, its probability lies not below the lowest
    of the four: the logarithm of a class's softmax is concave, and a ratio of means lies among the ratios.
    So only pixels between classes, and beside cells that are unsure themselves, are interpolated.

    Args:
        as_probabilities: over the first axis: softmax, or non-negative scores divided by their sum.

    Returns:
        bool [height, width], on the same device.
    """
    scores_CHW = scores_CHW.float()
    rows, columns = (
        _Axis.between(cells, pixels, scores_CHW.device)
        for cells, pixels in zip(scores_CHW.shape[1:], size, strict=True)
    )
    sure_HW = as_probabilities(scores_CHW).amax(0) >= below
    pixel_P = (~_clear(_argmax(scores_CHW), sure_HW, rows, columns)).flatten().nonzero()[:, 0]
    unsure_HW = torch.zeros(size, dtype=torch.bool, device=scores_CHW.device)
    scores_CN = scores_CHW.flatten(1)
    for some_M in torch.split(pixel_P, max(1, _elements(scores_CHW.device) // len(scores_CN))):
        y_M, x_M = some_M // size[1], some_M % size[1]
        corners_C4M = _corners(scores_CN, rows, columns, y_M, x_M)
        values_CM = _blend(corners_C4M, rows, columns, y_M[None], x_M[None])[:, 0, 0]
        unsure_HW.view(-1)[some_M] = as_probabilities(values_CM).amax(0) < below
    return unsure_HW


def _elements(device: torch.device) -> int:
    """At most in an intermediate tensor: 1 MiB of float32, which a core's cache holds; on a GPU 512 MiB."""
    return 1 << 27 if device.type == "cuda" else 1 << 18


def _finite(scores: Tensor) -> Tensor:
    """Infinities as the largest number there is; NaN stays."""
    limit = torch.finfo(scores.dtype).max
    return scores.clamp(-limit, limit)


def _clear(best_HW: Tensor, sure_HW: Tensor, rows: _Axis, columns: _Axis) -> Tensor:
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


@dataclass(frozen=True, slots=True)
class _Axis:
    """One axis of the output, cut into blocks of pixels that lie between the same two cells.

    Attributes:
        cells: how many there are.
        lower_N, upper_N: the two cells of each output pixel.
        lower_weight_N, upper_weight_N: their weights.
        first_B: first output pixel of each block.
        pixels_SB: output pixels of each block; short blocks repeat their last one.
    """

    cells: int
    lower_N: Tensor
    upper_N: Tensor
    lower_weight_N: Tensor
    upper_weight_N: Tensor
    first_B: Tensor
    pixels_SB: Tensor

    @classmethod
    def between(cls, cells: int, pixels: int, device: torch.device) -> _Axis:
        """The geometry of `interpolate(align_corners=False)`, in its own float32 arithmetic."""
        pixel_N = torch.arange(pixels, device=device)
        scale = torch.tensor(cells, dtype=torch.float32, device=device) / pixels
        source_N = (scale * (pixel_N + 0.5) - 0.5).clamp(min=0)
        lower_N = source_N.long().clamp(max=cells - 1)
        weight_N = (source_N - lower_N).clamp(0, 1)
        first_B = _block_starts(lower_N)
        end_B = torch.cat([first_B[1:], first_B.new_tensor([pixels])])
        steps_S = torch.arange(int((end_B - first_B).max()), device=device)
        pixels_SB = torch.minimum(first_B + steps_S[:, None], end_B - 1)
        upper_N = (lower_N + 1).clamp(max=cells - 1)
        return cls(cells, lower_N, upper_N, 1 - weight_N, weight_N, first_B, pixels_SB)


def _block_starts(lower_N: Tensor) -> Tensor:
    """Where the lower cell changes, and every `_BLOCK` pixels from there."""
    _, runs = torch.unique_consecutive(lower_N, return_counts=True)
    start_N = torch.repeat_interleave(runs.cumsum(0) - runs, runs)
    offset_N = torch.arange(len(lower_N), device=lower_N.device) - start_N
    return (offset_N % _BLOCK == 0).nonzero()[:, 0]


def _argmax(scores_CHW: Tensor) -> Tensor:
    """argmax over the classes in the labels' dtype, a band of rows at a time."""
    classes, _, width = scores_CHW.shape
    class_C = torch.arange(classes, device=scores_CHW.device)[:, None, None]
    bands = torch.split(scores_CHW, max(1, _elements(scores_CHW.device) // (classes * width)), dim=1)
    return torch.cat([_best(band, class_C, classes) for band in bands])


def _best(scores_K: Tensor, class_K: Tensor, classes: int) -> Tensor:
    """The class with the highest score along the first axis, the lowest of equals; NaN is the highest.

    Several times faster on a CPU than argmax over an axis that is not the last, which is not vectorised.
    """
    top = scores_K.amax(0)
    if top.isnan().any():
        return _best(scores_K.nan_to_num(nan=torch.inf, posinf=None), class_K, classes)
    rank_K = (classes - class_K).to(torch.uint8 if classes <= _UINT8_CLASSES else torch.int32)
    return classes - ((scores_K == top) * rank_K).amax(0)


def _mixed_blocks(best_HW: Tensor, rows: _Axis, columns: _Axis, most: int) -> Iterator[Tensor]:
    """Row and column [2, M] of the blocks whose four cells differ in their best class, `most` at a time."""
    left, right = columns.lower_N[columns.first_B], columns.upper_N[columns.first_B]
    row_B = torch.arange(len(rows.first_B), device=best_HW.device)
    for band in torch.split(row_B, max(1, _elements(best_HW.device) // len(left))):
        above = best_HW[rows.lower_N[rows.first_B[band]]]
        below = best_HW[rows.upper_N[rows.first_B[band]]]
        one = above[:, left]
        mixed = (one != above[:, right]) | (one != below[:, left]) | (one != below[:, right])
        row, column = mixed.nonzero(as_tuple=True)
        yield from torch.split(torch.stack([row + band[0], column]), most, dim=1)


def _interpolate_blocks(
    scores_CN: Tensor, labels_HW: Tensor, axes: tuple[_Axis, _Axis], block_2M: Tensor
) -> None:
    """Write the labels of some blocks (their row and column among all blocks) into `labels_HW`."""
    y, x = axes
    corners_C4M = _corners(scores_CN, y, x, y.first_B[block_2M[0]], x.first_B[block_2M[1]])
    lowest_M = corners_C4M.amin(1).amax(0)  # what the best class has at least, all over the block
    # not >=, so that NaN stays
    rival_CM = ~(corners_C4M.amax(1) < lowest_M - lowest_M.abs() * _ROUNDING)
    rivals_M = rival_CM.sum(0)
    class_P = rival_CM.T.nonzero()[:, 1]  # every block's rivals, block after block, rising
    first_M = rivals_M.cumsum(0) - rivals_M
    corner_4 = torch.arange(4, device=block_2M.device)[:, None]
    for count in torch.bincount(rivals_M).nonzero()[:, 0].tolist():
        block_elements = count * len(y.pixels_SB) * len(x.pixels_SB)
        most = max(1, _elements(block_2M.device) // block_elements)
        for block_m in torch.split((rivals_M == count).nonzero()[:, 0], most):
            class_Km = class_P[first_M[block_m] + torch.arange(count, device=block_m.device)[:, None]]
            corners_K4m = corners_C4M[class_Km[:, None], corner_4, block_m]
            y_Sm, x_Sm = y.pixels_SB[:, block_2M[0, block_m]], x.pixels_SB[:, block_2M[1, block_m]]
            values_KSSm = _blend(corners_K4m, y, x, y_Sm, x_Sm)
            label_SSm = _best(values_KSSm, class_Km[:, None, None], len(scores_CN))
            pixel_SSm = y_Sm[:, None] * labels_HW.shape[1] + x_Sm
            labels_HW.view(-1).scatter_(0, pixel_SSm.flatten(), label_SSm.flatten())


def _corners(scores_CN: Tensor, y: _Axis, x: _Axis, y_M: Tensor, x_M: Tensor) -> Tensor:
    """The float32 scores of the four cells around each output pixel (y, x), row by row."""
    above, below = y.lower_N[y_M] * x.cells, y.upper_N[y_M] * x.cells
    left, right = x.lower_N[x_M], x.upper_N[x_M]
    cell_4M = torch.cat([above + left, above + right, below + left, below + right])
    # gather, because index_select first copies scores that are channels-last
    return scores_CN.gather(1, cell_4M.expand(len(scores_CN), -1)).float().view(len(scores_CN), 4, len(y_M))


def _blend(corners_K4m: Tensor, y: _Axis, x: _Axis, y_Sm: Tensor, x_Sm: Tensor) -> Tensor:
    """Interpolated scores [K, Sy, Sx, m] in the order of torch's kernel: within rows, then between them."""
    corners = _finite(corners_K4m)[:, :, None]
    left, right = x.lower_weight_N[x_Sm], x.upper_weight_N[x_Sm]
    # addcmul rounds once where the hardware fuses, as the kernel does
    above = torch.addcmul(corners[:, 1] * right, corners[:, 0], left)[:, None]
    below = torch.addcmul(corners[:, 3] * right, corners[:, 2], left)[:, None]
    upper, lower = y.lower_weight_N[y_Sm][:, None], y.upper_weight_N[y_Sm][:, None]
    return torch.addcmul(below * lower, above, upper)
