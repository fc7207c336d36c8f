"""How everything here is optimised."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from tests.bench.words.experiment import DECAY, WARM_UP


class Descent:
    """AdamW with a warm-up and a cosine, gradients clipped at a norm of 1."""

    def __init__(self, network: nn.Module, rate: float, steps: int) -> None:
        network.train()
        self.parameters = [*network.parameters()]
        self.optimiser = torch.optim.AdamW(self.parameters, rate, weight_decay=DECAY)
        self.schedule = torch.optim.lr_scheduler.OneCycleLR(self.optimiser, rate, steps, pct_start=WARM_UP)

    def step(self, loss: Tensor) -> None:
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(self.parameters, 1.0)
        self.optimiser.step()
        self.schedule.step()
