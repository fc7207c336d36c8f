"""A segmentor of the user's own, named `module:Class`.

The class needs one method and one attribute; a `prepare` of its own is optional:

    class Mine:
        labels = ["background", "cell"]              # names, or a LabelMap

        def __init__(self, device, **options): ...   # `segmentor.options`; `device` is "cpu" or "cuda"

        def segment(self, images):                   # list of uint8 RGB [H, W, 3]
            return [label_map, ...]                  # integer class ids [H, W], one an image
"""

from __future__ import annotations

import hashlib
import importlib
import inspect
import json
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from batchseg.config.segmentor import CustomSegmentor
from batchseg.errors import ModelError
from batchseg.labels.label_map import LabelMap
from batchseg.segmentors.base import ModelInput, Prediction
from batchseg.segmentors.threshold import Identity


@dataclass(frozen=True)
class CustomCheckpoint:
    """The class by name; it is made anew in every actor."""

    target: str
    folder: str  # where the driver found the module; a worker on the same disk finds it there too
    label_map: LabelMap
    fingerprint: str
    options: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def open(cls, config: CustomSegmentor) -> CustomCheckpoint:
        """Import the class on the driver, so that a wrong name fails before anything starts."""
        made = _import(config.model, os.getcwd())
        labels = getattr(made, "labels", None)
        if not callable(getattr(made, "segment", None)) or labels is None:
            raise ModelError(f"{config.model}: the class needs a method `segment` and an attribute `labels`")
        label_map = labels if isinstance(labels, LabelMap) else LabelMap.from_names(tuple(labels))
        return cls(config.model, _folder(made), label_map, _fingerprint(made, config), config.options)

    def preparer(self) -> Identity:
        return Identity()

    def load(self, device: str, precision: str) -> CustomModel:
        made = _import(self.target, self.folder)
        try:
            return CustomModel(made(device=device, **self.options), self.label_map)
        except Exception as exc:  # the user's own constructor may fail in any way
            raise ModelError(f"{self.target}: could not be made: {type(exc).__name__}: {exc}") from exc


class CustomModel:
    """Adapts the user's class to the Segmentor protocol."""

    def __init__(self, model: Any, label_map: LabelMap) -> None:
        self.model = model
        self.label_map = label_map

    def segment(self, inputs: Sequence[ModelInput]) -> list[Prediction]:
        maps = self.model.segment([each.pixels_THWC[0] for each in inputs])
        return [Prediction(self._checked(np.asarray(labels))) for labels in maps]

    def _checked(self, labels: Any) -> Any:
        if labels.ndim != 2 or labels.dtype.kind not in "iub":
            raise ValueError(f"a label map must be integer [H, W], not {labels.dtype} {list(labels.shape)}")
        if labels.size and not 0 <= labels.min() <= labels.max() <= self.label_map.void:
            raise ValueError(f"class ids must lie in 0 .. {self.label_map.num_classes - 1}")
        return np.ascontiguousarray(labels, dtype=self.label_map.dtype)


def _import(target: str, folder: str) -> Any:
    module, _, name = target.partition(":")
    if folder not in sys.path:
        sys.path.insert(0, folder)  # as `python -m` does: the user's module lies where the command runs
    try:
        return getattr(importlib.import_module(module), name)
    except ImportError as exc:
        raise ModelError(f"{target}: cannot import {module}: {exc}") from exc
    except AttributeError as exc:
        raise ModelError(f"{target}: the module {module} has no class {name}") from exc


def _folder(made: Any) -> str:
    """The folder from which the class's top-level module was imported."""
    file = getattr(sys.modules[made.__module__], "__file__", None)
    if file is None:
        return os.getcwd()
    return str(Path(file).resolve().parents[made.__module__.count(".")])


def _fingerprint(made: Any, config: CustomSegmentor) -> str:
    try:
        source = inspect.getsource(sys.modules[made.__module__])
    except (OSError, TypeError):
        source = ""
    facts = json.dumps([config.model, config.options, source], sort_keys=True, default=str)
    return hashlib.sha256(facts.encode()).hexdigest()
