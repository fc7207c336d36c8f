"""From a training's best state to a checkpoint that `batchseg run --model` takes."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import torch

from batchseg.config.train import NewModel, TrainConfig
from batchseg.segmentors.huggingface.checkpoint import HuggingFaceCheckpoint
from batchseg.segmentors.huggingface.content import TEMPERATURE
from batchseg.segmentors.huggingface.families import OWN
from batchseg.segmentors.llm.lora import add_lora, merge_lora


def export_trained(
    config: TrainConfig,
    start: HuggingFaceCheckpoint,
    weights: dict[str, Any],
    temperature: float,
    *,
    split: Path,
    folder: Path,
) -> None:
    """Write network and image processor, whole or not at all: float16 safetensors, adapters merged.

    Args:
        weights: the best epoch's state dict.
        split: the training's split.parquet, so that the model can tell wherever it is moved.
        temperature: what logits are to be divided by besides; the model's configuration keeps it.
    """
    network = start.load("cpu", "fp32").network
    lora = isinstance(config.model, NewModel) and config.model.mode == "lora"
    if isinstance(config.model, NewModel) and lora:
        add_lora(network, config.model.lora_rank)
    network.load_state_dict(weights)
    if lora:
        merge_lora(network)
    _keep_temperature(network.config, temperature)
    with torch.no_grad():
        network.half()
    unfinished = folder.with_name(f".{folder.name}.unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)
    shutil.copytree(start.location.folder(), unfinished)
    for weights_before in unfinished.glob("*.safetensors*"):
        weights_before.unlink()
    network.save_pretrained(unfinished)
    for file in unfinished.glob("*.safetensors"):
        shutil.copymode(unfinished / "config.json", file)  # safetensors' own is for its owner alone
    shutil.copyfile(split, unfinished / split.name)
    shutil.rmtree(folder, ignore_errors=True)
    os.replace(unfinished, folder)


def _keep_temperature(shape: Any, temperature: float) -> None:
    """Models of our own divide by theirs in the network; those of transformers are divided beside it."""
    name = "temperature" if shape.model_type in OWN else TEMPERATURE
    found = getattr(shape, name, 1.0) * temperature
    if found != 1:
        setattr(shape, name, found)
