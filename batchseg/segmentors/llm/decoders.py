"""Decoders: features at strides 4, 8 and 16, or 2 as well -> logits, or what else a pixel is told by.

`classes` is how many maps come out: with a text or prompt head, the components of a pixel's embedding.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from batchseg.segmentors.llm.backbone import convolution


class FPN(nn.Module):
    """Top-down: a coarse map is enlarged and added to the finer one (Lin et al. 2017).

    Logits at the finest stride.
    """

    def __init__(self, inputs: Sequence[int], width: int, classes: int) -> None:
        super().__init__()
        self.lateral = nn.ModuleList(nn.Conv2d(channels, width, 1) for channels in inputs)
        self.smooth = nn.ModuleList(convolution(width, width) for _ in inputs)
        self.classify = nn.Conv2d(width, classes, 1)

    def forward(self, maps: list[Tensor]) -> Tensor:
        above: Tensor | None = None
        for features, lateral, smooth in zip(
            reversed(maps), reversed(self.lateral), reversed(self.smooth), strict=True
        ):
            here = lateral(features)
            if above is not None:
                here = here + functional.interpolate(
                    above, size=here.shape[-2:], mode="bilinear", align_corners=False
                )
            above = smooth(here)
        logits: Tensor = self.classify(above)
        return logits


class MLP(nn.Module):
    """Each token for itself. Logits at stride 16."""

    def __init__(self, inputs: Sequence[int], width: int, classes: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Conv2d(inputs[-1], width, 1), nn.GELU(), nn.Conv2d(width, classes, 1))

    def forward(self, maps: list[Tensor]) -> Tensor:
        logits: Tensor = self.layers(maps[-1])
        return logits


class Queries(nn.Module):
    """One learned query a class attends to the tokens; its product with the FPN's pixels is its logit.

    As Segmenter (Strudel et al. 2021) classifies: each query belongs to one class.
    """

    def __init__(self, inputs: Sequence[int], width: int, classes: int, layers: int = 2) -> None:
        super().__init__()
        self.pixels = FPN(inputs, width, width)
        self.tokens = nn.Conv2d(inputs[-1], width, 1)
        self.queries = nn.Parameter(torch.empty(classes, width))
        layer = nn.TransformerDecoderLayer(
            width, max(1, width // 32), 2 * width, 0.0, "gelu", batch_first=True
        )
        self.decoder = nn.TransformerDecoder(layer, layers)

    def forward(self, maps: list[Tensor]) -> Tensor:
        pixels_BDHW = self.pixels(maps)
        tokens_BND = self.tokens(maps[-1]).flatten(2).transpose(1, 2)
        queries_BCD = self.decoder(self.queries.expand(len(tokens_BND), -1, -1), tokens_BND)
        logits: Tensor = (
            torch.einsum("bcd,bdhw->bchw", queries_BCD, pixels_BDHW) / pixels_BDHW.shape[1] ** 0.5
        )
        return logits


DECODERS = {"fpn": FPN, "mlp": MLP, "queries": Queries}
