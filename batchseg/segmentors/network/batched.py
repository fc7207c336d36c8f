"""What all torch networks share: a batch goes to the device, becomes levels, and then scores."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from functools import partial

import torch
from torch import Tensor

from batchseg.segmentors.base import ModelInput, Scores
from batchseg.segmentors.network.levels import to_levels
from batchseg.segmentors.network.upload import to_device


class BatchedNetwork(ABC):
    """A network on one device that sees a whole batch at once (`base.Uploader` and `Differentiable`)."""

    device: torch.device

    def scores(self, inputs: Sequence[ModelInput]) -> list[Scores]:
        return self.upload(inputs)()

    def upload(self, inputs: Sequence[ModelInput]) -> Callable[[], list[Scores]]:
        return partial(self._scores, to_device(inputs, self.device), inputs)

    @torch.inference_mode()
    def _scores(self, pixels_BHWC: Tensor, inputs: Sequence[ModelInput]) -> list[Scores]:
        return self.scores_of(to_levels(pixels_BHWC, inputs), inputs)

    @abstractmethod
    def scores_of(self, levels_BHWC: Tensor, inputs: Sequence[ModelInput]) -> list[Scores]: ...
