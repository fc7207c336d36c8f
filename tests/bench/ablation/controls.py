"""The control arms: what learns is the same, and of the language model only the shape is left.

A control is told by the name of its arm, `random` or `shuffled`. Its start is that of any training, with
other weights in the layers of the language model; the training goes on from there.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from batchseg.config.train import NewModel, TrainConfig
from batchseg.errors import ConfigError
from batchseg.segmentors.llm.language import build_language_model
from batchseg.segmentors.llm.modeling_llmseg import LLMSemanticSegmentor
from batchseg.training.start import write_start

State = dict[str, Tensor]


def random(language_model: Any, seed: int) -> State:
    """Weights as they are before any training."""
    torch.manual_seed(seed)
    made: State = build_language_model(language_model.config).state_dict()
    return made


def shuffled(language_model: Any, seed: int) -> State:
    """The elements of each tensor in random order, which keeps its statistics."""
    generator = torch.Generator().manual_seed(seed)
    return {
        key: value.flatten()[torch.randperm(value.numel(), generator=generator)].view_as(value)
        for key, value in language_model.state_dict().items()
    }


CONTROLS: dict[str, Callable[[Any, int], State]] = {"random": random, "shuffled": shuffled}


def with_control(arm: str, config: TrainConfig, folder: Path) -> TrainConfig:
    """The training of an arm; that of a control goes on from a start in `folder`, which is made once.

    Raises ConfigError for a control whose model has no language model that stays frozen.
    """
    if arm not in CONTROLS:
        return config
    model = config.model
    if not isinstance(model, NewModel) or model.mode != "frozen":
        raise ConfigError(f"the arm {arm} is a control: its model must be new, with mode: frozen")
    if not folder.exists():
        unfinished = folder.with_name(f".{folder.name}.unfinished")
        shutil.rmtree(unfinished, ignore_errors=True)
        write_start(config, unfinished)
        network = LLMSemanticSegmentor.from_pretrained(unfinished)
        language_model = network.reader.language_model
        language_model.load_state_dict(CONTROLS[arm](language_model, config.seed))
        network.save_pretrained(unfinished)
        os.replace(unfinished, folder)
    return config.model_copy(update={"model": str(folder), "learning_rate": config.peak_rate})
