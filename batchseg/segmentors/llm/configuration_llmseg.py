"""The configuration of the LLM segmentor, as Hugging Face keeps it."""

from __future__ import annotations

from typing import Any, Literal

from huggingface_hub.dataclasses import strict
from transformers import AutoConfig, PreTrainedConfig


@strict
class LLMSegConfig(PreTrainedConfig):  # type: ignore[misc]
    """What an LLM segmentor is made of.

    Attributes:
        num_channels: of the images; other than 3 with the small backbone alone.
        backbone: `small` (four strided stages of `widths` channels) or `resnet50` (torchvision, to layer3).
        language_model: the configuration of the slice of layers; None has its two projections alone.
        embedding_rms: root mean square of the pretrained word embeddings; the tokens are scaled to it.
        fusion: what the language model says is added to the features, or replaces them.
        decoder: `fpn` with the skips of strides 8 and 4, `mlp`, or `queries` that attend to the tokens.
        finest: stride of the finest features that the decoder sees: 4, or 2.
        head: `closed` (a convolution), `text` (the cosine with class names, read by the language model) or
            `prompt` (attends to the words of a prompt of each image's own).
        prompts: sentences in which the names were read, `{}` in place of the name.
        trained: which weights of the language model learn: none, its norms, or all.
        temperature: what logits are divided by, fitted on validation.
        prompt_layer: of a prompt head: after which layer of the language model the states of the words are
            taken, from 1.
        prompt_width: of these states.
        prompt_positions: how many tokens that language model reads; None where any number.
        prompt_noise: standard deviations of the noise on the states while the head learns.
    """

    model_type = "llmseg"
    sub_configs = {"language_model": AutoConfig}  # noqa: RUF012

    num_channels: int = 3
    backbone: Literal["small", "resnet50"] = "small"
    widths: list[int] | tuple[int, ...] = (32, 64, 128, 256)
    language_model: dict[str, Any] | PreTrainedConfig | None = None
    language_width: int = 384
    embedding_rms: float = 1.0
    fusion: Literal["residual", "replace"] = "residual"
    decoder: Literal["fpn", "mlp", "queries"] = "fpn"
    decoder_width: int = 128
    finest: int = 4
    head: Literal["closed", "text", "prompt"] = "closed"
    prompts: list[str] | tuple[str, ...] = ("{}",)
    trained: Literal["frozen", "norm_only", "full"] = "frozen"
    temperature: float = 1.0
    prompt_layer: int = 0
    prompt_width: int = 0
    prompt_positions: int | None = None
    prompt_noise: float = 0.0

    def __post_init__(self, **kwargs: Any) -> None:
        if isinstance(self.language_model, dict):
            self.language_model = AutoConfig.for_model(**self.language_model)
        super().__post_init__(**kwargs)
