"""From a model's configuration to the model: the kinds of segmentors there are."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from batchseg.config import AnySegmentor, infer_segmentor
from batchseg.errors import ModelError
from batchseg.load import validate_segmentor
from batchseg.segmentors.base import Checkpoint, Preparer, Segmentor
from batchseg.segmentors.precision import resolve_precision


def open_checkpoint(config: AnySegmentor) -> Checkpoint:
    """Find the model a configuration names, without loading it. Raises ModelError."""
    # each kind is imported only when it is used: a threshold run needs no torch
    if config.kind == "threshold":
        from batchseg.segmentors.threshold import ThresholdCheckpoint

        return ThresholdCheckpoint.open(config)
    if config.kind == "custom":
        from batchseg.segmentors.custom import CustomCheckpoint

        return CustomCheckpoint.open(config)
    if config.kind == "torchvision":
        from batchseg.segmentors.torchvision import TorchvisionCheckpoint

        return TorchvisionCheckpoint.open(config)
    from batchseg.segmentors.huggingface import HuggingFaceCheckpoint

    return HuggingFaceCheckpoint.open(config)


def load_segmentor(
    model: str | Mapping[str, Any], device: str = "cpu", precision: str = "auto"
) -> tuple[Preparer, Segmentor]:
    """A model ready for use in this process, by the name or path that `batchseg run --model` takes.

    A mapping has its other settings, too, such as `{"model": "my-model", "classes": ["road", "person"]}`; a
    precision there comes first. `segmentor.segment([preparer(image)])` then segments one uint8 RGB image
    [H, W, 3]. Raises ModelError, and ConfigError for a setting that there is not.
    """
    if device.startswith("cuda"):
        import torch

        if not torch.cuda.is_available():
            raise ModelError(f"device {device}: torch sees no GPU; use cpu")
    chosen = infer_segmentor(model)
    if isinstance(chosen, Mapping):
        chosen = {"precision": precision, **chosen}
    config = validate_segmentor(chosen)
    checkpoint = open_checkpoint(config)
    return checkpoint.preparer(), checkpoint.load(device, resolve_precision(config.precision, device))
