"""SAM 3 (2025), with its own text model or LiteText's: a noun phrase -> queries and their masks."""

from __future__ import annotations

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import pad

from batchseg.segmentors.prompted.cache import States
from batchseg.segmentors.prompted.clipseg import pooled_states
from batchseg.segmentors.prompted.family import DrawnMaps

PADDED = 32  # tokens, as its processor has it


class Sam3:
    """`Sam3Model` or `Sam3LiteTextModel`.

    The map of a prompt is the highest of its semantic map and of the masks of its queries, each times the
    query's score, which is that of the library's instances: the query's own times the presence.
    """

    def __init__(self, network: Any, tokenizer: Any, positions: int) -> None:
        self.network, self.tokenizer = network, tokenizer
        self.padded = min(PADDED, positions)
        self.positions: States = ()

    @property
    def vision(self) -> nn.Module:
        module: nn.Module = self.network.vision_encoder
        return module

    def see(self, pixels_1CHW: Tensor) -> States:
        """The features of all levels but the coarsest, which nothing looks at."""
        seen = self.vision(pixels_1CHW)
        # as large as the features, and the same for every image of a size
        self.positions = tuple(seen.fpn_position_encoding)
        return tuple(seen.fpn_hidden_states[:-1])

    def read(self, texts: Sequence[str]) -> list[States]:
        """For each text its token states [1, L, D], and which of them are no padding [1, L]."""
        return [self._states(text) for text in texts]

    def _states(self, text: str) -> States:
        tokens = self.tokenizer([text], return_tensors="pt", padding="max_length", max_length=self.padded)
        tokens = tokens.to(self.network.device)
        ids_1L, mask_1L = tokens["input_ids"], tokens["attention_mask"]
        return pooled_states(
            self.network.get_text_features(input_ids=ids_1L, attention_mask=mask_1L)
        ), mask_1L

    def draw(self, seen: States, prompts: Sequence[States]) -> DrawnMaps:
        longest = max(mask_1L.shape[1] for _, mask_1L in prompts)
        states_NLD = torch.cat([pad(each, (0, 0, 0, longest - each.shape[1])) for each, _ in prompts])
        mask_NL = torch.cat([pad(each, (0, longest - each.shape[1])) for _, each in prompts])
        answer = self.network(
            vision_embeds=self._for_each(seen, len(prompts)),
            # the library reads this attribute, although it documents a tensor
            text_embeds=SimpleNamespace(pooler_output=states_NLD),
            attention_mask=mask_NL,
        )
        presence_N = answer.presence_logits.float().sigmoid().flatten()
        maps_NHW = answer.semantic_seg.float().sigmoid_()[:, 0]
        scores_NQ = answer.pred_logits.float().sigmoid() * presence_N[:, None]
        for map_HW, logits_QHW, scores_Q in zip(maps_NHW, answer.pred_masks, scores_NQ, strict=True):
            # one prompt at a time: there are some hundred queries
            masks_QHW = logits_QHW.float().sigmoid_().mul_(scores_Q[:, None, None])
            torch.maximum(map_HW, masks_QHW.amax(0), out=map_HW)
        return DrawnMaps(maps_NHW, presence_N)

    def _for_each(self, seen: States, prompts: int) -> SimpleNamespace:
        """The features of one image for so many prompts, as the library's vision encoder gives them."""
        unused = self.positions[-1]
        return SimpleNamespace(
            fpn_hidden_states=(*(each.expand(prompts, -1, -1, -1) for each in seen), unused),
            fpn_position_encoding=tuple(each.expand(prompts, -1, -1, -1) for each in self.positions),
            hidden_states=None,
            attentions=None,
        )
