"""Training and testing of a head for each arm, on what the eyes see."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from batchseg.segmentors.llm.prompt_head import PromptHead
from tests.bench.words.asked import Questions
from tests.bench.words.experiment import BATCH, NOISE, POINTS, PRESENT, RATE, TOKEN_WIDTH, WIDTH
from tests.bench.words.eyes import STRIDE, Seen, cells
from tests.bench.words.steps import Descent
from tests.bench.words.text import Frozen

DICE, PRESENCE = 0.5, 0.3  # of the loss, beside the cross-entropy


class Network(nn.Module):
    """Words and a head: what the eyes see, and what is asked of it, to logits."""

    def __init__(self, words: nn.Module) -> None:
        super().__init__()
        self.words = words
        self.head = PromptHead(WIDTH, words.width if isinstance(words, Frozen) else TOKEN_WIDTH, WIDTH, NOISE)

    def answers(
        self, seen: Seen, questions: Questions, some: NDArray[np.int64], points_BP: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Logits [B, h, w] at the eyes' resolution, and of the presence [B], of some of the questions.

        Args:
            points_BP: cells, row by row; then the logits are [B, 1, P].
        """
        device = seen.inputs_N.device
        scenes_B, triples_B, texts_B = (
            torch.from_numpy(each[some]).to(device)
            for each in (questions.scenes_Q, questions.triples_Q, questions.texts_Q)
        )
        seen_BDHW = seen.inputs_N[scenes_B].float()
        if points_BP is not None:
            points_BDP = points_BP[:, None].expand(-1, seen_BDHW.shape[1], -1)
            seen_BDHW = seen_BDHW.flatten(2).gather(2, points_BDP)[:, :, None]
        answer: tuple[Tensor, Tensor] = self.head(seen_BDHW, *self.words(texts_B, triples_B))
        return answer


def train_head(words: nn.Module, seen: Seen, questions: Questions, steps: int, seed: int) -> Network:
    """On embeddings of frozen eyes. The same seed gives every arm the same weights and order."""
    torch.manual_seed(seed)
    device = seen.inputs_N.device
    network = Network(words).to(device)
    descent = Descent(network, RATE, steps)
    order = np.random.default_rng([seed, 3]).permutation(len(questions))
    for step in range(steps):
        some = order[np.arange(step * BATCH, (step + 1) * BATCH) % len(order)]
        points_BP = _points(seen, questions.scenes_Q[some]).to(device)
        target_BHW = functional.avg_pool2d(seen.masks(questions, some).float(), STRIDE)
        target_B1P = target_BHW.flatten(1).gather(1, points_BP)[:, None]
        descent.step(_loss(*network.answers(seen, questions, some, points_BP), target_B1P))
    return network


def _points(seen: Seen, scenes_B: NDArray[np.int64]) -> Tensor:
    """Cells of each scene, [B, P]: half of them from where things are, which is a small part of a scene."""
    is_thing_BN = cells(seen.scenes, scenes_B)[0].flatten(1).float()
    share_B1 = is_thing_BN.mean(1, keepdim=True).clamp(min=1 / is_thing_BN.shape[1])
    return torch.multinomial(is_thing_BN / share_B1 + 1, POINTS)


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
    """What `figures` reads, [6, Q].

    In pixels: the mask as a run decides it (over one half, and empty where presence is low), the truth, and
    both; the mask of what is at least half as likely as the likeliest pixel, and both of that and the truth;
    and whether the likeliest pixel is in the truth.
    """
    network.eval()
    found = []
    for some in np.array_split(np.arange(len(questions)), max(1, len(questions) // 100)):
        logits_Bhw, presence_B = network.answers(seen, questions, some)
        logits_BHW = functional.interpolate(logits_Bhw[:, None], scale_factor=STRIDE, mode="bilinear")[:, 0]
        likely_BN, truth_BN = logits_BHW.sigmoid().flatten(1), seen.masks(questions, some).flatten(1)
        mask_BN = (likely_BN > 0.5) & (presence_B.sigmoid() >= PRESENT)[:, None]
        told_BN = likely_BN >= likely_BN.amax(1, keepdim=True) / 2
        pointed_B1 = truth_BN.gather(1, likely_BN.argmax(1, keepdim=True))
        parts = (mask_BN, truth_BN, mask_BN & truth_BN, told_BN, told_BN & truth_BN, pointed_B1)
        found.append(torch.stack([part.sum(1) for part in parts]).cpu().numpy())
    return np.concatenate(found, 1)


def figures(counts_6Q: NDArray[np.int64]) -> dict[str, float]:
    """What a table has: see FIGURES in experiment.py."""
    mask_Q, truth_Q, both_Q, told_Q, both_told_Q, pointed_Q = counts_6Q
    either_Q, is_there_Q = mask_Q + truth_Q - both_Q, truth_Q > 0
    iou_Q = np.where(either_Q > 0, both_Q / np.maximum(either_Q, 1), 1)
    told_iou_Q = both_told_Q / np.maximum(told_Q + truth_Q - both_told_Q, 1)
    return {
        "giou": float(iou_Q.mean()),
        "told": float(told_iou_Q[is_there_Q].mean()),
        "pointed": float(pointed_Q[is_there_Q].mean()),
        "ciou": float(both_Q.sum() / max(1, either_Q.sum())),
        "n_acc": float((mask_Q[~is_there_Q] == 0).mean()),
        "t_acc": float((mask_Q[is_there_Q] > 0).mean()),
    }
