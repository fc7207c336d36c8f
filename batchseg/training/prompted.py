"""What is learnt from prompts, and how it is judged: the counterpart of classes in `loop` and `validate`."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import Dataset

from batchseg.segmentors.huggingface.model import HuggingFaceModel
from batchseg.segmentors.network.upsample import bilinear_argmax
from batchseg.training.data import Batch, Fault, Sample, TrainingSet
from batchseg.training.objective import prompt_loss
from batchseg.training.prompts import PromptStates

EVEN = 0.5  # what the background counts

Crop = tuple[Tensor, Tensor]


class PromptedSet(Dataset[tuple[Crop, str] | Fault]):
    """Crops to learn from, each with the prompt of its row."""

    def __init__(self, crops: TrainingSet) -> None:
        self.crops = crops

    def __len__(self) -> int:
        return len(self.crops)

    def __getitem__(self, index: tuple[int, int]) -> tuple[Crop, str] | Fault:
        crop = self.crops[index]
        if isinstance(crop, Fault):
            return crop
        return crop, str(self.crops.samples.rows["prompt"][index[1]].as_py())

    def collate(self, parts: list[tuple[Crop, str] | Fault]) -> Batch:
        batch = self.crops.collate([part if isinstance(part, Fault) else part[0] for part in parts])
        return replace(batch, prompts=tuple(part[1] for part in parts if not isinstance(part, Fault)))


def loss_of(model: HuggingFaceModel, batch: Batch, states: PromptStates, weights_2: Tensor) -> Tensor:
    """What is to become less, for crops with a prompt each."""
    # a batch of which nothing could be read is one crop without truth, whatever it is asked
    prompts = batch.prompts or (next(iter(states.places)),)
    found = _ask(model, batch.pixels_BHWC, states, prompts)
    labels_BHW = batch.labels_BHW.to(found.logits.device)
    return prompt_loss(found.logits, found.presence, labels_BHW, weights_2)


def answer(model: HuggingFaceModel, sample: Sample, states: PromptStates) -> tuple[Tensor, Tensor]:
    """Logits [2, h, w] of background and what is meant, and the label map, at the image's own size.

    It is decided as `batchseg run` does: sigmoids, enlarged, then compared; nothing where presence denies it.
    """
    assert sample.prompt is not None
    found = _ask(model, torch.from_numpy(sample.model_input.pixels_THWC), states, [sample.prompt])
    logits_1hw = found.logits.float()
    there = found.presence.float() >= 0
    map_1hw = logits_1hw.sigmoid() * there[:, None, None]
    scores_2hw = torch.cat([torch.full_like(map_1hw, EVEN), map_1hw])
    labels_HW = bilinear_argmax(scores_2hw, sample.model_input.image_hw)
    return torch.cat([torch.zeros_like(logits_1hw), logits_1hw]), labels_HW


def _ask(model: HuggingFaceModel, pixels_BHWC: Tensor, states: PromptStates, prompts: Any) -> Any:
    states_BLE, is_word_BL = states.batch(prompts, model.device)
    return model.outputs(pixels_BHWC, states=states_BLE, is_word=is_word_BL)
