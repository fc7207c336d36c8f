"""The judging of an epoch: all workers validate, each on its share of the images, and one row comes of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import asdict
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.utils.data import DataLoader

from batchseg.errors import RowFault
from batchseg.images.bands import as_rgb
from batchseg.images.encode import PALETTE_SIZE, LabelIds, encode_picture, encode_png
from batchseg.images.overlay import resized
from batchseg.metrics.confusion import ConfusionMatrix
from batchseg.segmentors.huggingface.model import HuggingFaceModel
from batchseg.source.listing import PROMPT
from batchseg.training.data import ValidationSet
from batchseg.training.job import State, TrainingJob
from batchseg.training.parallel import gathered, summed
from batchseg.training.prompts import PromptStates
from batchseg.training.validate import ShownMaps, Validation, validate_epoch
from batchseg.training.windows import WINDOW

MOST_SHOWN = 6  # validation images on the page

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
        count = len(job.validation)
        self.places = np.arange(rank, count, self.workers)
        chosen = np.unique(np.linspace(0, count - 1, min(MOST_SHOWN, count)).astype(int))
        self.shown = {int(place) // self.workers for place in np.intersect1d(chosen, self.places)}
        self.samples = job.samples(job.validation.take(self.places))
        self.photos: dict[int, bytes | None] = {}  # of windows that are shown, which stay the same
        self.loader: Any = DataLoader(
            ValidationSet(self.samples),
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
            shown=self.shown,
        )
        found.matrix = ConfusionMatrix(summed(found.matrix.counts, self.model.device))
        found.prompts_6 = summed(found.prompts_6, self.model.device)
        note([asdict(fault) for fault in found.faults])
        if not found.matrix.truth_pixels:
            raise CannotGoOn("no validation image could be read with its ground truth")
        return found

    def pictures(self, epoch: int, found: Validation) -> list[dict[str, Any]]:
        """Rows of `results.learning.VALIDATION_PICTURES`, the same images each time, of all workers."""
        own = []
        for each in found.shown:
            row = self.samples.row(each.number)
            if WINDOW in row and each.number not in self.photos:
                self.photos[each.number] = self._photo(row, each)
            own.append(
                {
                    **{name: row.get(name) for name in ("id", "uri", PROMPT.name, WINDOW)},
                    "photo": self.photos.get(each.number),
                    "epoch": epoch,
                    "width": each.size_hw[1],
                    "height": each.size_hw[0],
                    **{name: each.figures[name] for name in ("mean_iou", "accuracy")},
                    "truth": self._png(each.truth_hw),
                    "predicted": self._png(each.labels_hw),
                }
            )
        return sorted(gathered(own), key=lambda row: (str(row["id"]), row[WINDOW] or []))

    def _photo(self, row: dict[str, Any], shown: ShownMaps) -> bytes | None:
        """What a window shows; None where it cannot be read any more."""
        with suppress(RowFault):
            picture, _ = self.samples.pairs.read(row)
            height, width = shown.truth_hw.shape[:2]
            photo_HWC = resized(as_rgb(picture.pixels_HWC, picture.scale), (height, width))
            return encode_picture(photo_HWC, "jpeg")
        return None

    def _png(self, labels_hw: LabelIds) -> bytes:
        colours = self.job.label_map.colours
        return encode_png(labels_hw, colours, 255 if len(colours) < PALETTE_SIZE else 65535)

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


def figures_of_classes(epoch: int, found: Validation) -> dict[str, Any]:
    """A row of `State.class_history`."""
    sums = found.matrix.class_sums
    return {"epoch": epoch, "iou": sums.scores()["iou"].tolist(), "truth_pixels": sums.support.tolist()}


def pixels_of_classes(labels_BHW: Tensor, classes: int) -> NDArray[np.int64]:
    """How many of each class there are, [C], without void."""
    counts: NDArray[np.int64] = labels_BHW.flatten().bincount(minlength=classes + 1)[:classes].cpu().numpy()
    return counts


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
        "waited_s": state.waited_s,
        "validation_s": validation_s,
        "images_per_s": steps * a_step / state.learnt_s,
    }
