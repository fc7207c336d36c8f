"""What sets one family of prompted models apart: three methods."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from torch import Tensor, nn

from batchseg.errors import ModelError
from batchseg.segmentors.prompted.cache import States


@dataclass(frozen=True, slots=True)
class DrawnMaps:
    """What a model says of one image and N prompts, float32.

    Attributes:
        maps_NHW: sigmoids; of a family that compares prompts, logits whose softmax over the prompts counts.
        presence_N: how likely each is to be there at all, 0 to 1; None where the model does not say.
    """

    maps_NHW: Tensor
    presence_N: Tensor | None = None


class Family(Protocol):
    """A network, and how it is used. What it returns lies on the network's device."""

    network: nn.Module

    @property
    def vision(self) -> nn.Module:
        """What sees the images, and takes most of the time."""
        ...

    def see(self, pixels_1CHW: Tensor) -> States:
        """All that is needed of one image, whatever the prompts are."""
        ...

    def read(self, texts: Sequence[str]) -> list[States]:
        """What is needed of a class that several texts mean: one prompt for all of them, or one for each,
        whose highest map counts."""
        ...

    def draw(self, seen: States, prompts: Sequence[States]) -> DrawnMaps:
        """The maps of one image and some prompts."""
        ...


def load_reader(folder: Path) -> Any:
    """The tokenizer of a checkpoint. Raises ModelError."""
    from transformers import AutoTokenizer

    try:
        return AutoTokenizer.from_pretrained(folder, local_files_only=True)
    except Exception as exc:  # the library's own code may fail in any way
        raise ModelError(f"cannot load the tokenizer of {folder}: {exc}") from exc


def mean_direction(embeddings_ND: Tensor) -> Tensor:
    """The mean [1, D] of embeddings that mean the same, as long as they are on average.

    So that of one is itself. A plain mean would be the shorter the less they agree.
    """
    if len(embeddings_ND) == 1:
        return embeddings_ND
    length = embeddings_ND.norm(dim=1).mean()
    mean_1D = embeddings_ND.mean(0, keepdim=True)
    scaled_1D: Tensor = mean_1D * (length / mean_1D.norm())
    return scaled_1D
