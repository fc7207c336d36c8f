"""The prompt head: pixels attend to the words of a prompt, and say whether they are what it names."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn
from torch.nn import functional

HEADS = 4
BLOCKS = 2


class PromptHead(nn.Module):
    """From pixel embeddings and the token states of prompts to a binary map and a presence score each.

    The states are never averaged: "the circle in the square" and "the square in the circle" have nearly the
    same mean. While it learns, noise of `noise` standard deviations lies on the normalised states, so that
    what it learns of a word holds for states near by, such as those of a synonym.

    Args:
        pixels: channels of the pixel embeddings.
        states: width of the token states.
        width: channels inside; a multiple of 4.
    """

    def __init__(self, pixels: int, states: int, width: int, noise: float = 1.0) -> None:
        super().__init__()
        self.noise = noise
        self.normalise = nn.LayerNorm(states, elementwise_affine=False)
        self.tokens = nn.Linear(states, width)
        self.pixels = nn.Linear(pixels, width)
        self.blocks = nn.ModuleList(_Block(width) for _ in range(BLOCKS))
        self.last = nn.LayerNorm(width)
        self.there = nn.Linear(width, 1)
        self.presence = nn.Sequential(nn.Linear(width, width), nn.GELU(), nn.Linear(width, 1))

    def start(self) -> None:
        """Weights before the first step: torch's own, which are larger than those of transformers."""
        for module in self.modules():
            if isinstance(module, nn.Linear):
                module.reset_parameters()

    def forward(self, pixels_BDHW: Tensor, states_BLE: Tensor, is_word_BL: Tensor) -> tuple[Tensor, Tensor]:
        """Logits of the map [B, h, w] and of the presence [B].

        Args:
            is_word_BL: bool, false where a row of states only fills up.
        """
        return self.over([pixels_BDHW], states_BLE, is_word_BL)

    def over(
        self, bands_BDHW: Iterable[Tensor], states_BLE: Tensor, is_word_BL: Tensor
    ) -> tuple[Tensor, Tensor]:
        """The same of a picture that comes in bands of rows, of which one is in memory at a time."""
        with torch.autocast("cpu", enabled=False):  # matrices this small are slower in bf16 there
            tokens_BLD = self._tokens(states_BLE)
            logits, pooled, heights = zip(
                *(self._band(band_BDHW, tokens_BLD, is_word_BL) for band_BDHW in bands_BDHW), strict=True
            )
            shares_BK1 = torch.stack(heights, 1).softmax(1)[..., None]
            pooled_BD = (torch.stack(pooled, 1) * shares_BK1.to(pooled[0])).sum(1)
            return torch.cat(logits, 1), self.presence(pooled_BD).squeeze(-1)

    def _tokens(self, states_BLE: Tensor) -> Tensor:
        states_BLE = self.normalise(states_BLE)
        if self.training and self.noise:
            states_BLE = states_BLE + self.noise * torch.randn_like(states_BLE)
        tokens_BLD: Tensor = self.tokens(states_BLE.to(self.tokens.weight.dtype))
        return tokens_BLD

    def _band(
        self, pixels_BDHW: Tensor, tokens_BLD: Tensor, is_word_BL: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """The logits [B, h, w] of a band, its mean pixel [B, D], and the logarithm of what that counts [B].

        Presence is judged where the map is highest, however small that place is: a pixel counts by the
        exponential of its logit.
        """
        height, width = pixels_BDHW.shape[-2:]
        pixels_BND = self.pixels(pixels_BDHW.flatten(2).transpose(1, 2).to(self.pixels.weight.dtype))
        for block in self.blocks:
            pixels_BND = block(pixels_BND, tokens_BLD, is_word_BL)
        pixels_BND = self.last(pixels_BND)
        logits_BN = self.there(pixels_BND).squeeze(-1)
        counted_BN = logits_BN.detach()
        pooled_BD = torch.einsum("bn,bnd->bd", counted_BN.softmax(-1).to(pixels_BND), pixels_BND)
        return logits_BN.unflatten(1, (height, width)), pooled_BD, counted_BN.logsumexp(-1)


class _Block(nn.Module):
    """Each pixel asks the words, and is held against their answer."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.before, self.words = nn.LayerNorm(width), nn.LayerNorm(width)
        self.query, self.key, self.value = (nn.Linear(width, width) for _ in range(3))
        self.held_against = nn.Sequential(nn.Linear(3 * width, width), nn.GELU(), nn.Linear(width, width))

    def forward(self, pixels_BND: Tensor, tokens_BLD: Tensor, is_word_BL: Tensor) -> Tensor:
        own_BND, tokens_BLD = self.before(pixels_BND), self.words(tokens_BLD)
        parts = (self.query(own_BND), self.key(tokens_BLD), self.value(tokens_BLD))
        query, key, value = (part.unflatten(-1, (HEADS, -1)).transpose(1, 2) for part in parts)
        said = functional.scaled_dot_product_attention(
            query, key, value, attn_mask=is_word_BL[:, None, None, :]
        )
        said_BND = said.transpose(1, 2).flatten(2)
        new_BND: Tensor = pixels_BND + self.held_against(
            torch.cat([own_BND, said_BND, own_BND * said_BND], -1)
        )
        return new_BND
