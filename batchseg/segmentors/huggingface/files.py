"""The files of a checkpoint: where they are, whether they can be trusted, and what they hash to."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, replace
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from batchseg.config.segmentor import HuggingFaceSegmentor, SmpSegmentor
from batchseg.errors import ModelError
from batchseg.segmentors.base import PixelRange
from batchseg.segmentors.fetched import current_version, fetch
from batchseg.segmentors.huggingface.advice import (
    far_file,
    no_config,
    no_processor,
    no_weights,
    other_library,
    single_file,
)
from batchseg.segmentors.huggingface.content import wrong_normalising
from batchseg.segmentors.llm.names import LANGUAGE_MODEL
from batchseg.segmentors.strangers import hollow_file
from batchseg.storage.hashing import sha256_of
from batchseg.storage.location import is_uri

CONFIG = "config.json"
WEIGHTS = "model.safetensors"
SHARDS = "model.safetensors.index.json"
PROCESSORS = ("preprocessor_config.json", "processor_config.json", "video_preprocessor_config.json")
TOKENIZER = ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "vocab.json", "merges.txt")
WHOLE_LANGUAGE_MODEL = f"{LANGUAGE_MODEL}/*"  # in checkpoints of our own that read class names
NEEDED = (
    CONFIG,
    WEIGHTS,
    SHARDS,
    "model-*-of-*.safetensors",
    *PROCESSORS,
    *TOKENIZER,
    WHOLE_LANGUAGE_MODEL,
)


@dataclass(frozen=True)
class CheckpointPlace:
    """Where a checkpoint is, so that every worker reads the same.

    Attributes:
        name: absolute path of a folder, a URI, or a name on the hub.
        commit: on the hub, the commit; at a URI, the version of its files; None for a folder.
        trust_remote_code: whether Python code that comes with it may run.
        fingerprint: what the driver's copy of the files hashes to; a worker's own copy must as well.
        needed: patterns of the files that it is made of.
    """

    name: str
    commit: str | None
    trust_remote_code: bool
    fingerprint: str | None = None
    needed: tuple[str, ...] = NEEDED

    @property
    def patterns(self) -> tuple[str, ...]:
        return (*self.needed, "*.py") if self.trust_remote_code else self.needed

    def folder(self) -> Path:
        """The folder on this machine; a worker that lacks a checkpoint from elsewhere fetches it.

        Raises ModelError.
        """
        if self.commit is None:
            return Path(self.name)
        if is_uri(self.name):
            return fetch(self.name, self.patterns, self.commit, self._check)
        return _download(self.name, self.commit, self.patterns)

    def _check(self, folder: Path) -> None:
        if self.fingerprint not in (None, fingerprint(folder, self.patterns)):
            raise ModelError(f"{self.name}: the files that arrived here are not those the driver has")


@dataclass(frozen=True)
class FoundCheckpoint:
    """A checkpoint whose configuration was read.

    Attributes:
        folder: where its files are on this machine.
        content: its config.json.
    """

    location: CheckpointPlace
    folder: Path
    content: dict[str, Any]

    @property
    def name(self) -> str:
        return self.location.name

    @property
    def files(self) -> str:
        """What its files hash to."""
        return self.location.fingerprint or fingerprint(self.folder, self.location.patterns)


def find_checkpoint(config: HuggingFaceSegmentor) -> FoundCheckpoint:
    """Find the checkpoint a configuration names, downloading what is on the hub and not here yet.

    Raises ModelError where there is none.
    """
    location, folder = locate_checkpoint(config)
    return FoundCheckpoint(location, folder, read_checkpoint_config(folder, location.name))


def locate_checkpoint(
    config: HuggingFaceSegmentor | SmpSegmentor, needed: tuple[str, ...] = NEEDED
) -> tuple[CheckpointPlace, Path]:
    """Where the configured checkpoint is, and its folder on this machine. Raises ModelError.

    Args:
        needed: patterns of the files that it is made of.
    """
    code = isinstance(config, HuggingFaceSegmentor) and config.trust_remote_code
    place = CheckpointPlace(config.model, None, code, needed=needed)
    if is_uri(config.model):
        if problem := far_file(config.model):
            raise ModelError(problem)
        return _at_uri(place)
    folder = Path(config.model).expanduser()
    if folder.is_dir():
        folder = folder.resolve()
        return replace(place, name=str(folder)), folder
    if problem := single_file(folder, config.model):
        raise ModelError(problem)
    folder = _download(config.model, config.revision, place.patterns)
    # the cache names a snapshot's folder by its commit
    return replace(place, commit=folder.name), folder


def _at_uri(place: CheckpointPlace) -> tuple[CheckpointPlace, Path]:
    found = replace(place, commit=current_version(place.name, place.patterns))
    folder = found.folder()
    return replace(found, fingerprint=fingerprint(folder, place.patterns)), folder


def read_checkpoint_config(folder: Path, name: str) -> dict[str, Any]:
    """The checkpoint's config.json. Raises ModelError."""
    content = _read_json(folder / CONFIG, name)
    if "model_type" not in content and (problem := other_library(content, name)):
        raise ModelError(problem)
    return content


def read_processor(folder: Path, name: str) -> dict[str, Any]:
    """The file of its image processor, one of which `require_files` has found. Raises ModelError."""
    file = next(file for file in PROCESSORS if (folder / file).is_file())
    content = _read_json(folder / file, name)
    inner = content.get("image_processor")  # of a processor_config.json
    return inner if isinstance(inner, dict) else content


def reduces_labels(content: dict[str, Any]) -> bool:
    """Whether its truths were numbered from one when it was trained, as its image processor says."""
    return bool(content.get("do_reduce_labels", content.get("reduce_labels", False)))


def expected_range(content: dict[str, Any], name: str, channels: int) -> PixelRange | None:
    """What its image processor normalises pixels by, where it says so.

    Raises ModelError where it says so for another number of channels than the network reads.
    """
    for key in ("image_mean", "image_std") if content.get("do_normalize", True) else ():
        values = content.get(key)
        if isinstance(values, list) and len(values) not in (1, channels):
            raise ModelError(wrong_normalising(name, channels, f"has {len(values)} values as {key}"))
    mean, std = (_numbers(content.get(key), channels) for key in ("image_mean", "image_std"))
    return PixelRange(mean, std) if mean and std and content.get("do_normalize", True) else None


def _numbers(values: Any, channels: int) -> tuple[float, ...]:
    """A number a channel; none where something else stands there."""
    if not isinstance(values, list) or len(values) not in (1, channels):
        return ()
    if not all(isinstance(value, int | float) for value in values):
        return ()
    return tuple(map(float, values)) * (channels // len(values))


def _read_json(path: Path, name: str) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as exc:
        raise ModelError(no_config(path.parent, name)) from exc
    except (OSError, ValueError) as exc:
        raise ModelError(f"{name}: cannot read its {path.name}: {exc}") from exc
    if not isinstance(content, dict):
        raise ModelError(f"{name}: its {path.name} is not a JSON object")
    return content


def require_files(folder: Path, name: str) -> None:
    """Raise ModelError unless there are weights in safetensors and an image processor."""
    files = _weight_files(folder, name)
    missing = [file for file in files if not (folder / file).is_file()]
    if missing == [WEIGHTS]:
        raise ModelError(no_weights(folder, name, WEIGHTS))
    if missing:
        raise ModelError(f"{name} has no {missing[0]}")
    for file in files:
        if hollow := hollow_file(folder / file, f"{name}/{file}"):
            raise ModelError(hollow)
    if not any((folder / file).is_file() for file in PROCESSORS):
        raise ModelError(no_processor(folder, name, PROCESSORS[0]))


def fingerprint(folder: Path, patterns: tuple[str, ...]) -> str:
    """SHA-256, in hex, of the names and contents of the files that make a mask."""
    digest = hashlib.sha256()
    for path in sorted([*folder.iterdir(), *folder.glob(WHOLE_LANGUAGE_MODEL)]):
        name = path.relative_to(folder).as_posix()
        if any(fnmatch(name, pattern) for pattern in patterns):
            digest.update(f"{name} {sha256_of(path).hex()}\n".encode())
    return digest.hexdigest()


def _weight_files(folder: Path, name: str) -> list[str]:
    if (folder / WEIGHTS).is_file() or not (folder / SHARDS).is_file():
        return [WEIGHTS]
    try:
        index = json.loads((folder / SHARDS).read_text(encoding="utf-8"))
        return sorted(set(index["weight_map"].values()))
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as exc:
        raise ModelError(f"{name}: cannot read its {SHARDS}: {exc}") from exc


def _download(name: str, revision: str | None, patterns: tuple[str, ...]) -> Path:
    """The folder in the hub's cache, which serves when the hub cannot be reached."""
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(name, revision=revision, allow_patterns=list(patterns)))
    except (OSError, ValueError) as exc:  # all of the hub's own errors are one or the other
        reason = " ".join(str(exc).split())
        at = f" at revision {revision}" if revision else ""
        raise ModelError(
            f"there is no folder {name}, and no model of that name{at} could be had from the hub: {reason}"
        ) from exc
