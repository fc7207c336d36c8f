"""A segmentor of the user's own, named `module:Class`.

The class needs one method and one attribute:

    class Mine:
        labels = ["background", "cell"]              # names, or a LabelMap

        def __init__(self, device, **options): ...   # `segmentor.options`; `device` is "cpu" or "cuda"

        def segment(self, images):                   # list of uint8 RGB [H, W, 3]
            return [label_map, ...]                  # integer class ids [H, W], one an image

Its fingerprint has the text of its module, its options, and the contents of the files and folders that they
name: another weights file under the same name is another model.
"""

from __future__ import annotations

import errno
import hashlib
import importlib
import inspect
import json
import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import numpy as np

from batchseg.config.segmentor import CustomSegmentor
from batchseg.errors import ModelError
from batchseg.labels.label_map import LabelMap
from batchseg.segmentors.base import ModelInput, Prediction
from batchseg.segmentors.threshold import Identity

_CHUNK_BYTES = 2**20


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
    facts: list[Any] = [config.model, config.options, source]
    if contents := {value: found for value in _strings(config.options) if (found := _contents(value))}:
        facts.append(contents)  # nothing is added where no option names a file: what was computed stays valid
    return hashlib.sha256(json.dumps(facts, sort_keys=True, default=str).encode()).hexdigest()


def _strings(value: Any) -> Iterator[str]:
    """The strings and paths among options, at any depth."""
    if isinstance(value, str | os.PathLike):
        yield os.fspath(value)
    elif isinstance(value, dict):
        yield from (text for item in value.values() for text in _strings(item))
    elif isinstance(value, list | tuple | set | frozenset):
        yield from (text for item in value for text in _strings(item))


def _contents(value: str) -> dict[str, str]:
    """SHA-256 of the file that an option names, or of each in its folder, by name; empty if it names none."""
    if value.startswith("file://"):
        value = unquote(value.removeprefix("file://"))
    if "\0" in value or Path(value).name in ("", "..", "~"):  # `/` and `.` are rather separators than folders
        return {}
    path = Path(os.path.expanduser(value))
    try:
        return {name: _sha256(file) for name, file in _files(path)}
    except OSError as exc:
        raise ModelError(
            f"segmentor.options name {value}, but {exc.filename} cannot be read: {exc.strerror}"
        ) from exc


def _files(path: Path) -> Iterator[tuple[str, Path]]:
    if os.path.isfile(path):  # unlike Path.is_file, False for a name that is too long
        yield "", path
        return
    seen = set()
    for folder, folders, names in os.walk(path, onerror=_raise, followlinks=True):
        seen.add(os.path.realpath(folder))
        # links may lead in circles, and compiled code follows from the code beside it
        folders[:] = [
            name
            for name in sorted(folders)
            if name != "__pycache__" and os.path.realpath(os.path.join(folder, name)) not in seen
        ]
        for name in sorted(names):
            file = Path(folder, name)
            if file.is_file():  # neither pipes nor links that lead nowhere
                yield file.relative_to(path).as_posix(), file


def _raise(exc: OSError) -> None:
    if not isinstance(exc, FileNotFoundError | NotADirectoryError) and exc.errno != errno.ENAMETOOLONG:
        raise exc


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()
