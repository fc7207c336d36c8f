"""Models as a plain run has them: opened, refused, loaded, and what they make of images."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from batchseg.config.kinds import infer_segmentor
from batchseg.config.load import validate_segmentor
from batchseg.errors import ModelError
from batchseg.segmentors.combined.decision import Decision
from batchseg.segmentors.registry import LoadedModel, open_checkpoint


def loaded(checkpoint: Any, precision: str = "fp32", **deciding: Any) -> LoadedModel:
    """On the CPU. `deciding` is what its decision has besides, such as `none_below`."""
    decision = Decision(checkpoint.label_map.num_classes, **deciding)
    return LoadedModel(checkpoint.load("cpu", precision), decision)


def opened(path: Path | str, **settings: Any) -> Any:
    """The checkpoint that a plain name tells, as `--model` takes it."""
    return open_checkpoint(validate_segmentor(infer_segmentor({"model": str(path), **settings})))


def refused(path: Path | str, **settings: Any) -> str:
    """The one sentence that opening or loading it ends with."""
    with pytest.raises(ModelError) as caught:
        opened(path, **settings).load("cpu", "fp32")
    assert "\n" not in str(caught.value)
    return str(caught.value)


def segmented(checkpoint: Any, *images: np.ndarray) -> list[np.ndarray]:
    inputs = [checkpoint.preparer()(each) for each in images]
    return [each.labels_HW for each in loaded(checkpoint).segment(inputs)]


def blobs(height: int, width: int, seed: int = 0, channels: int = 3) -> np.ndarray:
    """An image of soft blobs of colour, uint8 [H, W, C]."""
    coarse = np.random.default_rng(seed).integers(0, 256, (6, 8, channels), dtype=np.uint8)
    bands = [
        Image.fromarray(band).resize((width, height), Image.Resampling.BICUBIC)
        for band in coarse.transpose(2, 0, 1)
    ]
    return np.stack([np.array(band) for band in bands], axis=-1)
