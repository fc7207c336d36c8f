"""Integrated gradients: what each pixel adds to the target on the way from a grey picture to this one.

Sundararajan et al. 2017, "Axiomatic Attribution for Deep Networks", by captum. All pixels together add what
the target of the picture has more than that of the grey one.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from batchseg.errors import ConfigError, RowFault
from batchseg.schema import Status
from batchseg.segmentors.attribution.asked import Asked
from batchseg.segmentors.attribution.occlusion import Heat
from batchseg.segmentors.attribution.target import ClassTarget
from batchseg.segmentors.base import Differentiable, Segmentor
from batchseg.segmentors.combined.decision import Answer
from batchseg.segmentors.combined.looks import Picture

if TYPE_CHECKING:
    from torch import Tensor

_STEPS = 32  # of the way from the grey picture
_AT_ONCE = 8  # of these
_GREY = 127.5


def load_captum() -> None:
    """Raises ConfigError where it is not installed."""
    try:
        import captum.attr  # noqa: F401
    except ImportError as exc:
        raise ConfigError(
            "the method gradients needs captum, which is not installed; pip install 'batchseg[explain]', or "
            "take the method occlusion"
        ) from exc


def refuse_without_gradients(segmentor: Segmentor, name: str) -> None:
    """Raises ConfigError where a model is no network that could be asked."""
    if not isinstance(segmentor, Differentiable):
        raise ConfigError(f"the method gradients: {name} has none to look at; take the method occlusion")


def integrated_gradients(asked: Asked, picture: Picture, target: ClassTarget) -> Heat:
    """The values of the model's input, summed over its channels and brought to the size of the picture.

    Raises RowFault where the model does not see the picture as one rectangle.
    """
    import torch
    from captum.attr import IntegratedGradients

    from batchseg.segmentors.network.levels import to_levels
    from batchseg.segmentors.network.upload import to_device

    (member,) = asked.members
    assert isinstance(member, Differentiable)
    height, width = picture.pixels_HWC.shape[:2]
    (look,) = asked.looks.inputs(picture, (height, width))
    prepared = replace(look.model_input, prompt=asked.prompt)
    if len(prepared.pixels_THWC) > 1 or prepared.geometry:
        raise RowFault(
            Status.UNSUPPORTED, "the model reads it in crops or padded: take the method occlusion instead"
        )

    def targets_of(levels_BHWC: Tensor) -> Tensor:
        inputs = [prepared] * len(levels_BHWC)
        return torch.stack([target.of([Answer(each)]) for each in member.scores_of(levels_BHWC, inputs)])

    levels_1HWC = to_levels(to_device([prepared], member.device), [prepared]).float()
    grey_1HWC = torch.full_like(levels_1HWC, _GREY)
    values_1HWC = IntegratedGradients(targets_of).attribute(
        levels_1HWC, grey_1HWC, n_steps=_STEPS, internal_batch_size=_AT_ONCE
    )
    values_1HW = values_1HWC.detach().sum(-1)
    with torch.inference_mode():
        whole, grey = float(targets_of(levels_1HWC)[0]), float(targets_of(grey_1HWC)[0])
    return Heat(_on_picture(values_1HW, (height, width)), whole, whole - grey - float(values_1HW.sum()))


def _on_picture(values_1HW: Tensor, size_hw: tuple[int, int]) -> NDArray[np.float32]:
    """At the size of the picture, each pixel of which has its share of what its cell of the input adds."""
    from torch.nn.functional import interpolate

    share = values_1HW[0].numel() / (size_hw[0] * size_hw[1])
    resized = interpolate(values_1HW[None].float(), size_hw, mode="bilinear", antialias=True)
    values_HW: NDArray[np.float32] = (resized[0, 0] * share).cpu().numpy()
    return values_HW
