"""The kinds of models: one table, with how a plain name tells each, and what opens it."""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from batchseg.config.base import CLASS_RULE
from batchseg.config.plugged import plugged_kind_of

_BUILDER = re.compile(r"(deeplabv3|fcn|lraspp)_\w+")
_OF_SMP = ("encoder_name", "_model_class")


@dataclass(frozen=True)
class Kind:
    """A kind of model.

    Attributes:
        name: the value of `segmentor.kind`.
        opener: what makes a checkpoint of its configuration, as an entry point names it. It is imported when
            it is used, because most of them need libraries that others do not.
        recognises: whether what is given to `--model` is surely of this kind.
        takes_labels: the label map of the run is handed to the opener, too.
    """

    name: str
    opener: str
    recognises: Callable[[str], bool]
    takes_labels: bool = False


def _is_class(model: str) -> bool:
    return re.search(CLASS_RULE, model) is not None


def _is_onnx(model: str) -> bool:
    return model.partition("?")[0].lower().endswith(".onnx") and not os.path.isdir(model)


def _is_builder(model: str) -> bool:
    """A folder is none, whatever it is called."""
    return _BUILDER.fullmatch(model) is not None and not os.path.isdir(model)


def _is_of_smp(model: str) -> bool:
    return is_smp_config(_config_of(model))


def _is_of_transformers(model: str) -> bool:
    return "model_type" in _config_of(model)


KINDS = (
    Kind("threshold", "batchseg.segmentors.threshold:ThresholdCheckpoint.open", "threshold".__eq__),
    Kind("custom", "batchseg.segmentors.custom:CustomCheckpoint.open", _is_class),
    Kind("onnx", "batchseg.segmentors.onnx.checkpoint:OnnxCheckpoint.open", _is_onnx),
    Kind("torchvision", "batchseg.segmentors.torchvision:TorchvisionCheckpoint.open", _is_builder),
    Kind("smp", "batchseg.segmentors.smp.checkpoint:SmpCheckpoint.open", _is_of_smp),
    Kind(
        "huggingface",
        "batchseg.segmentors.by_content:open_by_content",
        _is_of_transformers,
        takes_labels=True,
    ),
)
DEFAULT = "huggingface"  # a name on the hub, a URI, and what has to be looked at to say what it is
BY_NAME = {kind.name: kind for kind in KINDS}
ENSEMBLE = "ensemble"  # several models of any kinds


def kind_of(model: str) -> str:
    """The kind of what is given to `--model`: one of ours, one that a package brings, or the default."""
    surely = next((kind.name for kind in KINDS if kind.recognises(model)), None)
    return surely or plugged_kind_of(model) or DEFAULT


def is_smp_config(content: dict[str, Any]) -> bool:
    """Whether a config.json is one that segmentation_models_pytorch wrote."""
    return "model_type" not in content and any(key in content for key in _OF_SMP)


def _config_of(model: str) -> dict[str, Any]:
    """The config.json of a local folder; empty where there is none that can be read."""
    try:
        with open(os.path.join(os.path.expanduser(model), "config.json"), encoding="utf-8") as file:
            content = json.load(file)
    except (OSError, ValueError):  # said by what opens it
        return {}
    return content if isinstance(content, dict) else {}


def infer_segmentor(value: Any) -> Any:
    """A plain model name, several, or a mapping without `kind`: the name tells the kind."""
    if not isinstance(value, str | list | tuple | Mapping):
        return value
    data = dict(value) if isinstance(value, Mapping) else {"model": value}
    if isinstance(data.get("model"), list | tuple):
        data["members"] = [*data.pop("model")]
        if len(data["members"]) == 1:  # as `--model` once
            data["model"] = data.pop("members")[0]
    if data.get("model") == "threshold" and data.get("kind", "threshold") == "threshold":
        return {**{key: item for key, item in data.items() if key != "model"}, "kind": "threshold"}
    if "model" in data and "kind" not in data and (folds := _folds(str(data["model"]))):
        del data["model"]
        data["members"] = folds
    if "kind" in data:
        return data
    return {"kind": ENSEMBLE if "members" in data else kind_of(str(data.get("model"))), **data}


def _folds(model: str) -> list[str]:
    """The models in `folds/` of a folder that is none itself, as cross-validation leaves them, or in a folder
    of that name."""
    given = os.path.expanduser(model)
    folder = os.path.join(given, "folds")
    if not os.path.isdir(folder) and os.path.basename(os.path.abspath(given)) == "folds":
        folder = given
    if not os.path.isdir(folder) or _is_model(given):
        return []
    below = (os.path.join(folder, name) for name in sorted(os.listdir(folder), key=_by_number))
    return [
        place for fold in below if (place := next(filter(_is_model, (fold, os.path.join(fold, "model"))), ""))
    ]


def _by_number(name: str) -> tuple[int, str]:
    return (int(name), "") if name.isascii() and name.isdigit() else (sys.maxsize, name)


def _is_model(folder: str) -> bool:
    return os.path.isfile(os.path.join(folder, "config.json"))
