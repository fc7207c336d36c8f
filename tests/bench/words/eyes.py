"""The eyes that all arms share: from pixels to embeddings, learned without a word from what things are."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from batchseg.segmentors.llm.backbone import Small
from batchseg.segmentors.llm.decoders import FPN
from tests.bench.words.asked import ATTRIBUTES, CONCEPTS, Questions, Scenes
from tests.bench.words.experiment import BATCH, EYES_RATE, WIDTH, WIDTHS
from tests.bench.words.steps import Descent

STRIDE = 2  # pixels of a scene, along a side, for one cell of what the eyes see


class Eyes(nn.Module):
    """From pixels to embeddings of the pixels at half the resolution."""

    def __init__(self) -> None:
        super().__init__()
        self.backbone, self.decoder = Small(WIDTHS, 2), FPN(WIDTHS, WIDTH, WIDTH)

    def forward(self, images_BHWC: Tensor) -> Tensor:
        pixels_BCHW = images_BHWC.permute(0, 3, 1, 2).float() / 64 - 2
        with torch.autocast(images_BHWC.device.type, torch.bfloat16):
            embeddings_BDHW: Tensor = self.decoder(self.backbone(pixels_BCHW))
        return embeddings_BDHW.float()


@dataclass(frozen=True)
class Seen:
    """Scenes on the device: as pixels, or as what the eyes made of them."""

    scenes: Scenes
    inputs_N: Tensor

    @classmethod
    def pixels(cls, scenes: Scenes, device: torch.device) -> Seen:
        return cls(scenes, torch.from_numpy(scenes.images_NHWC).to(device))

    def masks(self, questions: Questions, some: NDArray[np.int64]) -> Tensor:
        """The truth of some questions, bool [B, H, W]."""
        found = self.scenes.masks(questions.scenes_Q[some], questions.triples_Q[some])
        return torch.from_numpy(found).to(self.inputs_N.device)

    @torch.no_grad()
    def through(self, eyes: Eyes) -> Seen:
        """What frozen eyes see, float16."""
        eyes.eval()
        return Seen(self.scenes, torch.cat([eyes(some).half() for some in self.inputs_N.split(256)]))


def train_eyes(seen: Seen, steps: int, seed: int) -> Eyes:
    """With a linear read-out of whether a cell shows a thing, and of its colour, shape and texture."""
    torch.manual_seed(seed)
    eyes, sizes = Eyes(), [len(CONCEPTS[each]) for each in ATTRIBUTES]
    network = nn.Sequential(eyes, nn.Conv2d(WIDTH, 1 + sum(sizes), 1)).to(seen.inputs_N.device)
    descent, rng = Descent(network, EYES_RATE, steps), np.random.default_rng(seed)
    for _ in range(steps):
        some = rng.integers(len(seen.inputs_N), size=BATCH)
        is_thing_BHW, concepts_BHW3 = cells(seen.scenes, some)
        concepts_BHW3 = concepts_BHW3.to(seen.inputs_N.device)
        thing_B1HW, *each_BCHW = network(seen.inputs_N[some]).split([1, *sizes], 1)
        loss = functional.binary_cross_entropy_with_logits(thing_B1HW[:, 0], is_thing_BHW.to(thing_B1HW))
        for place, logits_BCHW in enumerate(each_BCHW):
            loss = loss + functional.cross_entropy(logits_BCHW, concepts_BHW3[..., place], ignore_index=-1)
        descent.step(loss)
    return eyes


def cells(scenes: Scenes, some: NDArray[np.int64]) -> tuple[Tensor, Tensor]:
    """What the cells of some scenes show: whether a thing, [B, h, w], and its concepts [B, h, w, 3] or -1."""
    owners_BHW = scenes.owners_NHW[some][:, STRIDE // 2 :: STRIDE, STRIDE // 2 :: STRIDE]
    nothing_B13 = np.full((len(some), 1, 3), -1)
    table_BK3 = np.concatenate([nothing_B13, scenes.things_NK3[some]], 1)
    concepts_BHW3 = table_BK3[np.arange(len(some))[:, None, None], owners_BHW]
    return torch.from_numpy(owners_BHW > 0), torch.from_numpy(concepts_BHW3)
