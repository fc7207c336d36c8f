"""What an LLM segmentor owes its language branch: its masks without it, and where its attention goes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from batchseg.errors import ConfigError
from batchseg.segmentors.base import Segmentor

if TYPE_CHECKING:
    from torch import Tensor

    from batchseg.segmentors.llm.modeling_llmseg import TokenReader


def reader_of(segmentor: Segmentor) -> TokenReader | None:
    """The language branch of an LLM segmentor; None of other models.

    A prompted one may read pictures without a language model. Then it has none that could be off, for
    without its prompt it segments nothing.
    """
    network: Any = getattr(segmentor, "network", None)
    if getattr(getattr(network, "config", None), "model_type", None) != "llmseg":
        return None
    reader: TokenReader | None = getattr(network, "reader", None)
    is_prompted = network.config.head == "prompt"
    return None if reader is not None and is_prompted and reader.language_model is None else reader


def require_reader(segmentor: Segmentor, name: str) -> TokenReader:
    """The same. Raises ConfigError where a model has none."""
    reader = reader_of(segmentor)
    if reader is None:
        raise ConfigError(
            f"the method language: {name} has no language branch to switch off; take the method occlusion"
        )
    return reader


@contextmanager
def language_off(reader: TokenReader) -> Iterator[None]:
    """Whatever the branch says is zero. Of a branch without a language model nothing is switched off."""
    if reader.language_model is None:
        yield
        return
    import torch

    hook = reader.outward.register_forward_hook(lambda _module, _inputs, said: torch.zeros_like(said))
    try:
        yield
    finally:
        hook.remove()


class Attention:
    """The mean attention of a picture's tokens over all layers and heads, while it is watched."""

    def __init__(self) -> None:
        self.grid_hw = (0, 0)
        self.weights_NN: Tensor | None = None

    def of(self, region_HW: NDArray[np.bool_]) -> NDArray[np.float32] | None:
        """How the tokens of a region share their attention out among all tokens of the picture.

        At the size of the picture, each pixel with the value of its token, the largest of which is 1. What
        goes to the prefix is left out. None: there is no language model.

        Args:
            region_HW: at the size of the picture. A token counts by the share of its cell that lies in it.
        """
        if self.weights_NN is None:
            return None
        import torch
        from torch.nn.functional import adaptive_avg_pool2d, interpolate

        region = torch.from_numpy(region_HW)[None, None].float()
        shares_N = adaptive_avg_pool2d(region, self.grid_hw).flatten()
        drawn_hw = (shares_N @ self.weights_NN[1:, 1:]).view(1, 1, *self.grid_hw)
        drawn_HW = interpolate(drawn_hw, size=region_HW.shape, mode="nearest-exact")[0, 0]
        attention_HW: NDArray[np.float32] = (drawn_HW / drawn_HW.max()).numpy()
        return attention_HW


@contextmanager
def watched_attention(reader: TokenReader) -> Iterator[Attention]:
    """The attention of the last picture that the branch reads meanwhile, one at a time.

    Fused attention does not give its weights out, so it is computed step by step, which differs by rounding.
    """
    import torch

    found, model = Attention(), reader.language_model
    if model is None:
        yield found
        return

    def note_size(_module: Any, inputs: tuple[Any, ...]) -> None:
        found.grid_hw = tuple(inputs[0].shape[-2:])

    def ask(_module: Any, inputs: Any, named: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
        return inputs, {**named, "output_attentions": True}

    def note_weights(_module: Any, _inputs: Any, output: Any) -> None:
        layers = [weights_BHNN[0].float().mean(0) for weights_BHNN in output.attentions]
        found.weights_NN = torch.stack(layers).mean(0).cpu()

    before = model.config._attn_implementation
    model.set_attn_implementation("eager")
    hooks = (
        reader.register_forward_pre_hook(note_size),
        model.register_forward_pre_hook(ask, with_kwargs=True),
        model.register_forward_hook(note_weights),
    )
    try:
        yield found
    finally:
        for hook in hooks:
            hook.remove()
        model.set_attn_implementation(before)
