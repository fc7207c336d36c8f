"""Pretrained weights of a ResNet-50 for the backbone of a new model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import nn

from batchseg.errors import ModelError


def fill_backbone(backbone: nn.Module, weights: str) -> None:
    """Copy what torchvision's ResNet-50 has of ours, under its own names. Raises ModelError."""
    state = _read_state(weights)
    names = {
        "stem.0": "conv1",
        "stem.1": "bn1",
        "stages.0": "layer1",
        "stages.1": "layer2",
        "stages.2": "layer3",
    }
    ours = {}
    for key in backbone.state_dict():
        stem = next(name for name in names if key.startswith(name + "."))
        ours[key] = state.get(names[stem] + key.removeprefix(stem))
    missing = [key for key, value in ours.items() if value is None]
    if missing:
        raise ModelError(f"model.backbone_weights {weights}: is no ResNet-50, it lacks {missing[0]}")
    backbone.load_state_dict(ours)


def _read_state(weights: str) -> dict[str, Any]:
    from safetensors.torch import load_file
    from torchvision.models import get_weight

    path = Path(weights).expanduser()
    try:
        if path.suffix == ".safetensors":
            return dict(load_file(path))
        if path.suffix in (".pt", ".pth"):
            return dict(torch.load(path, map_location="cpu", weights_only=True))
        return dict(get_weight(f"ResNet50_Weights.{weights}").get_state_dict(progress=False))
    except Exception as exc:  # unpickling and downloading may fail in any way
        raise ModelError(f"model.backbone_weights {weights}: cannot be read: {exc}") from exc
