"""State dicts of torchvision's models as training scripts leave them."""

from __future__ import annotations

import argparse
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from test_torchvision_segmentor import image, random_network

from batchseg.config.segmentor import TorchvisionSegmentor
from batchseg.errors import ModelError
from batchseg.segmentors.network.state_dict import read_state
from batchseg.segmentors.torchvision import TorchvisionCheckpoint
from tests.segmentors.loaded import loaded

BUILDER = "lraspp_mobilenet_v3_large"


@pytest.fixture(scope="module")
def state() -> dict[str, torch.Tensor]:
    return dict(random_network(BUILDER).state_dict())


def open_(path: Path, builder: str = BUILDER) -> TorchvisionCheckpoint:
    return TorchvisionCheckpoint.open(TorchvisionSegmentor(model=builder, weights=str(path), resize=64))


def prefixed(prefix: str, state: dict[str, Any]) -> dict[str, Any]:
    return {prefix + key: value for key, value in state.items()}


ARGS = argparse.Namespace(data_path="/data", model=BUILDER, lr=0.01, aux_loss=True, device="cuda", amp=False)
WAYS: dict[str, Callable[[dict[str, Any]], Any]] = {
    "references": lambda state: {"model": state, "optimizer": {"state": {}}, "epoch": 29, "args": ARGS},
    "lightning": lambda state: {"state_dict": prefixed("model.", state), "epoch": 3, "global_step": 9},
    "tutorial": lambda state: {"model_state_dict": state, "optimizer_state_dict": {}, "loss": 0.5},
    "averaged": lambda state: {
        "model_ema": {"n_averaged": torch.tensor(7), **prefixed("module.", state)},
        "epoch": 1,
    },
    "parallel": lambda state: OrderedDict(prefixed("module.", state)),
    "compiled": lambda state: prefixed("_orig_mod.", state),
    "both": lambda state: {"model": prefixed("_orig_mod.module.", state)},
    "inside": lambda state: {
        key.replace("backbone.", "backbone._orig_mod."): value for key, value in state.items()
    },
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("suffix", [".pth", ".pth.tar"])
def test_however_it_is_kept_it_is_the_same_network(
    way: str, suffix: str, state: dict[str, torch.Tensor], tmp_path: Path
) -> None:
    path = tmp_path / f"model{suffix}"
    torch.save(WAYS[way](state), path)
    found = read_state(str(path))
    assert found.keys() == state.keys()
    assert all(torch.equal(found[key], state[key]) for key in state)


@pytest.mark.parametrize("way", ["references", "parallel"])
def test_its_masks_are_those_of_the_plain_state_dict(
    way: str, state: dict[str, torch.Tensor], tmp_path: Path
) -> None:
    torch.save(state, tmp_path / "plain.pth")
    torch.save(WAYS[way](state), tmp_path / "kept.pth")
    plain, kept = open_(tmp_path / "plain.pth"), open_(tmp_path / "kept.pth")
    prepared = plain.preparer()(image(90, 120))
    (expected,), (found,) = (loaded(each, "fp32").segment([prepared]) for each in (plain, kept))
    assert np.array_equal(found.labels_HW, expected.labels_HW)


def test_safetensors_may_have_prefixes_too(state: dict[str, torch.Tensor], tmp_path: Path) -> None:
    save_file(prefixed("module.", state), tmp_path / "model.safetensors")
    assert read_state(str(tmp_path / "model.safetensors")).keys() == state.keys()


@pytest.mark.parametrize("aux_loss", [True, False])
def test_an_auxiliary_classifier_may_be_there_or_not(aux_loss: bool, tmp_path: Path) -> None:
    network = random_network("deeplabv3_mobilenet_v3_large", aux_loss=aux_loss)
    torch.save({"model": prefixed("module.", network.state_dict()), "args": ARGS}, tmp_path / "model.pth")
    checkpoint = open_(tmp_path / "model.pth", "deeplabv3_mobilenet_v3_large")
    loaded(checkpoint, "fp32")


def test_several_are_refused_by_name(state: dict[str, torch.Tensor], tmp_path: Path) -> None:
    torch.save({"model": state, "model_ema": state}, tmp_path / "two.pth")
    with pytest.raises(ModelError, match=r"two\.pth holds several state dicts \(model, model_ema\)"):
        open_(tmp_path / "two.pth")


class Anything:
    """What only code could read."""


def test_a_pickle_of_other_things_is_still_refused(state: dict[str, torch.Tensor], tmp_path: Path) -> None:
    torch.save({"model": state, "args": Anything()}, tmp_path / "model.pth")
    with pytest.raises(ModelError, match=r"pickle of other things.*save model\.state_dict\(\)"):
        open_(tmp_path / "model.pth")


@pytest.mark.parametrize("builder", ["lraspp_mobilenet_v3_large", "fcn_resnet50"])
@pytest.mark.parametrize("count", [1, 4])
def test_other_channels_than_three_are_refused(builder: str, count: int, tmp_path: Path) -> None:
    network = random_network(builder)
    state = network.state_dict()
    first = next(key for key, value in state.items() if value.ndim == 4)
    state[first] = torch.zeros(len(state[first]), count, *state[first].shape[2:])
    save_file(state, tmp_path / "model.safetensors")
    with pytest.raises(
        ModelError, match=rf"model\.safetensors reads images of {count} channels.* with 3, RGB"
    ):
        open_(tmp_path / "model.safetensors", builder)
