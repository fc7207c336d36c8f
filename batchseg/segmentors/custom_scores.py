"""Scores that a user's own class returns, as arrays or tensors of any size."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
from numpy.typing import NDArray

from batchseg.labels.label_map import LabelMap
from batchseg.segmentors.base import Scores

_DIMENSIONS = 3
_TOLERANCE = 1e-3  # what half precision leaves of probabilities that sum to one


def is_scores(answer: Any) -> bool:
    """Whether an answer is floating point [C, h, w], and no label map."""
    torch = sys.modules.get("torch")  # who returns tensors has imported it
    if torch is not None and isinstance(answer, torch.Tensor):
        return bool(answer.is_floating_point() and answer.ndim == _DIMENSIONS)
    array = np.asarray(answer)
    return array.dtype.kind == "f" and array.ndim == _DIMENSIONS


def own_scores(answer: Any, kind: Any, label_map: LabelMap, name: str) -> Scores:
    """The scores of one image; of a single map, which is one class against the background, both.

    Raises ValueError where the class does not say what they are, or they are not that.
    """
    import torch

    from batchseg.segmentors.network.one_output import with_background

    if kind not in ("logits", "probabilities"):
        raise ValueError(
            f'{name}: segment returned scores, so the class needs `scores = "logits"` or '
            '`scores = "probabilities"`, which says what they are'
        )
    maps_CHW = (answer if isinstance(answer, torch.Tensor) else torch.from_numpy(np.array(answer))).detach()
    if maps_CHW.dtype == torch.float64:
        maps_CHW = maps_CHW.float()
    classes = label_map.num_classes
    if len(maps_CHW) not in ({1, 2} if classes == 2 else {classes}) or not maps_CHW.numel():
        raise ValueError(
            f"{name}: scores of {classes} classes must be [{classes}, h, w], not {described(maps_CHW)}"
        )
    alone = len(maps_CHW) == 1 < classes
    if kind == "logits":
        return Scores("logits", with_background(maps_CHW[None])[0] if alone else maps_CHW)
    lowest, highest = float(maps_CHW.min()), float(maps_CHW.max())
    if lowest < 0 or highest > 1 + _TOLERANCE:
        raise ValueError(
            f"{name}: its scores are called probabilities, and lie between {lowest:g} and {highest:g}; say "
            '`scores = "logits"` if they are such'
        )
    return Scores("probabilities", torch.cat([1 - maps_CHW, maps_CHW]) if alone else maps_CHW)


def described(array: NDArray[Any] | Any) -> str:
    """Its type and shape."""
    return f"{str(array.dtype).removeprefix('torch.')} {list(array.shape)}"
