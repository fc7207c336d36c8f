"""The judging of an epoch: all workers validate, each on its share of the images, and one row comes of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import asdict
from typing import Any

import numpy as np
from torch import nn
from torch.utils.data import DataLoader

from batchseg.metrics.confusion import ConfusionMatrix
from batchseg.segmentors.huggingface.model import HuggingFaceModel
from batchseg.training.data import Samples, ValidationSet
from batchseg.training.job import State, TrainingJob
from batchseg.training.parallel import summed
from batchseg.training.prompts import PromptStates
from batchseg.training.validate import Validation, validate_epoch

Faults = list[dict[str, str]]


class CannotGoOn(Exception):
    """Why learning had to stop; finished epochs are worth keeping."""


class Judge:
    """One worker's part of a validation.

    Args:
        share: number of the worker, and how many there are.
    """

    def __init__(
        self,
        job: TrainingJob,
        model: HuggingFaceModel,
        prompts: PromptStates | None,
        share: tuple[int, int],
    ) -> None:
        self.job, self.model, self.prompts = job, model, prompts
        self.network: nn.Module = model.network
        rank, self.workers = share
        mine = job.validation.take(np.arange(rank, len(job.validation), self.workers))
        preparer, limits = job.start.preparer(), job.config.limits
        self.loader: Any = DataLoader(
            ValidationSet(Samples(mine, preparer, job.reading, limits, job.images_as)),
            batch_size=None,
            **job.loading,
        )

    def validate(self, step: int, note: Callable[[Faults], None], tell: Callable[..., None]) -> Validation:
        """What all workers found.

        Args:
            step: how many the model has learnt.
            note: called with the images that this worker could not read.
            tell: called with `validated` (images, of `judges`) while it goes on.

        Raises CannotGoOn, on all workers, where the model could not be saved, or nothing could be judged by.
        """
        self._check_weights(step)
        self.network.eval()
        found = validate_epoch(
            self.model,
            self._told_of(tell),
            self.job.label_map.num_classes,
            self.job.config.seed,
            self.prompts,
        )
        found.matrix = ConfusionMatrix(summed(found.matrix.counts, self.model.device))
        found.prompts_6 = summed(found.prompts_6, self.model.device)
        note([asdict(fault) for fault in found.faults])
        if not found.matrix.truth_pixels:
            raise CannotGoOn("no validation image could be read with its ground truth")
        return found

    def _told_of(self, tell: Callable[..., None]) -> Iterator[Any]:
        for number, sample in enumerate(self.loader):
            yield sample
            tell(validated=(number + 1) * self.workers, judges=len(self.job.validation))

    def _check_weights(self, step: int) -> None:
        """A model is saved in float16."""
        values = [value for value in self.network.state_dict().values() if value.is_floating_point()]
        strange = sum(not value.half().isfinite().all() for value in values)
        if summed(np.array([strange]), self.model.device).any():
            raise CannotGoOn(f"a weight is not a finite number in float16 at step {step}")


def row_of(
    state: State, found: Validation, *, rate: float, a_step: int, validation_s: float, with_prompts: bool
) -> dict[str, Any]:
    """A row of the history.

    Args:
        rate: the learning rate.
        a_step: images of one step.
    """
    temperature, likelihood = found.calibration()
    steps = state.step - (state.history[-1]["step"] if state.history else 0)
    return {
        "epoch": state.epoch,
        "step": state.step,
        "loss": float(np.mean(state.losses)),
        "learning_rate": rate,
        **found.figures(with_prompts=with_prompts),
        "validation_nll": likelihood,
        "temperature": temperature,
        "train_s": state.learnt_s,
        "validation_s": validation_s,
        "images_per_s": steps * a_step / state.learnt_s,
    }
