"""What is learnt from prompts, and how it is judged: the counterpart of classes in `loop` and `validate`."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from batchseg.errors import RowFault
from batchseg.segmentors.huggingface.model import HuggingFaceModel
from batchseg.segmentors.network.upsample import bilinear_argmax
from batchseg.source.listing import PROMPT
from batchseg.training.augment import Augment
from batchseg.training.data import Batch, Fault, Sample, Samples, picture_of, stacked
from batchseg.training.objective import prompt_loss
from batchseg.training.points import Points
from batchseg.training.prompts import PromptStates

EVEN = 0.5  # what the background counts

PROMPTS = 4  # of an image, at most, each time it is learnt from


@dataclass(frozen=True)
class AskedCrop:
    """A crop, uint8 [H, W, 3], what it is asked for, and class ids [K, H, W]: the truth of each prompt."""

    pixels_HWC: Tensor
    prompts: tuple[str, ...]
    labels_KHW: Tensor


class PromptedSet(Dataset[tuple[AskedCrop | None, list[Fault]]]):
    """Crops to learn from, each with some of the prompts that the rows of its image have.

    An image is read and seen once for all of them. An index is (seed, image).
    """

    balance = None  # `config.train` refuses it: the points of prompts are balanced

    def __init__(self, samples: Samples, augment: Augment) -> None:
        self.samples, self.augment = samples, augment
        rows_of: dict[str, list[int]] = {}
        for row, uri in enumerate(samples.rows["uri"].to_pylist()):
            rows_of.setdefault(uri, []).append(row)
        self.rows_of = [*rows_of.values()]

    def __len__(self) -> int:
        return len(self.rows_of)

    def __getitem__(self, index: tuple[int, int]) -> tuple[AskedCrop | None, list[Fault]]:
        seed, image = index
        places = np.array(self.rows_of[image])
        chosen = np.sort(np.random.default_rng(seed).permutation(places)[:PROMPTS])
        rows = [self.samples.row(int(place)) for place in chosen]
        try:
            item = self.samples.pairs.image(rows[0])
        except RowFault as fault:
            return None, [Fault.of(row, fault) for row in rows]
        truths, prompts, faults = [], [], []
        for row in rows:
            try:
                truths.append(self.samples.pairs.truth(row, item))
                prompts.append(row[PROMPT.name])
            except RowFault as fault:
                faults.append(Fault.of(row, fault))
        if not truths:
            return None, faults
        prepared = self.samples.prepared(picture_of(item))
        pixels_HWC, labels_KHW = self.augment(seed, prepared, np.stack(truths))
        return AskedCrop(pixels_HWC, tuple(prompts), labels_KHW), faults

    def collate(self, parts: list[tuple[AskedCrop | None, list[Fault]]]) -> Batch:
        """The crops that could be read; if none could, one without truth: no worker may stay behind."""
        faults = [fault for _, some in parts for fault in some]
        asked = [each for each, _ in parts if each is not None]
        if not asked:
            pixels_HWC, labels_HW = self.augment.nothing()
            asked = [AskedCrop(pixels_HWC, (self.samples.row(0)[PROMPT.name],), labels_HW[None])]
        pixels_BHWC = stacked([each.pixels_HWC for each in asked])
        labels_RHW = torch.cat([each.labels_KHW for each in asked])
        return Batch(pixels_BHWC, labels_RHW, faults, tuple(each.prompts for each in asked))


def loss_of(model: HuggingFaceModel, batch: Batch, states: PromptStates, weights_2: Tensor) -> Tensor:
    """What is to become less, for crops with some prompts each."""
    points = Points.drawn(batch.labels_BHW.to(model.device))
    prompts = [prompt for some in batch.prompts for prompt in some]
    states_RLE, is_word_RL = states.batch(prompts, model.device)
    found = model.outputs(
        batch.pixels_BHWC,
        states=states_RLE,
        is_word=is_word_RL,
        places=torch.split(points.places_RP2, [len(some) for some in batch.prompts]),
    )
    return prompt_loss(found.logits[:, 0], found.presence, points, weights_2)


def answer(model: HuggingFaceModel, sample: Sample, states: PromptStates) -> tuple[Tensor, Tensor]:
    """Logits [2, h, w] of background and what is meant, and the label map, at the image's own size.

    It is decided as `batchseg run` does: sigmoids, enlarged, then compared; nothing where presence denies it.
    """
    assert sample.prompt is not None
    states_1LE, is_word_1L = states.batch([sample.prompt], model.device)
    pixels_1HWC = torch.from_numpy(sample.model_input.pixels_THWC)
    found = model.outputs(pixels_1HWC, states=states_1LE, is_word=is_word_1L)
    logits_1hw = found.logits.float()
    there = found.presence.float() >= 0
    map_1hw = logits_1hw.sigmoid() * there[:, None, None]
    scores_2hw = torch.cat([torch.full_like(map_1hw, EVEN), map_1hw])
    labels_HW = bilinear_argmax(scores_2hw, sample.model_input.image_hw)
    return torch.cat([torch.zeros_like(logits_1hw), logits_1hw]), labels_HW
