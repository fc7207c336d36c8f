"""State dicts as training scripts leave them: alone, or inside what else a script keeps."""

from __future__ import annotations

import argparse
import pickle
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from batchseg.errors import ModelError

FILES = (".pt", ".pth", ".safetensors", ".ckpt", ".tar")
WRAPPERS = ("model", "model_state_dict", "state_dict", "model_ema", "net", "network", "model_state")
_OF_WRAPPERS = ("module", "_orig_mod")  # DataParallel and torch.compile put these into every name
_COUNTER = "n_averaged"  # of torch.optim.swa_utils.AveragedModel

State = dict[str, Tensor]


def read_state(path: str) -> State:
    """A state dict from a file, its names as those of the plain network.

    Taken out of a training's checkpoint, such as `{"model": ..., "args": ...}` of torchvision's references;
    `module.` and `_orig_mod.` are dropped from the names.

    Raises:
        ModelError: there is none, or more than one; or reading it could run code.
    """
    state = _unwrapped(_read(path), path)
    named = {_plain(key): value for key, value in state.items() if key != _COUNTER}
    if all(key.startswith("model.") for key in named):  # Lightning's module holds the network as `model`
        named = {key.removeprefix("model."): value for key, value in named.items()}
    return named


def _read(path: str) -> Any:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        if path.endswith(".safetensors"):
            return load_file(path)
        # the arguments of a training script lie beside its weights, and are plain values
        with torch.serialization.safe_globals([argparse.Namespace]):
            return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as exc:
        raise ModelError(
            f"{path} is not a state dict but a pickle of other things (a whole module, perhaps), which can "
            "run code when it is read; save model.state_dict() instead"
        ) from exc
    except (OSError, EOFError, RuntimeError, SafetensorError) as exc:
        raise ModelError(f"{path} cannot be read as a state dict: {' '.join(str(exc).split())}") from exc


def _unwrapped(content: Any, path: str) -> Mapping[str, Tensor]:
    if _is_state(content):
        state: Mapping[str, Tensor] = content
        return state
    found = [key for key in WRAPPERS if isinstance(content, Mapping) and _is_state(content.get(key))]
    if len(found) > 1:
        raise ModelError(
            f"{path} holds several state dicts ({', '.join(found)}); save the one that you mean alone"
        )
    if not found:
        raise ModelError(
            f"{path} is not a state dict; save model.state_dict() alone, or as one of {', '.join(WRAPPERS)}"
        )
    inner: Mapping[str, Tensor] = content[found[0]]
    return inner


def _is_state(value: Any) -> bool:
    return (
        isinstance(value, Mapping)
        and bool(value)
        and all(isinstance(name, str) and isinstance(each, Tensor) for name, each in value.items())
    )


def _plain(name: str) -> str:
    return ".".join(part for part in name.split(".") if part not in _OF_WRAPPERS)
