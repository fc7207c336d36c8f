"""Boundaries and presence beside the classes: the losses, written out by hand, and a training with both."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from PIL import Image
from safetensors import safe_open
from scipy.special import expit
from sklearn.metrics import log_loss
from training.test_train import CLASSES, SMALL, slice_of

import batchseg
from batchseg.config.load import read_config
from batchseg.config.train import TrainConfig
from batchseg.errors import BatchsegError, ConfigError
from batchseg.training.auxiliary import boundary_loss, presence_loss

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


@pytest.fixture(scope="module")
def slices(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder, rng = tmp_path_factory.mktemp("slices"), np.random.default_rng(2)
    for index in range(12):
        for name, pixels in zip(("images", "masks"), slice_of(rng), strict=True):
            path = folder / name / f"{index:02d}.png"
            path.parent.mkdir(exist_ok=True)
            Image.fromarray(pixels).save(path)
    (folder / "labels.yaml").write_text(yaml.safe_dump({"classes": CLASSES}))
    return folder


def settings(slices: Path, output: Path, **model: Any) -> TrainConfig:
    overrides = {
        "source": {"path": str(slices / "images"), "truth": str(slices / "masks")},
        "output": str(output),
        "labels": str(slices / "labels.yaml"),
        "model": {"mode": "none", **SMALL, **model},
        "auxiliary": {"boundary": 0.2, "presence": 0.1},
        "batch_size": 5,
        "epochs": 2,
    }
    return read_config(TrainConfig, overrides=overrides)


@pytest.mark.usefixtures("ray_session")
@pytest.mark.parametrize("decoder", ["fpn", "mlp"])
def test_the_model_that_comes_out_has_no_heads(slices: Path, tmp_path: Path, decoder: str) -> None:
    result = batchseg.train(settings(slices, tmp_path / "with", decoder=decoder))
    alone = settings(slices, tmp_path / "without", decoder=decoder)
    plain = batchseg.train(alone.model_copy(update={"auxiliary": type(alone.auxiliary)()}))
    names = []
    for each in (result, plain):
        with safe_open(f"{each.model}/model.safetensors", "pt") as file:
            names.append(sorted(file.keys()))
    assert names[0] == names[1]
    assert result.metrics != plain.metrics
    assert result.record["config"]["auxiliary"] == {"boundary": 0.2, "presence": 0.1}


@pytest.mark.usefixtures("ray_session")
def test_classes_told_by_queries_have_no_such_layer(slices: Path, tmp_path: Path) -> None:
    with pytest.raises(BatchsegError, match=re.escape("auxiliary needs a model whose last layer")):
        batchseg.train(settings(slices, tmp_path / "out", decoder="queries"))


def test_a_prompt_head_learns_no_classes(slices: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="auxiliary"):
        settings(slices, tmp_path / "out", head="prompt", language_model="somewhere")
