"""From a model's configuration to the model: the kinds of segmentors there are."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pkgutil import resolve_name
from typing import TYPE_CHECKING, Any, Protocol, overload

from batchseg.config.kinds import BY_NAME, infer_segmentor
from batchseg.config.load import validate_segmentor
from batchseg.config.network import SegmentorConfig
from batchseg.config.plugged import PluggedError, load_plugged, plugged_names
from batchseg.config.segmentor import AnyMember, AnySegmentor, EnsembleSegmentor
from batchseg.errors import BatchsegError, ConfigError, ModelError
from batchseg.segmentors.acceleration import accelerate
from batchseg.segmentors.base import Checkpoint, ModelInput, Prediction, Preparer, Segmentor
from batchseg.segmentors.combined.decide import segment_whole
from batchseg.segmentors.combined.decision import Decision, decision_of
from batchseg.segmentors.network.precision import resolve_precision

if TYPE_CHECKING:
    from batchseg.segmentors.combined.ensemble import AnyCheckpoint, EnsembleCheckpoint


class SegmentorKind(Protocol):
    """What a package brings by an entry point of the group `batchseg.segmentors`; its name is the kind's.

    It may have a method `recognises(model)` besides: whether what is given to `--model` is of this kind.

    Attributes:
        configuration: a `SegmentorConfig`, or a `ScoringConfig` where the model has scores, with a field
            `kind: Literal[NAME] = NAME` and the settings that the model has.
    """

    configuration: type[SegmentorConfig]

    def open(self, config: Any, /) -> Checkpoint:
        """Find the model that a configuration of this class names. Raises ModelError."""
        ...


@overload
def open_checkpoint(config: AnyMember, labels: str | None = None) -> Checkpoint: ...
@overload
def open_checkpoint(config: EnsembleSegmentor, labels: str | None = None) -> EnsembleCheckpoint: ...


def open_checkpoint(config: AnySegmentor, labels: str | None = None) -> AnyCheckpoint:
    """Find the model a configuration names, or all of an ensemble, without loading it.

    Args:
        labels: the label map of the run, built-in or a file, whose words a prompted model reads where its
            configuration names no classes.

    Raises ModelError, and LabelMapError where words are to be read from a label map that is none.
    """
    if isinstance(config, EnsembleSegmentor):
        from batchseg.segmentors.combined.ensemble import EnsembleCheckpoint

        return EnsembleCheckpoint.open(config, partial(open_checkpoint, labels=labels))
    kind = BY_NAME.get(config.kind)
    if kind is None:
        return _open_plugged(config)
    # imported only when it is used: a threshold run needs no torch
    opener = resolve_name(kind.opener)
    found: Checkpoint = opener(config, labels) if kind.takes_labels else opener(config)
    return found


def _open_plugged(config: SegmentorConfig) -> Checkpoint:
    """By the package that brings the kind. Raises ConfigError where there is none, or it cannot be used."""
    name = str(getattr(config, "kind", ""))
    if name not in plugged_names():
        raise ConfigError(f"no package here brings the kind {name!r}; install the one that does")
    try:
        kind: SegmentorKind = load_plugged(name)
    except PluggedError as exc:
        raise ConfigError(f"segmentor: {exc}") from exc
    try:
        return kind.open(config)
    except BatchsegError:
        raise
    except Exception as exc:  # a package's own code may fail in any way
        raise ModelError(
            f"{config.name}: the kind {name!r} cannot open it: {type(exc).__name__}: {exc}"
        ) from exc


@dataclass(frozen=True)
class LoadedModel:
    """A model in this process, with what turns its scores into label maps."""

    segmentor: Segmentor
    decision: Decision

    def segment(self, inputs: Sequence[ModelInput]) -> list[Prediction]:
        """A label map for each of some prepared images, whose inputs have one shape."""
        return segment_whole(self.segmentor, inputs, self.decision)


def load_segmentor(
    model: str | os.PathLike[str] | Mapping[str, Any], device: str = "cpu", precision: str = "auto"
) -> tuple[Preparer, LoadedModel]:
    """A model ready for use in this process, by the name or path that `batchseg run --model` takes.

    A mapping has its other settings, too, such as `{"model": "my-model", "classes": ["road", "person"]}`;
    what it says of device (auto, cpu, cuda, cuda:N) and precision comes first.
    `segmentor.segment([preparer(image)])` then segments one uint8 RGB image [H, W, 3]. Of a prompted model
    without classes each input needs a prompt: `dataclasses.replace(preparer(image), prompt="the red car")`.
    Raises ModelError, and ConfigError for a setting that there is not.
    """
    chosen = infer_segmentor(os.fspath(model) if isinstance(model, os.PathLike) else model)
    if isinstance(chosen, Mapping):
        chosen = {"precision": precision, **chosen}
        device = chosen.pop("device", device)
    config, device = validate_segmentor(chosen), resolve_device(str(device))
    if config.kind == "ensemble":
        raise ConfigError(f"{config.name} are {len(config.members)} models; load them one by one")
    if getattr(config, "quantise", None):
        raise ConfigError(
            f"{config.name}: quantise is for a run, which chooses the scales on its images; leave it out here"
        )
    checkpoint = open_checkpoint(config)
    resolved = resolve_precision(config.precision, device.partition(":")[0])
    decision = decision_of(config, checkpoint, checkpoint.label_map)
    loaded = checkpoint.load(device, resolved)
    if device == "cpu":
        accelerate(loaded, config, checkpoint.fingerprint, resolved)
    return checkpoint.preparer(), LoadedModel(loaded, decision)


def resolve_device(device: str) -> str:
    """What is meant by cpu, cuda, cuda:N or auto. Raises ConfigError, and ModelError without a GPU."""
    if device == "cpu":
        return device
    if not re.fullmatch(r"auto|cuda(:\d+)?", device):
        raise ConfigError(f"device {device}: must be auto, cpu, cuda, or cuda:N")
    import torch

    if torch.cuda.is_available():
        return "cuda" if device == "auto" else device
    if device == "auto":
        return "cpu"
    raise ModelError(f"device {device}: torch sees no GPU; use cpu")
