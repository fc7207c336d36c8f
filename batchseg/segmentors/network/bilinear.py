"""Bilinear upsampling as torch's `interpolate(align_corners=False)` does it, for some classes and pixels."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

ROUNDING = 1e-6  # relative error of a few float32 operations, with room to spare
_BLOCK = 32  # longest run of output pixels treated as one, so that a block fits in a chunk
_UINT8_CLASSES = 255  # one value stays free for pixels without a class


def chunk_elements(device: torch.device) -> int:
    """At most in an intermediate tensor: 1 MiB of float32, which a core's cache holds; on a GPU 512 MiB."""
    return 1 << 27 if device.type == "cuda" else 1 << 18


def finite(scores: Tensor) -> Tensor:
    """Infinities as the largest number there is; NaN stays."""
    limit = torch.finfo(scores.dtype).max
    return scores.clamp(-limit, limit)


def neighbours(cells: int, pixels: int, pixel_N: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The two cells around some of the output's pixels, and the weight of the second.

    The geometry of `interpolate(align_corners=False)`, in its own float32 arithmetic.
    """
    scale = torch.tensor(cells, dtype=torch.float32, device=pixel_N.device) / pixels
    source_N = (scale * (pixel_N + 0.5) - 0.5).clamp(min=0)
    lower_N = source_N.long().clamp(max=cells - 1)
    return lower_N, (lower_N + 1).clamp(max=cells - 1), (source_N - lower_N).clamp(0, 1)


@dataclass(frozen=True, slots=True)
class Axis:
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
    def between(cls, cells: int, pixels: int, device: torch.device) -> Axis:
        lower_N, upper_N, weight_N = neighbours(cells, pixels, torch.arange(pixels, device=device))
        first_B = _block_starts(lower_N)
        end_B = torch.cat([first_B[1:], first_B.new_tensor([pixels])])
        steps_S = torch.arange(int((end_B - first_B).max()), device=device)
        pixels_SB = torch.minimum(first_B + steps_S[:, None], end_B - 1)
        return cls(cells, lower_N, upper_N, 1 - weight_N, weight_N, first_B, pixels_SB)


def _block_starts(lower_N: Tensor) -> Tensor:
    """Where the lower cell changes, and every `_BLOCK` pixels from there."""
    _, runs = torch.unique_consecutive(lower_N, return_counts=True)
    start_N = torch.repeat_interleave(runs.cumsum(0) - runs, runs)
    offset_N = torch.arange(len(lower_N), device=lower_N.device) - start_N
    return (offset_N % _BLOCK == 0).nonzero()[:, 0]


def class_argmax(scores_CHW: Tensor) -> Tensor:
    """argmax over the classes in the labels' dtype, a band of rows at a time."""
    classes, _, width = scores_CHW.shape
    class_C = torch.arange(classes, device=scores_CHW.device)[:, None, None]
    bands = torch.split(scores_CHW, max(1, chunk_elements(scores_CHW.device) // (classes * width)), dim=1)
    return torch.cat([best_class(band, class_C, classes) for band in bands])


def best_class(scores_K: Tensor, class_K: Tensor, classes: int) -> Tensor:
    """The class with the highest score along the first axis, the lowest of equals; NaN is the highest.

    Several times faster on a CPU than argmax over an axis that is not the last, which is not vectorised.
    """
    top = scores_K.amax(0)
    if top.isnan().any():
        return best_class(scores_K.nan_to_num(nan=torch.inf, posinf=None), class_K, classes)
    rank_K = (classes - class_K).to(torch.uint8 if classes <= _UINT8_CLASSES else torch.int32)
    return classes - ((scores_K == top) * rank_K).amax(0)


def as_many_rivals(rivals_M: Tensor, class_P: Tensor, elements: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Places with as many classes that can win: which they are [m], and their classes [K, m].

    As many at a time as fit in an intermediate tensor.

    Args:
        rivals_M: how many classes can win in each place.
        class_P: which: those of place after place, rising.
        elements: that one class takes in one place.
    """
    first_M = rivals_M.cumsum(0) - rivals_M
    for count in rivals_M.bincount().nonzero()[:, 0].tolist():
        rank_K1 = torch.arange(count, device=class_P.device)[:, None]
        most = max(1, chunk_elements(class_P.device) // (count * elements))
        for place_m in torch.split((rivals_M == count).nonzero()[:, 0], most):
            yield place_m, class_P[first_M[place_m] + rank_K1]


def put_labels(labels_HW: Tensor, y_Sm: Tensor, x_Sm: Tensor, label_SSm: Tensor) -> None:
    """Write the labels of some rectangles of pixels, by the rows and columns of each."""
    pixel_SSm = y_Sm[:, None] * labels_HW.shape[1] + x_Sm
    labels_HW.view(-1).scatter_(0, pixel_SSm.flatten(), label_SSm.flatten())


def cells_around(y: Axis, x: Axis, y_M: Tensor, x_M: Tensor) -> Tensor:
    """The indexes [4, M] of the four cells around each output pixel (y, x), in a map read row by row."""
    above, below = y.lower_N[y_M] * x.cells, y.upper_N[y_M] * x.cells
    left, right = x.lower_N[x_M], x.upper_N[x_M]
    return torch.stack([above + left, above + right, below + left, below + right])


def cell_corners(scores_CN: Tensor, y: Axis, x: Axis, y_M: Tensor, x_M: Tensor) -> Tensor:
    """The float32 scores [C, 4, M] of the four cells around each output pixel (y, x), row by row."""
    cell_M = cells_around(y, x, y_M, x_M).flatten()
    # gather, because index_select first copies scores that are channels-last
    return scores_CN.gather(1, cell_M.expand(len(scores_CN), -1)).float().view(len(scores_CN), 4, len(y_M))


def blend_corners(corners_K4m: Tensor, y: Axis, x: Axis, y_Sm: Tensor, x_Sm: Tensor) -> Tensor:
    """Interpolated scores [K, Sy, Sx, m] in the order of torch's kernel: within rows, then between them."""
    corners = finite(corners_K4m)[:, :, None]
    left, right = x.lower_weight_N[x_Sm], x.upper_weight_N[x_Sm]
    # addcmul rounds once where the hardware fuses, as the kernel does
    above = torch.addcmul(corners[:, 1] * right, corners[:, 0], left)[:, None]
    below = torch.addcmul(corners[:, 3] * right, corners[:, 2], left)[:, None]
    upper, lower = y.lower_weight_N[y_Sm][:, None], y.upper_weight_N[y_Sm][:, None]
    return torch.addcmul(below * lower, above, upper)
