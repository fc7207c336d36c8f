"""What training workers are given, and how far they are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa

from batchseg.config.source import ImageReading
from batchseg.config.train import TrainConfig
from batchseg.labels.label_map import LabelMap
from batchseg.labels.reading import Reading
from batchseg.results.learning import Learning, history_of_classes
from batchseg.segmentors.huggingface.checkpoint import HuggingFaceCheckpoint
from batchseg.training.data import Batches, Samples
from batchseg.training.pace import Pace
from batchseg.training.window_samples import WindowReader, WindowSamples


@dataclass(frozen=True)
class TrainingJob:
    """What every worker is given.

    Attributes:
        start: the checkpoint with the weights before the first step.
        state: the folder of what is kept between epochs.
        events: a `ray.util.queue.Queue` for news of step and epoch.
        begun: when this call began, as `time` says.
        spent_before: seconds of earlier calls that were stopped, up to what was kept of them.
    """

    config: TrainConfig
    start: HuggingFaceCheckpoint
    reading: Reading
    train: pa.Table
    validation: pa.Table
    crop: int
    device: str
    precision: str
    threads: int
    state: Path
    events: Any
    begun: float = 0.0
    spent_before: float = 0.0

    @property
    def label_map(self) -> LabelMap:
        """The classes that are learnt."""
        return self.reading.label_map

    @property
    def root(self) -> Path:
        """The folder of the training."""
        return self.state.parent

    @property
    def images_as(self) -> ImageReading:
        """How the pictures are read."""
        return ImageReading.of(self.config.source, self.start.channels)

    @property
    def band_means(self) -> tuple[float, ...] | None:
        """Of each band, 0 to 255; None for pictures that are read as RGB."""
        if not self.images_as.is_by_band:
            return None
        expected = self.start.pixel_range
        means = expected.mean if expected is not None else (0.0,) * self.start.channels
        return tuple(255 * mean for mean in means)

    def samples(self, rows: pa.Table) -> Samples:
        """Reads images, or where there are some windows of them."""
        reading, limits, tiling = self.reading, self.config.limits, self.config.tiling
        if tiling is None:
            return Samples(rows, self.start.preparer(), reading, limits, self.images_as)
        pairs = WindowReader(reading, limits, self.images_as, tiling)
        return WindowSamples(rows, self.start.preparer(as_is=True), pairs)

    def pace(self, batches: Batches) -> Pace:
        """How fast it goes: as long as it takes, or by the clock."""
        minutes = self.config.minutes
        return Pace(
            batches.last,
            batches.steps_an_epoch,
            judged=len(self.validation) / batches.a_step,
            seconds=None if minutes is None else 60 * minutes,
            begun=self.begun,
            spent_before=self.spent_before,
        )

    @property
    def loading(self) -> dict[str, Any]:
        """Of the loaders: one process reads ahead for two threads that learn."""
        # started anew, for a copy of a process full of threads may hang
        return {
            "num_workers": max(1, self.threads // 2),
            "persistent_workers": True,
            "multiprocessing_context": "spawn",
            "pin_memory": False,
        }


@dataclass
class State:
    """How far it is.

    Attributes:
        epoch: epochs that are finished.
        history: a row a validation.
        class_history: likewise, with `iou` and `truth_pixels` of each class.
        pictures: validation images as the best epoch predicts them, `results.learning.VALIDATION_PICTURES`.
        learnt_pixels: of each class, what was learnt from in the first epoch.
        faults: one an image that could not be used.
        best_mean_iou: the highest so far; with prompts, of gIoU.
        losses: of the steps since the last validation.
        learnt_s, waited_s: seconds of these steps, and of waiting for their batches.
        spent_s: seconds of everything, of all calls.
        learning_since_s: of these, those before the first step.
    """

    step: int = 0
    epoch: int = 0
    best_epoch: int = 0
    best_mean_iou: float = -1.0
    history: list[dict[str, Any]] = field(default_factory=list)
    class_history: list[dict[str, Any]] = field(default_factory=list)
    pictures: list[dict[str, Any]] = field(default_factory=list)
    learnt_pixels: list[int] = field(default_factory=list)
    faults: list[dict[str, str]] = field(default_factory=list)
    losses: list[float] = field(default_factory=list)
    learnt_s: float = 0.0
    waited_s: float = 0.0
    spent_s: float = 0.0
    learning_since_s: float | None = None

    def learning(self, names: Sequence[str]) -> Learning:
        """What is shown of it.

        Args:
            names: of the classes.
        """
        classes = [
            row
            for each in self.class_history
            for row in history_of_classes(each["epoch"], names, each["iou"], each["truth_pixels"])
        ]
        return Learning(self.history, classes, self.pictures)

    def unjudged(self, names: Sequence[str]) -> list[str]:
        """The classes that were learnt and that no validation image shows."""
        if not self.class_history:
            return []
        judged = self.class_history[-1]["truth_pixels"]
        each = zip(names, self.learnt_pixels, judged, strict=False)  # none of a state of earlier versions
        return [name for name, learnt, pixels in each if learnt and not pixels]
