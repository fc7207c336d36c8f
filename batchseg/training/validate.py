"""The validation after each epoch, with the program's own metrics."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from batchseg.images.overlay import LabelIds, nearest, size_within
from batchseg.metrics.class_sums import ClassSums, Numbers
from batchseg.metrics.confusion import ConfusionMatrix
from batchseg.metrics.prompted import SUMMED, prompt_figures, prompt_sums
from batchseg.segmentors.huggingface.model import HuggingFaceModel
from batchseg.segmentors.network.upsample import bilinear_argmax
from batchseg.training.data import Fault, Sample
from batchseg.training.prompted import answer
from batchseg.training.prompts import PromptStates

PIXELS_AN_IMAGE = 256  # for the temperature: a few pixels of many images say more than all of one
SHOWN_PIXELS = 480  # of the longer side of a picture
LOG_TEMPERATURES = np.linspace(np.log(0.25), np.log(8.0), 141)


@dataclass(frozen=True)
class ShownMaps:
    """An image as it was predicted, to be looked at.

    Attributes:
        number: among those that were validated, from 0 on.
        size_hw: of its truth, in pixels.
        figures: over all of these.
        truth_hw, labels_hw: class ids at the size shown.
    """

    number: int
    size_hw: tuple[int, int]
    figures: dict[str, float | None]
    truth_hw: LabelIds
    labels_hw: LabelIds


@dataclass
class Validation:
    """What the validation images say.

    Attributes:
        matrix: of all images, at their own sizes.
        prompts_6: sums over the images of what their prompts mean, as `prompt_sums` has them.
        logits_NC, truth_N: a sample of pixels.
    """

    matrix: ConfusionMatrix
    logits_NC: list[Tensor] = field(default_factory=list)
    truth_N: list[Tensor] = field(default_factory=list)
    faults: list[Fault] = field(default_factory=list)
    prompts_6: Numbers = field(default_factory=lambda: np.zeros(SUMMED))
    shown: list[ShownMaps] = field(default_factory=list)

    def figures(self, with_prompts: bool) -> dict[str, float | None]:
        """Over all images, by name; those of prompts are None where there is nothing that one is of."""
        if not with_prompts:
            return self.matrix.summary()
        of_prompts = prompt_figures(self.prompts_6).items()
        plain = {name: None if np.isnan(value) else float(value) for name, value in of_prompts}
        return {**self.matrix.summary(), **plain}

    def calibration(self) -> tuple[float, float]:
        """The temperature of the lowest mean negative log-likelihood, and that (Guo et al. 2017)."""
        if not self.logits_NC:
            return 1.0, float("nan")
        logits_NC, truth_N = torch.cat(self.logits_NC), torch.cat(self.truth_N)
        losses = [
            float(functional.cross_entropy(logits_NC / temperature, truth_N))
            for temperature in np.exp(LOG_TEMPERATURES)
        ]
        best = int(np.argmin(losses))
        return float(np.exp(LOG_TEMPERATURES[best])), losses[best]


@torch.inference_mode()
def validate_epoch(
    model: HuggingFaceModel,
    samples: Iterable[Sample | Fault],
    num_classes: int,
    seed: int,
    states: PromptStates | None = None,
    *,
    shown: Collection[int] = (),
) -> Validation:
    """Segment every image as `batchseg run` does, and count.

    Args:
        states: of the prompts, for a model that takes some.
        shown: numbers of the samples that are kept to be looked at.
    """
    found = Validation(ConfusionMatrix.zeros(num_classes))
    generator = torch.Generator().manual_seed(seed)
    for number, sample in enumerate(samples):
        if isinstance(sample, Fault):
            found.faults.append(sample)
            continue
        if states is None:
            logits_Chw = model.logits(torch.from_numpy(sample.model_input.pixels_THWC))[0].float()
            maps_Chw = logits_Chw.softmax(0) if sample.is_window else logits_Chw
            labels_HW = bilinear_argmax(maps_Chw, sample.model_input.image_hw)
        else:
            logits_Chw, labels_HW = answer(model, sample, states)
        ids_HW = labels_HW.cpu().numpy()
        matrix = ConfusionMatrix.from_maps(ids_HW, sample.truth_HW, num_classes)
        found.matrix += matrix
        if number in shown:
            found.shown.append(_shown(number, matrix, sample.truth_HW, ids_HW))
        if states is not None:
            found.prompts_6 += prompt_sums(_alone(matrix.class_sums))[0]
        _sample_pixels(found, logits_Chw.cpu(), sample, generator)
    return found


def _shown(number: int, matrix: ConfusionMatrix, truth_HW: LabelIds, ids_HW: LabelIds) -> ShownMaps:
    size_hw = (truth_HW.shape[0], truth_HW.shape[1])
    small_hw = size_within(size_hw, SHOWN_PIXELS)
    return ShownMaps(
        number, size_hw, matrix.summary(), nearest(truth_HW, small_hw), nearest(ids_HW, small_hw)
    )


def _alone(sums: ClassSums) -> ClassSums:
    """The sums of one image as those of images, [1, C] each."""
    return ClassSums(sums.correct[None], sums.support[None], sums.predicted[None])


def _sample_pixels(found: Validation, logits_Chw: Tensor, sample: Sample, generator: torch.Generator) -> None:
    """Some cells of the logits and the truth under their centres."""
    truth_hw = functional.interpolate(
        torch.from_numpy(sample.truth_HW.astype(np.int32))[None, None].float(),
        logits_Chw.shape[1:],
        mode="nearest-exact",
    ).flatten()
    picked = torch.randint(truth_hw.numel(), (PIXELS_AN_IMAGE,), generator=generator)
    picked = picked[truth_hw[picked] < len(logits_Chw)]
    found.logits_NC.append(logits_Chw.flatten(1)[:, picked].T)
    found.truth_N.append(truth_hw[picked].long())
