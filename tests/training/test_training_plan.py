"""What is planned where nothing is said, and that what is said wins."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import numpy as np
import pytest

from batchseg.config.load import read_config
from batchseg.config.train import NewModel, TrainConfig
from batchseg.training.plan import DataFacts, TrainingPlan, plan_of_time, plan_training

NAMES = ("air", "organ", "lesion")


def config(**more: Any) -> TrainConfig:
    return read_config(TrainConfig, overrides={"source": "photos", "output": "out", **more})


def facts(**more: Any) -> DataFacts:
    base: dict[str, Any] = {"images": 200, "height": 96, "width": 96, "channels": 3}
    shares = {"air": 0.7, "organ": 0.2995, "lesion": 0.0005}
    return DataFacts(**{**base, "classes": shares, **more})


def planned(given: TrainConfig, seen: DataFacts, on_gpu: bool = False) -> TrainConfig:
    return plan_training(given, seen, on_gpu).laid_under(given)


@pytest.mark.parametrize(
    ("height", "width", "on_gpu", "size", "stride"),
    [
        (28, 28, False, 64, 2),
        (96, 96, False, 96, 2),
        (100, 60, False, 80, 2),  # of as many pixels, sqrt(6,000) = 77, in whole cells of 16
        (224, 224, False, 224, 4),
        (2000, 3000, False, 256, 4),
        (2000, 3000, True, 512, 4),
        (0, 0, False, 256, 4),  # no image could be read, which is refused elsewhere
    ],
)
def test_the_input_follows_the_images(height: int, width: int, on_gpu: bool, size: int, stride: int) -> None:
    model = planned(config(), facts(height=height, width=width), on_gpu).model
    assert isinstance(model, NewModel) and (model.size, model.finest_stride) == (size, stride)
    assert model.mode == "none" and model.language_model is None


def test_epochs_follow_the_number_of_images() -> None:
    epochs = {images: planned(config(), facts(images=images)).epochs for images in (10, 200, 8000, 10**6)}
    assert epochs == {10: 800, 200: 50, 8000: 8, 10**6: 1}
    assert planned(config(), facts(images=10)).validate_every == 40  # 20 validations in all


def test_small_images_make_larger_batches_and_few_images_smaller_ones() -> None:
    assert planned(config(), facts(height=224, width=224)).batch_size == 8
    assert planned(config(), facts()).batch_size == 32
    assert planned(config(), facts(images=40)).batch_size == 8
    assert planned(config(), facts(images=3)).batch_size == 2
    assert planned(config(), facts()).learning_rate == pytest.approx(2e-3)
    assert planned(config(accumulate=4), facts()).learning_rate == pytest.approx(4e-3)


def test_rare_classes_weigh_more() -> None:
    weights = planned(config(), facts()).class_weights
    assert weights == {"lesion": pytest.approx(np.sqrt(0.01 / 0.0005), abs=0.01)}
    assert planned(config(), facts(classes={"air": 1.0, "organ": 0.0})).class_weights == {}


def test_what_is_given_wins() -> None:
    given: dict[str, Any] = {"epochs": 3, "batch_size": 5, "learning_rate": 0.5, "class_weights": {"air": 2}}
    result = planned(config(**given), facts())
    assert {name: getattr(result, name) for name in given} == given
    plan = plan_training(config(**given), facts(), on_gpu=False)
    assert plan.settings.keys() == {"model", "validate_every"}
    # also what is given as it would be by default
    assert planned(config(epochs=50, batch_size=8), facts()).batch_size == 8


def test_the_sentence_says_what_and_why() -> None:
    sentence = plan_training(config(), facts(channels=5), on_gpu=False).sentence
    assert "\n" not in sentence
    for part in (
        "200 images of about 96 x 96 pixels",
        "5 channels",
        "3 classes",
        "32-64-128-128 channels",
        "input 96 x 96",
        "32 images a batch",
        "50 epochs",
        "learning rate 0.002",
        "more weight for lesion",
    ):
        assert part in sentence
    assert "as many epochs as 15 minutes allow" in plan_training(config(minutes=15), facts(), False).sentence


def test_a_plan_comes_back_from_plain_values() -> None:
    plan = plan_training(config(), facts(), on_gpu=False)
    assert TrainingPlan(**asdict(plan)).laid_under(config()) == plan.laid_under(config())


def test_minutes_leave_the_epochs_of_a_given_model_open() -> None:
    model = {"mode": "none"}
    assert plan_of_time(config(model=model)) is None
    assert plan_of_time(config(model=model, minutes=2, epochs=4)) is None
    plan = plan_of_time(config(model=model, minutes=2))
    assert plan is not None and plan.laid_under(config(model=model, minutes=2)).epochs > 10_000
