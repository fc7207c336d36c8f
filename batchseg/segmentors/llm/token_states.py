"""What a language model makes of each word of a prompt: the states after one of its middle layers."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
from torch import Tensor

from batchseg.errors import ModelError
from batchseg.segmentors.llm.language import positions
from batchseg.segmentors.llm.names import LANGUAGE_MODEL
from batchseg.segmentors.llm.text import BATCH, TextModel


class PromptReader:
    """A whole language model that reads prompts, and gives a state for each token.

    Args:
        layer: whose output it gives, from 1.
    """

    def __init__(self, text: TextModel, layer: int) -> None:
        self.text, self.layer = text, layer

    @classmethod
    def of(cls, folder: Path, layer: int) -> PromptReader:
        """The language model that came with a checkpoint. Raises ModelError."""
        return cls(TextModel.load(str(folder / LANGUAGE_MODEL)), layer)

    def tokens(self, prompts: Sequence[str]) -> list[list[int]]:
        """The token ids of each prompt. Raises ModelError for one that is empty or too long."""
        room = positions(self.text.model.config)
        found = []
        for prompt in prompts:
            ids: list[int] = self.text.tokenizer(prompt)["input_ids"]
            if not ids:
                raise ModelError(f"the language model's tokenizer makes nothing of the prompt {prompt!r}")
            if room is not None and len(ids) > room:
                raise ModelError(
                    f"the prompt {prompt[:60]!r} has {len(ids)} tokens, and the language model reads {room}: "
                    "say it in fewer words"
                )
            found.append(ids)
        return found

    @torch.inference_mode()
    def states(self, tokens: Sequence[list[int]]) -> Iterator[tuple[int, Tensor]]:
        """The place of each prompt and its states [L, E] in float32, those of one length together."""
        by_length: dict[int, list[int]] = defaultdict(list)
        for place, ids in enumerate(tokens):
            by_length[len(ids)].append(place)
        for places in by_length.values():  # prompts of one length need no padding
            for start in range(0, len(places), BATCH):
                some = places[start : start + BATCH]
                ids_BL = torch.tensor([tokens[place] for place in some], device=self.text.model.device)
                out = self.text.model(input_ids=ids_BL, output_hidden_states=True)
                yield from zip(some, out.hidden_states[self.layer].float(), strict=True)


def middle_layer(depth: int) -> int:
    """The layer whose states serve best, from 1: at two thirds of the depth, not the last."""
    return max(1, round(depth * 2 / 3))
