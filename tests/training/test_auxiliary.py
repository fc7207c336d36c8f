"""Boundaries and presence beside the classes: the losses, written out by hand, and a training with both."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from safetensors import safe_open
from scipy.special import expit
from sklearn.metrics import log_loss
from torch.nn import functional
from training.tiny_training import TINY, config, draw
from transformers import AutoConfig, AutoModelForSemanticSegmentation

import batchseg
from batchseg.config.auxiliary import Auxiliary
from batchseg.config.segmentor import HuggingFaceSegmentor
from batchseg.errors import ConfigError
from batchseg.segmentors.huggingface.model import HuggingFaceModel
from batchseg.segmentors.registry import open_checkpoint
from batchseg.training.auxiliary import Taught, auxiliary_loss, boundary_loss, last_layer, presence_loss
from batchseg.training.data import Batch
from batchseg.training.parallel import freeze_unused
from tests.segmentors.tiny_checkpoints import CONFIGS, build

VOID = 3


def labels_of(seed: int) -> torch.Tensor:
    """Blocks of three classes and void, [2, 12, 16]."""
    blocks = torch.randint(0, VOID + 1, (2, 3, 4), generator=torch.Generator().manual_seed(seed))
    return blocks.repeat_interleave(4, 1).repeat_interleave(4, 2)


def on_boundary(labels_HW: np.ndarray, row: int, column: int) -> bool:
    around = labels_HW[max(0, row - 1) : row + 2, max(0, column - 1) : column + 2]
    return len(set(around.flatten().tolist()) - {VOID}) > 1


@pytest.mark.parametrize("seed", range(3))
def test_a_boundary_is_where_classes_meet_and_weighs_as_much_as_the_rest(seed: int) -> None:
    labels = labels_of(seed)
    logits = torch.randn(2, 1, 12, 16, generator=torch.Generator().manual_seed(seed))
    losses: dict[bool, list[float]] = {True: [], False: []}
    for (image, row, column), label in np.ndenumerate(labels.numpy()):
        if label != VOID:
            is_one = on_boundary(labels[image].numpy(), row, column)
            share = expit(float(logits[image, 0, row, column]))
            losses[is_one].append(-np.log(share if is_one else 1 - share))
    expected = (np.mean(losses[True]) + np.mean(losses[False])) / 2
    assert float(boundary_loss(logits, labels, VOID)) == pytest.approx(expected, rel=1e-5)


def test_presence_is_the_log_loss_of_each_class_and_crops_without_truth_do_not_count() -> None:
    labels = torch.stack([*labels_of(1), torch.full((12, 16), VOID)])
    logits = torch.randn(3, VOID, generator=torch.Generator().manual_seed(0))
    shown = [[bool((labels[image] == index).any()) for index in range(VOID)] for image in range(2)]
    expected = log_loss(np.ravel(shown), expit(logits[:2].double().numpy()).ravel(), labels=[False, True])
    assert float(presence_loss(logits, labels, VOID)) == pytest.approx(expected, rel=1e-5)


def test_without_truth_both_are_nothing_and_have_gradients() -> None:
    labels = torch.full((1, 8, 8), VOID)
    for loss, shape in ((boundary_loss, (1, 1, 4, 4)), (presence_loss, (1, VOID))):
        logits = torch.randn(shape, requires_grad=True)
        found = loss(logits, labels, VOID)
        found.backward()
        assert found.item() == 0 and logits.grad is not None


TASKS = {"boundary": 0.2, "presence": 0.1}


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return draw(tmp_path_factory.mktemp("pictures"))


def loaded(folder: Path) -> HuggingFaceModel:
    return open_checkpoint(HuggingFaceSegmentor(model=str(folder))).load("cpu", "fp32")


def test_a_second_head_is_not_taken_for_the_last_layer() -> None:
    """Of UperNet, it is called after the one that makes the logits."""
    shape = AutoConfig.for_model(
        "upernet", **{**CONFIGS["upernet"], "use_auxiliary_head": True, "auxiliary_in_channels": 16}
    )
    network = AutoModelForSemanticSegmentation.from_config(shape)
    pixels, called = torch.randn(2, 3, 64, 64), list[object]()
    for head in (network.decode_head, network.auxiliary_head):
        head.classifier.register_forward_pre_hook(lambda layer, _: called.append(layer))

    def summed() -> torch.Tensor:
        return network(pixels).logits.sum()

    freeze_unused(network, summed)
    found = last_layer(network, shape.num_labels, lambda: network(pixels))
    assert called[-1] is network.auxiliary_head.classifier
    assert found is network.decode_head.classifier


@pytest.mark.parametrize("family", ["segformer", "upernet"])
def test_the_heads_read_what_the_logits_are_made_of(family: str, tmp_path: Path) -> None:
    model = loaded(build(family, tmp_path))
    seen = Batch(torch.zeros(1, 64, 64, 3, dtype=torch.uint8), torch.zeros(1, 64, 64), [])
    freeze_unused(model.network, lambda: model.logits(seen.pixels_BHWC).sum())
    taught = Taught.of(model, Auxiliary(**TASKS), seen)
    inputs = model._input(torch.randint(0, 255, (2, 64, 64, 3)))
    read = list[torch.Tensor]()
    model.network.decode_head.classifier.register_forward_pre_hook(lambda _, given: read.append(given[0]))
    outputs = taught(pixel_values=inputs)
    expected = functional.conv2d(
        read[0], taught.heads["boundary"].weight, taught.heads["boundary"].bias, padding=1
    )
    torch.testing.assert_close(outputs["boundary"], expected)


def test_the_tasks_teach_the_network_by_their_weights(tmp_path: Path) -> None:
    model, labels = loaded(build("segformer", tmp_path)), labels_of(0).repeat_interleave(4, 1)
    tasks = Auxiliary(**TASKS)
    taught = Taught.of(model, tasks, Batch(torch.zeros(1, 64, 64, 3, dtype=torch.uint8), labels, []))
    outputs = taught(pixel_values=model._input(torch.randint(0, 255, (2, 64, 64, 3))))
    parts = [
        boundary_loss(outputs["boundary"], labels, VOID),
        presence_loss(outputs["presence"], labels, VOID),
    ]
    found = auxiliary_loss(outputs, labels, VOID, tasks)
    assert float(found.detach()) == pytest.approx(0.2 * parts[0].item() + 0.1 * parts[1].item())
    found.backward()
    first = next(each for each in model.network.parameters() if each.ndim == 4)
    assert first.grad is not None and first.grad.any()


@pytest.mark.usefixtures("ray_session")
@pytest.mark.parametrize("more", [{"workers": 2}, {"model": {**TINY, "decoder": "mlp"}}], ids=str)
def test_the_model_that_comes_out_has_no_heads(pictures: Path, tmp_path: Path, more: dict[str, Any]) -> None:
    result = batchseg.train(config(pictures, output=str(tmp_path / "with"), auxiliary=TASKS, **more))
    plain = batchseg.train(config(pictures, output=str(tmp_path / "without"), **more))
    names = []
    for each in (result, plain):
        with safe_open(f"{each.model}/model.safetensors", "pt") as file:
            names.append(sorted(file.keys()))
    assert names[0] == names[1]
    losses = [pq.read_table(each.history)["loss"].to_pylist() for each in (result, plain)]
    assert all(both > alone for both, alone in zip(*losses, strict=True))
    assert result.record["config"]["auxiliary"] == TASKS


@pytest.mark.parametrize(
    "model",
    [{"decoder": "queries"}, {"head": "text", "language_model": "somewhere", "mode": "frozen"}],
    ids=str,
)
def test_classes_told_in_another_way_have_no_such_layer(pictures: Path, model: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="auxiliary reads the layer that makes a map of each class"):
        config(pictures, model={**TINY, **model}, auxiliary=TASKS)


def test_a_network_without_such_a_layer_is_refused() -> None:
    network = torch.nn.Conv2d(3, 8, 1)
    with pytest.raises(ConfigError, match="auxiliary needs a model whose last layer is a convolution"):
        last_layer(network, 4, lambda: network(torch.zeros(1, 3, 4, 4)))


def test_a_prompt_head_learns_no_classes(pictures: Path) -> None:
    model = {**TINY, "head": "prompt", "language_model": "somewhere"}
    with pytest.raises(ConfigError, match="a prompted model learns no classes"):
        config(pictures, model=model, auxiliary=TASKS)
