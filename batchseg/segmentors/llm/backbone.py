"""Convolutional pyramids: pixels -> features at strides 4, 8 and 16, or 2 as well."""

from __future__ import annotations

from collections.abc import Sequence
from math import gcd

from torch import Tensor, nn

RESNET50_WIDTHS = (256, 512, 1024)


class Small(nn.Module):
    """Four stages, each of half the size of the one before; `widths` are their channels.

    It gives the features of stride `finest`, 4 or 2, and of all coarser ones.

    Args:
        channels: of the images.
    """

    def __init__(self, widths: Sequence[int], finest: int = 4, channels: int = 3) -> None:
        super().__init__()
        self.maps = len(widths) if finest == 2 else len(widths) - 1
        inputs = (channels, *widths[:-1])
        self.stages = nn.ModuleList(_stage(*pair) for pair in zip(inputs, widths, strict=True))

    def forward(self, pixels_BCHW: Tensor) -> list[Tensor]:
        maps = [pixels_BCHW]
        for stage in self.stages:
            maps.append(stage(maps[-1]))
        return maps[-self.maps :]


class ResNet50(nn.Module):
    """torchvision's ResNet-50 up to layer3."""

    def __init__(self) -> None:
        super().__init__()
        from torchvision.models import resnet50

        whole = resnet50(weights=None)
        self.stem = nn.Sequential(whole.conv1, whole.bn1, whole.relu, whole.maxpool)
        self.stages = nn.ModuleList([whole.layer1, whole.layer2, whole.layer3])

    def forward(self, pixels_BCHW: Tensor) -> list[Tensor]:
        maps = [self.stem(pixels_BCHW)]
        for stage in self.stages:
            maps.append(stage(maps[-1]))
        return maps[1:]


def _stage(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(convolution(inputs, outputs, 2), convolution(outputs, outputs))


def convolution(inputs: int, outputs: int, stride: int = 1) -> nn.Sequential:
    # GroupNorm does not depend on the batch: one image gives the same mask alone and among others
    groups = gcd(outputs, max(1, outputs // 16))  # of 16 channels each, where these can be parted so
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False), nn.GroupNorm(groups, outputs), nn.GELU()
    )
