"""A whole language model, word embeddings and tokenizer included, that reads class names."""

from __future__ import annotations

import copy
from collections import defaultdict
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from batchseg.errors import ModelError
from batchseg.segmentors.llm.language import LAYERS, load_language_model, load_tokenizer
from batchseg.segmentors.llm.names import words

VOCABULARY = 1000  # words, evenly spaced over the vocabulary, whose mean is the centre
BATCH = 64
_BEHIND_PADDING = ("mpnet", "roberta", "xlm-roberta")
_SHOWN = 40  # characters


class TextModel:
    """A language model as it was pretrained: a decoder reads from left to right, as it is used to."""

    def __init__(self, model: Any, tokenizer: Any) -> None:
        self.model, self.tokenizer = model, tokenizer

    @classmethod
    def load(cls, name: str, families: Collection[str] = LAYERS) -> TextModel:
        """From a folder, or a name on the hub, of one of the families. Raises ModelError."""
        model, tokenizer = load_language_model(name, families), load_tokenizer(name)
        if tokenizer is None:
            raise ModelError(
                f"{name} has no tokenizer to read class names with; save that of the model beside it "
                "(tokenizer.save_pretrained)"
            )
        return cls(model, tokenizer)

    def save(self, folder: Path) -> None:
        """Float16 safetensors, and the tokenizer."""
        copy.deepcopy(self.model).half().save_pretrained(folder)
        self.tokenizer.save_pretrained(folder)

    def centre(self, prompts: Sequence[str]) -> Tensor:
        """The mean [D] of the vocabulary in the same prompts: what all texts have in common."""
        special = set(self.tokenizer.all_special_ids)
        ids = range(0, len(self.tokenizer), max(1, len(self.tokenizer) // VOCABULARY))
        texts = [self.tokenizer.decode([token]).strip() for token in ids if token not in special]
        return self._read([(text,) for text in texts if text], prompts).mean(0)

    def embed(self, phrases: Sequence[tuple[str, ...]], prompts: Sequence[str], centre_D: Tensor) -> Tensor:
        """A vector of unit length for each class, [C, D]: the mean of its phrases in all prompts, centred."""
        texts = [tuple(words(phrase) for phrase in some) for some in phrases]
        return functional.normalize(self._read(texts, prompts) - centre_D.float())

    def _read(self, phrases: Sequence[tuple[str, ...]], prompts: Sequence[str]) -> Tensor:
        """For each group of phrases the mean [D] of all its texts."""
        groups = [[prompt.replace("{}", phrase) for prompt in prompts for phrase in some] for some in phrases]
        read = self._read_texts(sorted({text for group in groups for text in group}))
        return torch.stack([torch.stack([read[text] for text in group]).mean(0) for group in groups])

    @property
    def _most(self) -> float:
        """How many tokens have a position; RoBERTa and its kin count from behind their padding."""
        config = self.model.config
        places = getattr(config, "max_position_embeddings", None)
        if places is None:
            return float("inf")
        behind = config.pad_token_id + 1 if config.model_type in _BEHIND_PADDING else 0
        return int(places - behind)

    @torch.no_grad()
    def _read_texts(self, texts: Sequence[str]) -> dict[str, Tensor]:
        """For each text the mean [D] of the last hidden state over its tokens."""
        by_length: dict[int, list[tuple[str, list[int]]]] = defaultdict(list)
        for text in texts:
            ids = self.tokenizer(text)["input_ids"]
            if not ids:
                raise ModelError(f"the language model's tokenizer makes nothing of {text!r}")
            if len(ids) > self._most:
                raise ModelError(
                    f"the language model reads {self._most} tokens at most, and {text[:_SHOWN]!r} ... has "
                    f"{len(ids)}; shorten it"
                )
            by_length[len(ids)].append((text, ids))
        read: dict[str, Tensor] = {}
        for group in by_length.values():  # texts of one length need no padding
            for start in range(0, len(group), BATCH):
                some = group[start : start + BATCH]
                states_BND = self.model(input_ids=torch.tensor([ids for _, ids in some])).last_hidden_state
                read.update(zip((text for text, _ in some), states_BND.mean(1), strict=True))
        return read
