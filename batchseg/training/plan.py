"""A training nobody said anything of: the model, its input, and how it learns, from the data's fingerprint.

Every rule is a line or two, so that what was planned can be understood, and what is given always wins.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from batchseg.config.train import MULTIPLE, NewModel, TrainConfig
from batchseg.training.pace import JUDGED

SIDES = (64, 256)  # of the input, pixels; a GPU takes twice as much
SMALL_SIDE = 128  # up to which a map of half the input's size costs little, and thin things need it
BATCH_PIXELS = 8 * 224 * 224  # of the inputs of one batch
BATCHES = (2, 32)  # images of it
SEEN = (8_000, 60_000)  # images that are learnt from, counted each time, where there is no limit in minutes
TIMES = 50  # that each is seen, between these
UNBOUNDED = 100_000  # epochs, where minutes end the training
RARE = 0.01  # share of the pixels from which on a class counts as any other
MOST_WEIGHT = 5.0


@dataclass(frozen=True)
class DataFacts:
    """The fingerprint of a data set.

    Attributes:
        images: that are learnt from.
        height, width: the median, in pixels; 0 where no image could be read.
        channels: that the model gets.
        classes: the share of the pixels of each class, in a sample of the ground truths.
        noun: what is learnt from: images, or windows of them.
    """

    images: int
    height: int
    width: int
    channels: int
    classes: dict[str, float]
    noun: str = "images"

    @classmethod
    def of(
        cls,
        images: int,
        size_hw: tuple[int, int],
        channels: int,
        names: tuple[str, ...],
        pixels_C: NDArray[np.int64],
    ) -> DataFacts:
        shares = (pixels_C / max(1, int(pixels_C.sum()))).tolist()
        return cls(images, *size_hw, channels, dict(zip(names, shares, strict=True)))

    @property
    def sentence(self) -> str:
        """In words."""
        size = f" of about {self.width} x {self.height} pixels" if self.height else ""
        return (
            f"{self.images:,} {self.noun}{size} to learn from, {self.channels} "
            f"channel{'s'[: self.channels != 1]}, {len(self.classes)} classes"
        )


@dataclass(frozen=True)
class TrainingPlan:
    """What was left open, and what it was filled with.

    Attributes:
        settings: of `TrainConfig`, in plain values: those that were not given.
        sentence: which, and why, in a line.
        data: the facts that it was planned by.
    """

    settings: dict[str, Any]
    sentence: str
    data: dict[str, Any]

    def laid_under(self, config: TrainConfig) -> TrainConfig:
        """The configuration with what it leaves open. Its own values win."""
        given = config.model_fields_set - ({"model"} if config.model is None else set())
        left_open = {name: value for name, value in self.settings.items() if name not in given}
        if "model" in left_open:
            left_open["model"] = NewModel.model_validate(left_open["model"])
        return config.model_copy(update=left_open)


def plan_training(config: TrainConfig, facts: DataFacts, on_gpu: bool) -> TrainingPlan:
    """Fill in what a configuration without a model leaves open; what it gives is taken as it is."""
    model = _model(config, facts, on_gpu)
    batch = config.batch_size if "batch_size" in config.model_fields_set else _batch(facts, model.size)
    settings: dict[str, Any] = {
        "model": model.model_dump(mode="json"),
        "batch_size": batch,
        **_length(config, facts),
        "learning_rate": round(1e-3 * math.sqrt(batch * config.accumulate / 8), 5),
        "class_weights": _weights(facts.classes),
    }
    given = config.model_fields_set - {"model"}
    settings = {name: value for name, value in settings.items() if name not in given}
    plan = TrainingPlan(settings, "", asdict(facts))
    return replace(plan, sentence=_sentence(plan.laid_under(config), facts))


def plan_of_time(config: TrainConfig) -> TrainingPlan | None:
    """What a limit in minutes leaves open where the model is given: how often images are seen."""
    is_open = config.minutes is not None and "epochs" not in config.model_fields_set
    return TrainingPlan({"epochs": UNBOUNDED}, "", {}) if is_open else None


def _model(config: TrainConfig, facts: DataFacts, on_gpu: bool) -> NewModel:
    """Small images keep their size and get a finer map; large ones are shrunk to what is learnt in time."""
    least, most = SIDES
    side = math.sqrt(facts.height * facts.width) or most
    size = round(min(max(side, least), most * (2 if on_gpu else 1)) / MULTIPLE) * MULTIPLE
    if config.tiling is not None:
        size = config.tiling.size
    if size <= SMALL_SIDE:
        return NewModel(mode="none", widths=(32, 64, 128, 128), decoder_width=64, finest_stride=2, size=size)
    return NewModel(mode="none", decoder_width=128 if on_gpu else 64, size=size)


def _batch(facts: DataFacts, size: int) -> int:
    """As many as fit in so many pixels, a power of two; of few images a quarter of them."""
    least, most = BATCHES
    count = min(most, BATCH_PIXELS // size**2, max(least, facts.images // 4))
    return int(2 ** math.floor(math.log2(max(least, count))))


def _length(config: TrainConfig, facts: DataFacts) -> dict[str, int]:
    if config.minutes is not None:
        return {"epochs": UNBOUNDED}
    least, most = SEEN
    epochs = config.epochs
    if "epochs" not in config.model_fields_set:
        epochs = max(1, round(min(max(TIMES * facts.images, least), most) / max(1, facts.images)))
    return {"epochs": epochs, "validate_every": max(1, epochs // JUDGED)}


def _weights(classes: Mapping[str, float]) -> dict[str, float]:
    """Of classes that are rare, as the root of how rare they are: the Dice loss does the rest."""
    return {
        name: round(min(MOST_WEIGHT, math.sqrt(RARE / share)), 2)
        for name, share in classes.items()
        if 0 < share < RARE
    }


def _sentence(config: TrainConfig, facts: DataFacts) -> str:
    model = config.model
    assert isinstance(model, NewModel)
    channels = "-".join(map(str, model.widths)) if model.backbone == "small" else model.backbone
    if config.minutes is None:
        length = f"{config.epochs} epoch{'s'[: config.epochs != 1]}"
    elif config.epochs < UNBOUNDED:
        length = f"{config.epochs} epochs or {config.minutes:g} minutes"
    else:
        length = f"as many epochs as {config.minutes:g} minutes allow"
    weighed = f", more weight for {', '.join(config.class_weights)}" if config.class_weights else ""
    return (
        f"planned for {facts.sentence}: a new convolutional network ({channels} channels, decoder "
        f"{model.decoder} at 1/{model.finest_stride} of the input), input {model.size} x {model.size}, "
        f"{config.batch_size} images a batch, {length}, learning rate {config.peak_rate:g}{weighed}"
    )
