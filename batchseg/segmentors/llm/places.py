"""Embeddings between the cells of their grid, bilinearly: at some points, or at every pixel."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor
from torch.nn import functional

BAND = 2**16  # pixels in a band, of all images together


def at_places(seen_BDhw: Tensor, places: Sequence[Tensor]) -> Tensor:
    """Embeddings [R, D, 1, P] at the points of each mask.

    Args:
        places: of each image, x and y from -1 to 1 of some points for each of its masks, [K, P, 2].
    """
    found = [
        _sampled(seen_Dhw[None], places_KP2[None])[0].transpose(0, 1)
        for seen_Dhw, places_KP2 in zip(seen_BDhw.unbind(), places, strict=True)
    ]
    return torch.cat(found)[:, :, None]


def in_bands(seen_BDhw: Tensor, height: int, width: int) -> Iterator[Tensor]:
    """Embeddings [B, D, rows, width] of all pixels of images of that size, some rows at a time."""
    y_H, x_W = (
        (2 * torch.arange(pixels, device=seen_BDhw.device) + 1) / pixels - 1 for pixels in (height, width)
    )
    rows = max(1, BAND // (len(seen_BDhw) * width))
    for start in range(0, height, rows):
        y_HW, x_HW = torch.meshgrid(y_H[start : start + rows], x_W, indexing="ij")
        places_BHW2 = torch.stack([x_HW, y_HW], -1).expand(len(seen_BDhw), -1, -1, -1)
        yield _sampled(seen_BDhw, places_BHW2)


def _sampled(seen_BDhw: Tensor, places_BHW2: Tensor) -> Tensor:
    return functional.grid_sample(
        seen_BDhw.float(), places_BHW2, mode="bilinear", padding_mode="border", align_corners=False
    )
