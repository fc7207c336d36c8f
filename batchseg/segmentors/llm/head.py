"""The text head: a pixel belongs to the class whose name, as the language model reads it, is most like it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from batchseg.errors import ModelError
from batchseg.segmentors.llm.names import is_learned, plain

START_SCALE = 1 / 0.07  # as CLIP begins (Radford et al. 2021)
LARGEST_SCALE = 100.0
ALIKE = 1 - 1e-5  # the cosine of names that nothing can tell apart


class TextHead(nn.Module):
    """Cosines of pixel and class embeddings, times a learned scale.

    A class that is no thing of its own, such as background, has a learned vector in place of a name's.

    Attributes:
        embeddings: [C, D], of unit length; what the language model says of each name, zero where learned.
        centre: [D], the mean over the vocabulary, which embeddings are seen from.
    """

    embeddings: Tensor
    centre: Tensor

    def __init__(self, names: Sequence[str], language_width: int, width: int) -> None:
        super().__init__()
        self.names = tuple(names)
        self.learned_ids = [index for index, name in enumerate(names) if is_learned(name)]
        self.project = nn.Linear(language_width, width, bias=False)
        self.log_scale = nn.Parameter(torch.empty(()))
        self.learned = nn.Parameter(torch.empty(len(self.learned_ids), width)) if self.learned_ids else None
        self.register_buffer("embeddings", torch.zeros(len(names), language_width))
        self.register_buffer("centre", torch.zeros(language_width))

    def start(self) -> None:
        """Weights before the first step."""
        nn.init.constant_(self.log_scale, math.log(START_SCALE))
        nn.init.normal_(self.project.weight, std=self.project.in_features**-0.5)
        if self.learned is not None:
            nn.init.normal_(self.learned)

    def forward(self, pixels_BWHW: Tensor) -> Tensor:
        """Logits [B, C, H, W] of pixel embeddings, in float32: bfloat16 has three digits for a cosine."""
        with torch.autocast(pixels_BWHW.device.type, enabled=False):
            weight_WD = self.project.weight.float()
            classes_CW = functional.linear(self.embeddings.float(), weight_WD)
            if self.learned is not None:
                ids = torch.tensor(self.learned_ids, device=classes_CW.device)
                classes_CW = classes_CW.index_copy(0, ids, self.learned.float())
            pixels_BWHW = functional.normalize(pixels_BWHW.float(), dim=1)
            cosines_BCHW = functional.conv2d(pixels_BWHW, functional.normalize(classes_CW)[:, :, None, None])
            return cosines_BCHW * self.log_scale.float().exp().clamp(max=LARGEST_SCALE)

    @torch.no_grad()
    def fill(self, embeddings_CD: Tensor, centre_D: Tensor) -> None:
        """Set what the language model says of the names. Raises ModelError where it says the same of two."""
        words = [index for index in range(len(self.names)) if index not in self.learned_ids]
        _tell_apart([self.names[index] for index in words], embeddings_CD[words])
        self.embeddings.zero_()
        self.embeddings[words] = embeddings_CD[words].to(self.embeddings)
        self.centre.copy_(centre_D)

    @torch.no_grad()
    def renamed(self, names: Sequence[str], new: Mapping[str, Tensor]) -> TextHead:
        """The same head for other classes: names it knows keep their vectors, and `new` has those of others.

        Raises ModelError where the language model cannot tell two names apart.
        """
        device = self.project.weight.device
        head = TextHead(names, self.project.in_features, self.project.out_features).to(device)
        head.project, head.log_scale = self.project, self.log_scale
        at = {plain(name): index for index, name in enumerate(self.names)}
        rows = [new[name] if name in new else self.embeddings[at[plain(name)]] for name in names]
        head.fill(torch.stack([row.to(self.embeddings) for row in rows]), self.centre)
        if head.learned is not None:
            assert self.learned is not None  # check_classes has seen to it
            wanted = [self.learned_ids.index(at[plain(names[index])]) for index in head.learned_ids]
            head.learned.copy_(self.learned[wanted])
        return head


def alike(names: Sequence[str], embeddings_CD: Tensor, project_WD: Tensor) -> list[dict[str, Any]]:
    """Every two names with the cosines of their embeddings, as read and as learned, the most alike first."""
    words = [index for index, name in enumerate(names) if not is_learned(name)]
    read_CD = functional.normalize(embeddings_CD[words].float())
    learned_CW = functional.normalize(read_CD @ project_WD.float().T)
    read_CC, learned_CC = read_CD @ read_CD.T, learned_CW @ learned_CW.T
    pairs = [
        {
            "classes": [names[words[one]], names[words[other]]],
            "read": round(float(read_CC[one, other]), 4),
            "learned": round(float(learned_CC[one, other]), 4),
        }
        for one in range(len(words))
        for other in range(one + 1, len(words))
    ]
    return sorted(pairs, key=lambda pair: -pair["read"])


def _tell_apart(names: Sequence[str], embeddings_CD: Tensor) -> None:
    embeddings_CD = functional.normalize(embeddings_CD.float())
    cosines_CC = embeddings_CD @ embeddings_CD.T
    for one, other in (cosines_CC.triu(1) > ALIKE).nonzero().tolist():
        raise ModelError(
            f"the language model reads {names[one]!r} and {names[other]!r} as the same; "
            "give one of them another name, or synonyms in the label map"
        )
