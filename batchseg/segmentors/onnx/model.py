"""A loaded ONNX network: batches of prepared images in, scores out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from batchseg.images.overlay import nearest
from batchseg.segmentors.base import ModelInput, Scores
from batchseg.segmentors.network.engine import Engine
from batchseg.segmentors.network.levels import to_levels
from batchseg.segmentors.network.normalisation import Normalisation
from batchseg.segmentors.network.one_output import with_background
from batchseg.segmentors.network.padding import cut_padding, pad_to_multiple
from batchseg.segmentors.network.upload import to_device
from batchseg.segmentors.onnx.signature import Signature

_CPU = torch.device("cpu")
_TOLERANCE = 1e-3  # what half precision leaves of probabilities

Size = tuple[int, int]


class OnnxModel:
    """A network, and all that stands between pixels and scores.

    Pixels are prepared on the CPU, from where ONNX Runtime takes them to its own device.
    """

    def __init__(
        self, engine: Engine, signature: Signature, normalisation: Normalisation | None, device: str
    ) -> None:
        self.engine, self.signature = engine, signature
        self.normalise = None if normalisation is None else normalisation.on(_CPU)
        self.device = torch.device(device)

    @torch.inference_mode()
    def scores(self, inputs: Sequence[ModelInput]) -> list[Scores]:
        """Raises ValueError for an answer that is not what the network's description says."""
        levels_BHWC = to_levels(to_device(inputs, _CPU), inputs)
        input_BCHW = self._input(levels_BHWC)
        padded_BCHW = pad_to_multiple(input_BCHW, self.signature.multiple)
        answer = self._run(padded_BCHW)
        (padded_h, padded_w), (height, width) = padded_BCHW.shape[-2:], input_BCHW.shape[-2:]
        if self.signature.scores == "labels":
            return self._labels(answer, (padded_h, padded_w), (height, width), inputs)
        return self._maps(answer, (padded_h, padded_w), (height, width))

    def _input(self, levels_BHWC: Tensor) -> Tensor:
        """[B, C, H, W] in the order of channels that the network reads."""
        if self.normalise is not None:
            return self.normalise(levels_BHWC)
        levels_BCHW = levels_BHWC.permute(0, 3, 1, 2)
        if self.signature.is_reversed:
            levels_BCHW = levels_BCHW.flip(1)
        return levels_BCHW.round().to(torch.uint8) if levels_BCHW.is_floating_point() else levels_BCHW

    def _run(self, padded_BCHW: Tensor) -> NDArray[Any]:
        """The network's output for all images; a network of a fixed batch gets them in batches of that."""
        feed = padded_BCHW.permute(0, 2, 3, 1) if self.signature.is_nhwc else padded_BCHW
        batch_BN = np.ascontiguousarray(feed.numpy(), dtype=self.signature.dtype)
        count = self.signature.batch or len(batch_BN)
        parts = []
        for start in range(0, len(batch_BN), count):
            part_BN = batch_BN[start : start + count]
            missing = count - len(part_BN)
            filled_BN = np.concatenate([part_BN, *[part_BN[-1:]] * missing]) if missing else part_BN
            (answer,) = self.engine(torch.from_numpy(filled_BN))
            parts.append(self._checked(answer.numpy(), count)[: len(part_BN)])
        return np.concatenate(parts)

    def _checked(self, answer: NDArray[Any], count: int) -> NDArray[Any]:
        """The answer with the classes, where it has any, in its second dimension."""
        axis, maps = self.signature.class_axis, self.signature.maps
        if answer.shape[0] != count or (axis is not None and answer.shape[axis] != maps):
            raise ValueError(
                f"the output {self.signature.output} is {[*answer.shape]} for {count} images, and "
                f"{maps} maps of each are described"
            )
        return answer[:, None] if axis is None else np.moveaxis(answer, axis, 1)

    def _maps(self, answer_BCHW: NDArray[Any], padded_hw: Size, hw: Size) -> list[Scores]:
        maps_BCHW = torch.from_numpy(np.ascontiguousarray(answer_BCHW)).float().to(self.device)
        kind = self.signature.scores
        assert kind != "labels"
        if kind == "probabilities":
            _require_probabilities(maps_BCHW, self.signature.output)
            maps_BCHW = maps_BCHW.clamp(0, 1)
        maps_BCHW = cut_padding(maps_BCHW, padded_hw, hw)
        if self.signature.maps == 1:
            of_both = with_background if kind == "logits" else _with_the_rest
            maps_BCHW = of_both(maps_BCHW)
        return [Scores(kind, maps_CHW) for maps_CHW in maps_BCHW]

    def _labels(
        self, answer_B1HW: NDArray[Any], padded_hw: Size, hw: Size, inputs: Sequence[ModelInput]
    ) -> list[Scores]:
        classes = len(self.signature.classes)
        found = []
        for labels_HW, each in zip(answer_B1HW[:, 0], inputs, strict=True):
            if not 0 <= labels_HW.min() <= labels_HW.max() < classes:
                raise ValueError(
                    f"class ids must lie in 0 .. {classes - 1}, and the output {self.signature.output} has "
                    f"{labels_HW.min()} .. {labels_HW.max()}"
                )
            whole_HW = labels_HW.astype(np.min_scalar_type(classes))
            cut_HW = nearest(whole_HW, padded_hw)[: hw[0], : hw[1]]
            found.append(Scores("labels", np.ascontiguousarray(nearest(cut_HW, each.image_hw))))
        return found


def _with_the_rest(probabilities_B1HW: Tensor) -> Tensor:
    """Those of background and the class."""
    return torch.cat([1 - probabilities_B1HW, probabilities_B1HW], 1)


def _require_probabilities(maps_BCHW: Tensor, output: str) -> None:
    lowest, highest = float(maps_BCHW.min()), float(maps_BCHW.max())
    if lowest < -_TOLERANCE or highest > 1 + _TOLERANCE:
        raise ValueError(
            f"the output {output} is called probabilities, and lies between {lowest:g} and {highest:g}; say "
            "scores: logits if it holds such"
        )
