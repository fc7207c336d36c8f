"""Some pixels of each mask in place of all: what a loss over the masks of many prompts is estimated from.

Of a small thing few pixels of an image say anything, and an image may be asked for many things. Half of the
points lie on what is meant, half anywhere, and each says for how many pixels it stands, so that the loss is
that over all pixels, estimated without bias. (Point sampling as in PointRend, Kirillov et al. 2020, and
Mask2Former, Cheng et al. 2022, which weigh all points alike.)
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

POINTS = 256  # of each mask


@dataclass(frozen=True)
class Points:
    """Pixels of R masks.

    Attributes:
        places_RP2: x and y from -1 to 1, at the centres of pixels, as `grid_sample` reads them.
        labels_RP: int64: 0, 1 where something is meant, 2 void.
        pixels_RP: float32, how many pixels of the mask a point stands for.
        is_meant_R, is_known_R: bool, whether a mask has any pixel that is meant, and any that is not void.
    """

    places_RP2: Tensor
    labels_RP: Tensor
    pixels_RP: Tensor
    is_meant_R: Tensor
    is_known_R: Tensor

    @classmethod
    def drawn(cls, labels_RHW: Tensor, count: int = POINTS) -> Points:
        """By torch's own random numbers.

        Args:
            labels_RHW: int64: 0, 1 where something is meant, 2 void.
        """
        height, width = labels_RHW.shape[1:]
        labels_RN = labels_RHW.flatten(1)
        meant_RN = labels_RN == 1
        drawn_RP = torch.randint(height * width, (len(labels_RN), count), device=labels_RN.device)
        for drawn_P, meant_N in zip(drawn_RP, meant_RN, strict=True):
            of_it_M = meant_N.nonzero()[:, 0]
            if len(of_it_M):
                half = count // 2
                drawn_P[:half] = of_it_M[torch.randint(len(of_it_M), (half,), device=of_it_M.device)]
        labels_RP = labels_RN.gather(1, drawn_RP)
        y_RP, x_RP = drawn_RP // width, drawn_RP % width
        places_RP2 = torch.stack([(2 * x_RP + 1) / width - 1, (2 * y_RP + 1) / height - 1], -1)
        is_known_R = (labels_RN < 2).any(1)
        return cls(places_RP2, labels_RP, _stand_for(labels_RP, meant_RN), meant_RN.any(1), is_known_R)


def _stand_for(labels_RP: Tensor, meant_RN: Tensor) -> Tensor:
    """How many pixels a point stands for: one divided by how often its pixel is drawn, on average."""
    points, pixels = labels_RP.shape[1], meant_RN.shape[1]
    on_meant = points // 2
    meant_R1 = meant_RN.sum(1, keepdim=True).float()
    anywhere_R1 = torch.where(meant_R1 > 0, points - on_meant, points) / pixels
    often_RP = anywhere_R1 + (labels_RP == 1) * on_meant / meant_R1.clamp(min=1)
    return 1 / often_RP
