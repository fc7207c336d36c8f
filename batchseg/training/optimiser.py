"""AdamW, as a training has it."""

from __future__ import annotations

import torch
from torch import nn

from batchseg.config.train import TrainConfig


def make_optimiser(network: nn.Module, config: TrainConfig) -> torch.optim.AdamW:
    """Of all weights that learn; those of norms, and biases, are not decayed."""
    learning = [weight for weight in network.parameters() if weight.requires_grad]
    groups = [
        {"params": [weight for weight in learning if weight.ndim > 1], "weight_decay": config.weight_decay},
        {"params": [weight for weight in learning if weight.ndim <= 1], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=config.peak_rate)
