"""Training and testing: the eyes once a seed, from concepts; a head for each arm, on what the eyes see."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from batchseg.segmentors.llm.backbone import Small
from batchseg.segmentors.llm.decoders import FPN
from batchseg.segmentors.llm.prompt_head import PromptHead
from tests.bench.words.asked import Questions, Scenes
from tests.bench.words.experiment import (
    BATCH,
    DECAY,
    NOISE,
    POINTS,
    PRESENT,
    RATE,
    TOKEN_WIDTH,
    WARM_UP,
    WIDTH,
    WIDTHS,
)
from tests.bench.words.text import Frozen, Ids

DICE, PRESENCE = 0.5, 0.3  # of the loss, beside the cross-entropy
STRIDE = 2  # pixels of a scene, along a side, for one cell of what the eyes see


class Eyes(nn.Module):
    """From pixels to embeddings of the pixels at half the resolution."""

    def __init__(self) -> None:
        super().__init__()
        self.backbone, self.decoder = Small(WIDTHS, 2), FPN(WIDTHS, WIDTH, WIDTH)

    def forward(self, images_BHWC: Tensor) -> Tensor:
        pixels_BCHW = images_BHWC.permute(0, 3, 1, 2).float() / 64 - 2
        embeddings_BDHW: Tensor = self.decoder(self.backbone(pixels_BCHW))
        return embeddings_BDHW


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
        with autocast(self.inputs_N.device):
            parts = [eyes(some).half() for some in self.inputs_N.split(256)]
        return Seen(self.scenes, torch.cat(parts))


def autocast(device: torch.device) -> torch.autocast:
    return torch.autocast(device.type, torch.bfloat16)


class Network(nn.Module):
    """Eyes, words and a head: what is seen, and what is asked of it, to logits."""

    def __init__(
        self, eyes: nn.Module, words: nn.Module, width: int = TOKEN_WIDTH, noise: float = NOISE
    ) -> None:
        super().__init__()
        self.eyes, self.words = eyes, words
        self.head = PromptHead(WIDTH, width, WIDTH, noise)

    def answers(
        self, seen: Seen, questions: Questions, some: NDArray[np.int64], points_P: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Logits [B, h, w] at the eyes' resolution, and of the presence [B], of some of the questions.

        Args:
            points_P: cells, row by row; then the logits are [B, 1, P].
        """
        device = seen.inputs_N.device
        scenes_B, triples_B, texts_B = (
            torch.from_numpy(each[some]).to(device)
            for each in (questions.scenes_Q, questions.triples_Q, questions.texts_Q)
        )
        states_BLE, is_token_BL = self.words(texts_B, triples_B)
        with autocast(device):
            pixels_BDHW = self.eyes(seen.inputs_N[scenes_B])
            if points_P is not None:
                pixels_BDHW = pixels_BDHW.flatten(2)[:, :, None, points_P]
            logits_Bhw, presence_B = self.head(pixels_BDHW, states_BLE, is_token_BL)
        return logits_Bhw.float(), presence_B.float()


def train_eyes(seen: Seen, questions: Questions, steps: int, seed: int) -> Eyes:
    """With concepts in place of words."""
    torch.manual_seed(seed)
    eyes = Eyes()
    _train(Network(eyes, Ids(), noise=0.0), seen, questions, steps, seed)
    return eyes


def train_head(words: nn.Module, seen: Seen, questions: Questions, steps: int, seed: int) -> Network:
    """On embeddings of frozen eyes. The same seed gives every arm the same weights and order."""
    torch.manual_seed(seed)
    network = Network(nn.Identity(), words, words.width if isinstance(words, Frozen) else TOKEN_WIDTH)
    _train(network, seen, questions, steps, seed, points=POINTS)
    return network


def _train(
    network: Network, seen: Seen, questions: Questions, steps: int, seed: int, *, points: int | None = None
) -> None:
    device = seen.inputs_N.device
    network.to(device).train()
    parameters = [*network.parameters()]
    optimiser = torch.optim.AdamW(parameters, RATE, weight_decay=DECAY)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, RATE, steps, pct_start=WARM_UP)
    order = np.random.default_rng([seed, 3]).permutation(len(questions))
    for step in range(steps):
        some = order[np.arange(step * BATCH, (step + 1) * BATCH) % len(order)]
        target_BHW = functional.avg_pool2d(seen.masks(questions, some).float(), STRIDE)
        points_P = None
        if points is not None:
            points_P = torch.randperm(target_BHW[0].numel())[:points].to(device)
            target_BHW = target_BHW.flatten(1)[:, None, points_P]
        loss = _loss(*network.answers(seen, questions, some, points_P), target_BHW)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(parameters, 1.0)
        optimiser.step()
        schedule.step()


def _loss(logits_BHW: Tensor, presence_B: Tensor, target_BHW: Tensor) -> Tensor:
    axes = (1, 2)
    likely_BHW = logits_BHW.sigmoid()
    both_B = (likely_BHW * target_BHW).sum(axes)
    dice_B = 1 - (2 * both_B + 1) / (likely_BHW.sum(axes) + target_BHW.sum(axes) + 1)
    entropy = functional.binary_cross_entropy_with_logits
    is_there_B = (target_BHW.sum(axes) > 0).float()
    return entropy(logits_BHW, target_BHW) + DICE * dice_B.mean() + PRESENCE * entropy(presence_B, is_there_B)


@torch.no_grad()
def tested(network: Network, seen: Seen, questions: Questions) -> NDArray[np.int64]:
    """Pixels of the mask, of the truth, and of both, [3, Q]. Where presence is low a mask is empty."""
    network.eval()
    found = []
    for some in np.array_split(np.arange(len(questions)), max(1, len(questions) // 200)):
        logits_Bhw, presence_B = network.answers(seen, questions, some)
        logits_BHW = functional.interpolate(logits_Bhw[:, None], scale_factor=STRIDE, mode="bilinear")[:, 0]
        mask_BHW = (logits_BHW > 0) & (presence_B.sigmoid() >= PRESENT)[:, None, None]
        truth_BHW = seen.masks(questions, some)
        counts = [each.sum((1, 2)) for each in (mask_BHW, truth_BHW, mask_BHW & truth_BHW)]
        found.append(torch.stack(counts).cpu().numpy())
    return np.concatenate(found, 1)


def figures(counts_3Q: NDArray[np.int64]) -> dict[str, float]:
    """What a table has: see FIGURES in experiment.py."""
    mask_Q, truth_Q, both_Q = counts_3Q
    either_Q, is_there_Q = mask_Q + truth_Q - both_Q, truth_Q > 0
    iou_Q = np.where(either_Q > 0, both_Q / np.maximum(either_Q, 1), 1)
    return {
        "giou": float(iou_Q.mean()),
        "ciou": float(both_Q.sum() / max(1, either_Q.sum())),
        "iou_there": float(iou_Q[is_there_Q].mean()),
        "n_acc": float((mask_Q[~is_there_Q] == 0).mean()),
        "t_acc": float((mask_Q[is_there_Q] > 0).mean()),
    }
