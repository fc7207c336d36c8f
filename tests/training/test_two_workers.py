"""Training on two workers of one machine, which average their gradients (gloo)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from transformers import AutoConfig, AutoModelForSemanticSegmentation

import batchseg
from batchseg.config.load import read_config
from batchseg.config.segmentor import HuggingFaceSegmentor
from batchseg.config.train import TrainConfig
from batchseg.segmentors.huggingface.families import SEMANTIC
from batchseg.segmentors.registry import open_checkpoint
from batchseg.training.objective import segmentation_loss
from batchseg.training.parallel import freeze_unused
from tests.segmentors.tiny_checkpoints import CLASSES, build

TWO_HEADS = (
    "beit",
    "data2vec-vision",
    "dpt",
    "upernet",
)  # no loss of ours needs the second
SIDE = 32


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Images whose brightness says the class; of the second for validation the truth cannot be read."""
    folder, rng = tmp_path_factory.mktemp("pairs"), np.random.default_rng(0)
    for name in [f"train_{number}" for number in range(8)] + [f"valid_{number}" for number in range(3)]:
        truth_HW = rng.integers(0, CLASSES, (4, 4)).repeat(8, 0).repeat(8, 1).astype(np.uint8)
        for place, pixels in (("images", truth_HW * (255 // CLASSES)), ("truth", truth_HW)):
            (folder / place).mkdir(exist_ok=True)
            Image.fromarray(pixels).save(folder / place / f"{name}.png")
    (folder / "truth" / "valid_1.png").write_bytes(b"nothing")
    return folder


def settings(pairs: Path, model: Path | str, output: Path, **more: Any) -> TrainConfig:
    base = {
        "source": {"path": str(pairs / "images"), "truth": str(pairs / "truth")},
        **{"output": str(output), "model": str(model), "validation": ["valid_*"]},
        **{"workers": 2, "batch_size": 2, "epochs": 2, "precision": "fp32"},
    }
    return read_config(TrainConfig, overrides={**base, **more})


def start_of(family: str, folder: Path) -> Path:
    """A small checkpoint as the library begins it, with a second head where the family may have one."""
    build(family, folder)
    config = AutoConfig.from_pretrained(folder)
    if family in TWO_HEADS:
        config.use_auxiliary_head = True
    torch.manual_seed(0)
    AutoModelForSemanticSegmentation.from_config(config).save_pretrained(folder)
    return folder


@pytest.mark.parametrize("family", SEMANTIC)
def test_what_learns_is_what_the_loss_depends_on(family: str, tmp_path: Path) -> None:
    checkpoint = open_checkpoint(HuggingFaceSegmentor(model=str(start_of(family, tmp_path))))
    model: Any = checkpoint.load("cpu", "fp32")
    image_HWC = np.random.default_rng(0).integers(0, 256, (SIDE, SIDE, 3), np.uint8)
    pixels = torch.from_numpy(checkpoint.preparer()(image_HWC).pixels_THWC).repeat(2, 1, 1, 1)
    labels = torch.randint(0, CLASSES, pixels.shape[:3])
    means = {name: value.clone() for name, value in model.network.state_dict().items()}

    def loss() -> torch.Tensor:
        return segmentation_loss(model.logits(pixels), labels, torch.ones(CLASSES))

    model.network.eval()
    learning = {name: weight for name, weight in model.network.named_parameters() if weight.requires_grad}
    gradients = torch.autograd.grad(loss(), [*learning.values()], allow_unused=True)
    used = {name for name, gradient in zip(learning, gradients, strict=True) if gradient is not None}
    freeze_unused(model.network, loss)
    assert all(value.equal(means[name]) for name, value in model.network.state_dict().items())
    model.network.train()
    loss().backward()
    learns = {name for name, weight in model.network.named_parameters() if weight.requires_grad}
    assert learns == used == {name for name, each in learning.items() if each.grad is not None}
    assert family not in TWO_HEADS or any("auxiliary" in name for name in learning.keys() - learns)


@pytest.mark.slow
@pytest.mark.usefixtures("ray_session")
@pytest.mark.parametrize("family", SEMANTIC)
def test_every_family_learns_on_two_workers(family: str, pairs: Path, tmp_path: Path) -> None:
    result = batchseg.train(settings(pairs, start_of(family, tmp_path / "start"), tmp_path / "out"))
    assert (result.epochs, result.steps) == (2, 4)
    assert [fault["id"] for fault in result.faults] == ["valid_1.png"]  # which the second worker reads
    history = pq.read_table(result.history).to_pylist()
    assert all(np.isfinite(row["loss"]) for row in history)


@pytest.mark.slow
@pytest.mark.usefixtures("ray_session")
def test_two_workers_learn_what_one_does(pairs: Path, tmp_path: Path) -> None:
    """From the same batches: SegFormer's weights after four steps, to what rounding leaves."""
    start = build("segformer", tmp_path / "start")
    still = {"augmentation": {"scale": [1, 1], "colour": 0}, "learning_rate": 1e-4}
    two = batchseg.train(settings(pairs, start, tmp_path / "two", **still))
    one = batchseg.train(settings(pairs, start, tmp_path / "one", **still, workers=1, batch_size=4))
    ours, theirs = (load_file(f"{each.model}/model.safetensors") for each in (two, one))
    assert one.steps == two.steps == 4
    for name, value in ours.items():
        if value.is_floating_point() and "running" not in name:
            torch.testing.assert_close(value.float(), theirs[name].float(), rtol=0.05, atol=2e-3)
