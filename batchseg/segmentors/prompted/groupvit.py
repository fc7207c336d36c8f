"""GroupViT (Xu et al. 2022): groups of patches, each compared with all texts.

The library's `segmentation_logits` are similarities of groups and texts, times the scale of the contrastive
loss twice: above 0 for most of an image, and far beyond where a sigmoid tells anything. They are meant to be
compared: a pixel is of the text with the highest. So without a background they are logits as those of any
semantic model. With one, a text's share in the softmax over all texts has to exceed the threshold, as in the
authors' evaluation, whose background is where no class has a high share. Of one text alone the share would be
1; it is held against a similarity of 0, which makes it a sigmoid.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from batchseg.segmentors.prompted.cache import States
from batchseg.segmentors.prompted.clipseg import pooled_states
from batchseg.segmentors.prompted.family import DrawnMaps, mean_direction


class GroupVit:
    """`GroupViTModel`."""

    def __init__(self, network: Any, tokenizer: Any) -> None:
        self.network, self.tokenizer = network, tokenizer

    @property
    def vision(self) -> nn.Module:
        module: nn.Module = self.network.vision_model
        return module

    def see(self, pixels_1CHW: Tensor) -> States:
        """The groups' embeddings [G, D], of unit length, and the share of each in each pixel [G, H, W]."""
        from transformers.models.groupvit.modeling_groupvit import get_grouping_from_attentions

        seen = self.vision(pixel_values=pixels_1CHW, output_attentions=True)
        groups_GD = self.network.visual_projection(seen.last_hidden_state[0])
        grouping_1GHW = get_grouping_from_attentions(seen.attentions, pixels_1CHW.shape[2:])
        return normalize(groups_GD.float(), dim=1), grouping_1GHW[0].float()

    def read(self, texts: Sequence[str]) -> list[States]:
        embeddings = [normalize(self._embedding(text), dim=1) for text in texts]
        return [(normalize(mean_direction(torch.cat(embeddings)), dim=1),)]

    def _embedding(self, text: str) -> Tensor:
        tokens = self.tokenizer([text], return_tensors="pt").to(self.network.device)
        features = self.network.get_text_features(
            input_ids=tokens["input_ids"], attention_mask=tokens["attention_mask"]
        )
        return pooled_states(features).float()

    def draw(self, seen: States, prompts: Sequence[States]) -> DrawnMaps:
        groups_GD, grouping_GHW = seen
        texts_ND = torch.cat([embedding_1D for (embedding_1D,) in prompts])
        scale = self.network.logit_scale.float().exp()
        with torch.autocast(groups_GD.device.type, enabled=False):
            similar_NG = texts_ND @ groups_GD.T * scale
            return DrawnMaps(torch.einsum("ng,ghw->nhw", similar_NG, grouping_GHW) * scale)
