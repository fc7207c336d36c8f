"""CLIPSeg (Lüddecke and Ecker 2022): a text's embedding modulates a small decoder over CLIP's features."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from batchseg.segmentors.prompted.cache import States
from batchseg.segmentors.prompted.family import DrawnMaps, mean_direction


class ClipSeg:
    """`CLIPSegForImageSegmentation`, whose decoder spreads one image over many prompts."""

    def __init__(self, network: Any, tokenizer: Any) -> None:
        self.network, self.tokenizer = network, tokenizer

    @property
    def vision(self) -> nn.Module:
        module: nn.Module = self.network.clip.vision_model
        return module

    def see(self, pixels_1CHW: Tensor) -> States:
        """The activations that the decoder looks at."""
        seen = self.vision(pixel_values=pixels_1CHW, output_hidden_states=True)
        # the first hidden states are the embeddings
        return tuple(seen.hidden_states[layer + 1] for layer in self.network.extract_layers)

    def read(self, texts: Sequence[str]) -> list[States]:
        embeddings = [self._embedding(text) for text in texts]
        return [(mean_direction(torch.cat(embeddings)),)]

    def _embedding(self, text: str) -> Tensor:
        """The pooled and projected state [1, D] of one text, which needs no padding."""
        tokens = self.tokenizer([text], return_tensors="pt").to(self.network.device)
        features = self.network.clip.get_text_features(
            input_ids=tokens["input_ids"], attention_mask=tokens["attention_mask"]
        )
        return pooled_states(features).float()

    def draw(self, seen: States, prompts: Sequence[States]) -> DrawnMaps:
        prompts_ND = torch.cat([embedding_1D for (embedding_1D,) in prompts])
        logits_NHW = self.network.decoder(list(seen), prompts_ND).logits
        # of one prompt some versions leave the first axis out
        return DrawnMaps(logits_NHW.reshape(len(prompts), *logits_NHW.shape[-2:]).float().sigmoid_())


def pooled_states(features: Any) -> Tensor:
    """What a text model of transformers says of a text: a tensor, or its `pooler_output`."""
    found: Tensor = features if isinstance(features, Tensor) else features.pooler_output
    return found
