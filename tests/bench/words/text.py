"""What each arm makes of a prompt: token states [L, E], which the decoder's pixels attend to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from batchseg.errors import ConfigError
from tests.bench.words.asked import ATTRIBUTES, CONCEPTS, TRIPLES
from tests.bench.words.experiment import LAYERS, TOKEN_WIDTH, UNKNOWN

_BATCH = 256


@dataclass(frozen=True)
class States:
    """Token states of all prompts.

    Attributes:
        states_TLE: float16.
        is_token_TL: false where a shorter prompt is filled up.
    """

    states_TLE: Tensor
    is_token_TL: Tensor

    def standardised(self, trained: int) -> States:
        """Of mean 0 and deviation 1 in each unit, over the tokens of the first, the training prompts.

        In a language model a few units are many times larger than all others, and noise that is small beside
        them would drown what the others say.
        """
        known_NE = self.states_TLE[:trained][self.is_token_TL[:trained]].float()
        mean_E, deviation_E = known_NE.mean(0), known_NE.std(0).clamp(min=1e-6)
        return States(((self.states_TLE.float() - mean_E) / deviation_E).half(), self.is_token_TL)

    def to(self, device: torch.device) -> States:
        return States(self.states_TLE.to(device), self.is_token_TL.to(device))


@torch.no_grad()
def read(
    arm: str, texts: Sequence[str], folders: Mapping[str, str], seed: int, device: torch.device
) -> States:
    """The states of a frozen language model: of a layer, of its word embeddings, or of random weights."""
    from transformers import AutoConfig, AutoModel, AutoTokenizer
    from transformers.utils import logging

    logging.set_verbosity_error()  # that the layers behind are left out is meant
    logging.disable_progress_bar()

    folder = folders["minilm" if arm in ("minilm", "embeddings") else "mpnet"]
    tokenizer = AutoTokenizer.from_pretrained(folder)
    config = AutoConfig.from_pretrained(folder)
    if config.num_hidden_layers < LAYERS[arm]:
        raise ConfigError(f"{folder} has {config.num_hidden_layers} layers, and {arm} reads {LAYERS[arm]}")
    config.num_hidden_layers = max(1, LAYERS[arm])  # what lies behind is not read
    if arm == "random":
        torch.manual_seed(seed)
        model: Any = AutoModel.from_config(config)
    else:
        model = AutoModel.from_pretrained(folder, config=config, dtype=torch.float32)
    model.to(device).eval()
    tokens = tokenizer(list(texts), padding=True, return_tensors="pt")
    ids_TL, is_token_TL = tokens["input_ids"], tokens["attention_mask"].bool()
    found = []
    for start in range(0, len(texts), _BATCH):
        some = slice(start, start + _BATCH)
        ids_BL, mask_BL = ids_TL[some].to(device), is_token_TL[some].to(device)
        if arm == "embeddings":
            states_BLE = model.get_input_embeddings()(ids_BL)
        else:
            states_BLE = model(input_ids=ids_BL, attention_mask=mask_BL).last_hidden_state
        found.append(states_BLE.half().cpu())
    return States(torch.cat(found), is_token_TL)


class Words(nn.Module):
    """A vector for each word of the training prompts, and one for all others."""

    def __init__(self, texts: Sequence[str], trained: int) -> None:
        super().__init__()
        known = sorted({word for text in texts[:trained] for word in text.split()})
        ids = {word: place + 2 for place, word in enumerate(known)}  # 0 fills up, 1 is unknown
        rows = [[ids.get(word, 1) for word in text.split()] for text in texts]
        longest = max(map(len, rows))
        ids_TL = torch.tensor([row + [0] * (longest - len(row)) for row in rows])
        self.register_buffer("ids_TL", ids_TL, persistent=False)
        self.vectors = nn.Embedding(len(known) + 2, TOKEN_WIDTH)

    def forward(self, texts_B: Tensor, triples_B: Tensor) -> tuple[Tensor, Tensor]:
        ids_BL = self.ids_TL[texts_B]  # type: ignore[index]
        if self.training:
            is_hidden_BL = (torch.rand(ids_BL.shape, device=ids_BL.device) < UNKNOWN) & (ids_BL > 0)
            ids_BL = ids_BL.masked_fill(is_hidden_BL, 1)
        return self.vectors(ids_BL), ids_BL > 0


class Ids(nn.Module):
    """A vector for each concept that is named, whatever the words are."""

    def __init__(self) -> None:
        super().__init__()
        sizes = [len(CONCEPTS[each]) for each in ATTRIBUTES]
        firsts = torch.tensor([0, sizes[0], sizes[0] + sizes[1]])
        self.register_buffer("ids_T3", torch.from_numpy(TRIPLES) + firsts, persistent=False)
        self.vectors = nn.Embedding(sum(sizes), TOKEN_WIDTH)

    def forward(self, texts_B: Tensor, triples_B: Tensor) -> tuple[Tensor, Tensor]:
        ids_B3 = self.ids_T3[triples_B]  # type: ignore[index]
        return self.vectors(ids_B3), torch.ones_like(ids_B3, dtype=torch.bool)


class Withheld(nn.Module):
    """One vector for every prompt."""

    def __init__(self) -> None:
        super().__init__()
        self.vector = nn.Parameter(torch.randn(1, 1, TOKEN_WIDTH))

    def forward(self, texts_B: Tensor, triples_B: Tensor) -> tuple[Tensor, Tensor]:
        is_token = torch.ones(len(texts_B), 1, dtype=torch.bool, device=texts_B.device)
        return self.vector.expand(len(texts_B), -1, -1), is_token


class Frozen(nn.Module):
    """States that were read once."""

    def __init__(self, states: States) -> None:
        super().__init__()
        self.states = states

    @property
    def width(self) -> int:
        return self.states.states_TLE.shape[-1]

    def forward(self, texts_B: Tensor, triples_B: Tensor) -> tuple[Tensor, Tensor]:
        return self.states.states_TLE[texts_B].float(), self.states.is_token_TL[texts_B]
