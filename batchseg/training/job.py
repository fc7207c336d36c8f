"""What training workers are given, and how far they are."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa

from batchseg.config.train import TrainConfig
from batchseg.labels.label_map import LabelMap
from batchseg.labels.reading import Reading
from batchseg.segmentors.huggingface.checkpoint import HuggingFaceCheckpoint


@dataclass(frozen=True)
class TrainingJob:
    """What every worker is given.

    Attributes:
        start: the checkpoint with the weights before the first step.
        state: the folder of what is kept between epochs.
        events: a `ray.util.queue.Queue` for news of step and epoch.
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

    @property
    def label_map(self) -> LabelMap:
        """The classes that are learnt."""
        return self.reading.label_map


@dataclass
class State:
    """How far it is.

    Attributes:
        epoch: epochs that are finished.
        history: a row a validation.
        faults: one an image that could not be used.
        best_mean_iou: the highest so far; with prompts, of gIoU.
        losses: of the steps since the last validation.
        learnt_s: seconds of these steps.
    """

    step: int = 0
    epoch: int = 0
    best_epoch: int = 0
    best_mean_iou: float = -1.0
    history: list[dict[str, Any]] = field(default_factory=list)
    faults: list[dict[str, str]] = field(default_factory=list)
    losses: list[float] = field(default_factory=list)
    learnt_s: float = 0.0
