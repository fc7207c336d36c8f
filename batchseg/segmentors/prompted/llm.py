"""Our own: an LLM segmentor with a prompt head, whose pixels attend to the words of a prompt."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn.functional import pad

from batchseg.segmentors.huggingface.loading import load_network
from batchseg.segmentors.llm.modeling_llmseg import LLMSemanticSegmentor
from batchseg.segmentors.llm.token_states import PromptReader
from batchseg.segmentors.prompted.cache import States
from batchseg.segmentors.prompted.family import DrawnMaps

if TYPE_CHECKING:
    from batchseg.segmentors.huggingface.files import CheckpointPlace


class PromptedLLM:
    """`LLMSemanticSegmentor` with a prompt head, and the language model that came with it."""

    def __init__(self, network: LLMSemanticSegmentor, reader: PromptReader) -> None:
        self.network: nn.Module = network
        self.segmentor, self.reader = network, reader

    @classmethod
    def load(cls, folder: Path, location: CheckpointPlace) -> PromptedLLM:
        """Raises ModelError where a weight of either is missing."""
        network = load_network(LLMSemanticSegmentor, folder, location)
        return cls(network, PromptReader.of(folder, network.config.prompt_layer))

    @property
    def vision(self) -> nn.Module:
        return self.segmentor.backbone

    def see(self, pixels_1CHW: Tensor) -> States:
        """The embeddings of the pixels, and the height and width of those."""
        return self.segmentor.see(pixels_1CHW), torch.tensor(pixels_1CHW.shape[-2:])

    def read(self, texts: Sequence[str]) -> list[States]:
        """For each text its token states [1, L, E], as the training has them: of float32, whatever the rest
        computes in."""
        device = self.segmentor.device
        self.reader.text.model.to(device)
        with torch.autocast(device.type, enabled=False):
            found = dict(self.reader.states(self.reader.tokens(texts)))
        return [(found[place][None],) for place in range(len(texts))]

    def draw(self, seen: States, prompts: Sequence[States]) -> DrawnMaps:
        embeddings_1DHW, size_2 = seen
        lengths = torch.tensor([states.shape[1] for (states,) in prompts], device=embeddings_1DHW.device)
        longest = int(lengths.max())
        states_NLE = torch.cat([pad(each, (0, 0, 0, longest - each.shape[1])) for (each,) in prompts])
        is_word_NL = torch.arange(longest, device=lengths.device) < lengths[:, None]
        embeddings_NDHW = embeddings_1DHW.expand(len(prompts), -1, -1, -1)
        logits_NHW, presence_N = self.segmentor.ask(embeddings_NDHW, states_NLE, is_word_NL, size_2.tolist())
        return DrawnMaps(logits_NHW.float().sigmoid(), presence_N.float().sigmoid())
