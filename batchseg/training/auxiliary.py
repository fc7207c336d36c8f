"""What a training may learn beside the classes, from the same truth: where they meet, and which there are.

Each task has a head of one layer, which reads what the network's own last layer reads. The heads are no part
of the model that comes out.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from batchseg.config.auxiliary import Auxiliary
from batchseg.errors import ConfigError
from batchseg.segmentors.huggingface.model import HuggingFaceModel
from batchseg.training.data import Batch


class Taught(nn.Module):
    """A network with a head for each task, as a network whose outputs are those of all.

    Args:
        layer: the network's last, which makes `classes` maps of its features [B, D, h, w].
        tasks: those with a weight of 0 have no head.
    """

    def __init__(self, network: nn.Module, layer: nn.Conv2d, tasks: Auxiliary, classes: int) -> None:
        super().__init__()
        self.network, self.heads = network, nn.ModuleDict()
        if tasks.boundary:
            self.heads["boundary"] = nn.Conv2d(layer.in_channels, 1, 3, padding=1)
        if tasks.presence:
            self.heads["presence"] = nn.Linear(layer.in_channels, classes)
        self._features_BDhw: Tensor | None = None
        layer.register_forward_pre_hook(self._note)

    @classmethod
    def of(cls, model: HuggingFaceModel, tasks: Auxiliary, batch: Batch) -> nn.Module:
        """A model's network with heads for its tasks; the network itself where there are none.

        Args:
            model: of whose weights those learn that its logits depend on, and no others.
            batch: that it sees once, to find its last layer.

        Raises ConfigError where that is no convolution.
        """
        network: nn.Module = model.network
        if not tasks.is_on:
            return network
        classes = int(model.network.config.num_labels)
        layer = last_layer(network, classes, lambda: model.logits(batch.pixels_BHWC))
        return cls(network, layer, tasks, classes).to(model.device)

    def _note(self, _: nn.Module, inputs: tuple[Tensor]) -> None:
        if torch.is_grad_enabled():
            self._features_BDhw = inputs[0]

    def forward(self, **inputs: Any) -> dict[str, Tensor]:
        """`logits` of the network; logits of `boundary` [B, 1, h, w], and of `presence` [B, C]."""
        outputs = {"logits": self.network(**inputs)["logits"]}
        features_BDhw, self._features_BDhw = self._features_BDhw, None
        if features_BDhw is not None:
            for name, head in self.heads.items():
                outputs[name] = head(features_BDhw if name == "boundary" else features_BDhw.mean((2, 3)))
        return outputs


def last_layer(network: nn.Module, classes: int, see: Callable[[], object]) -> nn.Conv2d:
    """The convolution that makes a map of each class: of those that learn the last one to be called.

    A second head, such as that of BEiT and UperNet, comes later and makes as many maps; no logits depend on
    it, so it does not learn.

    Args:
        see: has the network see something.

    Raises ConfigError where there is none, as where classes are told by queries or by their names.
    """
    found = [each for each in network.modules() if isinstance(each, nn.Conv2d)]
    found = [each for each in found if each.out_channels == classes and each.weight.requires_grad]
    called = list[nn.Module]()
    hooks = [each.register_forward_pre_hook(lambda layer, _: called.append(layer)) for each in found]
    try:
        with torch.no_grad():
            see()
    finally:
        for hook in hooks:
            hook.remove()
    if not called:
        raise ConfigError(
            "auxiliary needs a model whose last layer is a convolution with a map for each class, as that of "
            "decoder fpn and mlp with head closed; leave it out, or take such a model"
        )
    last = called[-1]
    assert isinstance(last, nn.Conv2d)
    return last


def auxiliary_loss(outputs: dict[str, Tensor], labels_BHW: Tensor, void: int, tasks: Auxiliary) -> Tensor:
    """The sum of the tasks' losses, each times its weight.

    Args:
        outputs: of `Taught`.
        labels_BHW: int64; `void` where there is no truth, which counts nowhere.
    """
    total = outputs["logits"].new_zeros(())
    if "boundary" in outputs:
        total = total + tasks.boundary * boundary_loss(outputs["boundary"], labels_BHW, void)
    if "presence" in outputs:
        total = total + tasks.presence * presence_loss(outputs["presence"], labels_BHW, void)
    return total


def boundary_loss(logits_B1hw: Tensor, labels_BHW: Tensor, void: int) -> Tensor:
    """Cross-entropy of lying on a boundary, in which boundaries weigh as much as all else (Xie and Tu 2015).

    A pixel lies on one where another class is among the eight around it.
    """
    logits_BHW = functional.interpolate(
        logits_B1hw.float(), labels_BHW.shape[1:], mode="bilinear", align_corners=False
    )[:, 0]
    known_BHW, labels = labels_BHW != void, labels_BHW[:, None].float()
    known_B1HW = known_BHW[:, None]
    highest = functional.max_pool2d(labels.masked_fill(~known_B1HW, -1), 3, 1, 1)
    lowest = -functional.max_pool2d(-labels.masked_fill(~known_B1HW, void), 3, 1, 1)
    is_boundary = (highest != lowest)[:, 0]
    losses = functional.binary_cross_entropy_with_logits(logits_BHW, is_boundary.float(), reduction="none")
    sides = [losses * (known_BHW & side) for side in (is_boundary, ~is_boundary)]
    counts = [(known_BHW & side).sum().clamp(min=1) for side in (is_boundary, ~is_boundary)]
    return (
        sum((side.sum() / count for side, count in zip(sides, counts, strict=True)), losses.new_zeros(())) / 2
    )


def presence_loss(logits_BC: Tensor, labels_BHW: Tensor, void: int) -> Tensor:
    """Cross-entropy of each class being in the crop at all (the semantic encoding loss of Zhang et al. 2018).

    Crops without truth count nowhere.
    """
    shown_BC = torch.stack([(labels_BHW == index).any(2).any(1) for index in range(logits_BC.shape[1])], 1)
    known_B = (labels_BHW != void).any(2).any(1)
    losses_BC = functional.binary_cross_entropy_with_logits(
        logits_BC.float(), shown_BC.float(), reduction="none"
    )
    return (losses_BC.mean(1) * known_B).sum() / known_B.sum().clamp(min=1)
