"""The LLM segmentor as a model of transformers. Importing this module registers it with the auto classes.

pixels ──> pyramid ──> tokens ──> language model ──> (+) ──> decoder ──> [ text or prompt head ] ──> logits
              └─────────────── skips ────────────────────────┘           class names, or states of a prompt
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AutoConfig, AutoModelForSemanticSegmentation, PreTrainedModel
from transformers.modeling_outputs import ModelOutput, SemanticSegmenterOutput

from batchseg.segmentors.llm.backbone import RESNET50_WIDTHS, ResNet50, Small
from batchseg.segmentors.llm.configuration_llmseg import LLMSegConfig
from batchseg.segmentors.llm.decoders import DECODERS, Queries
from batchseg.segmentors.llm.head import TextHead
from batchseg.segmentors.llm.language import build_language_model, positions, take_layers
from batchseg.segmentors.llm.names import LANGUAGE_MODEL, unknown
from batchseg.segmentors.llm.places import at_places, in_bands
from batchseg.segmentors.llm.prompt_head import PromptHead
from batchseg.segmentors.llm.text import TextModel


@dataclass
class PromptOutput(ModelOutput):  # type: ignore[misc]
    """What a prompt head says of images with a prompt each.

    Attributes:
        logits: [B, H, W], above 0 where something is that the prompt means.
        presence: logits [B], above 0 where there is any such thing.
    """

    logits: Tensor | None = None
    presence: Tensor | None = None


class LLMSemanticSegmentor(PreTrainedModel):  # type: ignore[misc]
    """Semantic segmentation with a slice of a language model between the features and their decoder."""

    config_class = LLMSegConfig
    main_input_name = "pixel_values"
    _supports_sdpa = True

    def __init__(self, config: LLMSegConfig) -> None:
        super().__init__(config)
        self.backbone: ResNet50 | Small
        channels: tuple[int, ...] = RESNET50_WIDTHS
        if config.backbone == "resnet50":
            self.backbone = ResNet50()
        else:
            self.backbone = Small(config.widths, config.finest, config.num_channels)
            channels = tuple(config.widths[-self.backbone.maps :])
        self.reader = TokenReader(config, channels[-1])
        width = config.decoder_width
        maps = config.num_labels if config.head == "closed" else width
        self.decoder = DECODERS[config.decoder](channels, width, maps)
        self.head: TextHead | PromptHead | None = None
        if config.head == "text":
            self.head = TextHead(_names(config), config.language_width, width)
        elif config.head == "prompt":
            self.head = PromptHead(width, config.prompt_width, width, config.prompt_noise)
        self.post_init()
        self._start()

    def _start(self) -> None:
        """What new weights are beyond `_init_weights`, which transformers calls for some modules alone."""
        if self.config.fusion == "residual":
            nn.init.zeros_(self.reader.outward.weight)  # as if there were no language model
            nn.init.zeros_(self.reader.outward.bias)
        if isinstance(self.head, PromptHead):
            self.head.start()

    @classmethod
    def from_language_model(
        cls,
        name: str,
        config: LLMSegConfig,
        layers: tuple[int, int] | None = None,
        seed: int = 0,
    ) -> LLMSemanticSegmentor:
        """A new segmentor around layers `layers[0]` to `layers[1]`, or all, of a pretrained language model.

        Args:
            name: folder or hub name of a BERT, GPT-2, Llama, Qwen or T5 checkpoint.
            config: everything but the language model, which is filled in.
            seed: of all weights that are new.

        Raises:
            ModelError: the language model cannot be had, or lacks the layers.
        """
        language_model, rms = take_layers(name, layers)
        config.language_model, config.embedding_rms = language_model.config, rms
        config.language_width = language_model.config.hidden_size
        torch.manual_seed(seed)
        model = cls(config)
        assert model.reader.language_model is not None
        model.reader.language_model.load_state_dict(language_model.state_dict())
        return model

    @classmethod
    def from_pretrained(cls, *args: Any, **kwargs: Any) -> Any:
        """As in transformers, which makes all parameters anew, able to learn: what was frozen is so again."""
        loaded = super().from_pretrained(*args, **kwargs)
        model = loaded[0] if isinstance(loaded, tuple) else loaded
        if model.reader.language_model is not None:
            _freeze(model.reader.language_model, model.config.trained)
        return loaded

    def read_classes(self, text: TextModel, phrases: Sequence[tuple[str, ...]]) -> None:
        """Let a language model read the names of the classes, for a new text head.

        Args:
            phrases: of each class, its name and its synonyms.

        Raises:
            ModelError: it cannot tell two classes apart.
        """
        assert isinstance(self.head, TextHead)
        centre_D = text.centre(self.config.prompts)
        self.head.fill(text.embed(phrases, self.config.prompts, centre_D), centre_D)

    def take_classes(self, names: Sequence[str], folder: Path) -> None:
        """Tell other classes apart: names that are new to the text head are read by the model in `folder`.

        Raises ModelError where it cannot be loaded, or cannot tell two names apart.
        """
        assert isinstance(self.head, TextHead)
        new, read = unknown(self.head.names, names), {}
        if new:
            text = TextModel.load(str(folder / LANGUAGE_MODEL))
            rows = text.embed([(name,) for name in new], self.config.prompts, self.head.centre.cpu())
            read = dict(zip(new, rows, strict=True))
        self.head = self.head.renamed(names, read)
        self.config.id2label = dict(enumerate(names))
        self.config.label2id = {name: index for index, name in enumerate(names)}

    def train(self, mode: bool = True) -> LLMSemanticSegmentor:
        """The frozen part stays in eval mode: its dropout would only add noise that nothing learns from."""
        super().train(mode)
        if self.reader.language_model is not None and self.config.trained == "frozen":
            self.reader.language_model.eval()
        return self

    def see(self, pixel_values: Tensor) -> Tensor:
        """What the decoder says of normalised pixels [B, N, H, W]: logits, or embeddings that a head reads.

        Raises ValueError for too many tokens.
        """
        maps = self.backbone(pixel_values)
        maps[-1] = self.reader(maps[-1])
        seen: Tensor = self.decoder(maps)
        return seen

    def ask(
        self, seen: Tensor, states: Tensor, is_word: Tensor, size: Sequence[int] | None = None
    ) -> tuple[Tensor, Tensor]:
        """What a prompt head finds in embeddings [B, D, h, w]: logits [B, h, w], and of the presence [B].

        Args:
            states, is_word: token states [B, L, E] of a prompt an image, and which of them are no padding.
            size: height and width of the logits. The embeddings are enlarged bilinearly, as they are read
                at points in training: logits that were enlarged would have blunter edges.
        """
        assert isinstance(self.head, PromptHead)
        bands = [seen] if size is None else in_bands(seen, *size)
        logits_BHW, presence_B = self.head.over(bands, states, is_word)
        return logits_BHW / self.config.temperature, presence_B

    def forward(
        self,
        pixel_values: Tensor,
        states: Tensor | None = None,
        is_word: Tensor | None = None,
        places: Sequence[Tensor] | None = None,
        **_: Any,
    ) -> SemanticSegmenterOutput | PromptOutput:
        """Logits [B, C, h, w] of normalised pixels [B, N, H, W]; with a prompt head [B, H, W], see `ask`.

        Args:
            states, is_word: of a prompt an image; with `places` of all prompts of one image after another.
            places: of each image, x and y from -1 to 1 of some points for each of its prompts, [K, P, 2];
                then the logits are those at the points, [R, 1, P].

        Raises ValueError for too many tokens.
        """
        seen = self.see(pixel_values)
        if states is not None and is_word is not None:
            if places is None:
                logits_BHW, presence_B = self.ask(seen, states, is_word, pixel_values.shape[-2:])
            else:
                logits_BHW, presence_B = self.ask(at_places(seen, places), states, is_word)
            return PromptOutput(logits=logits_BHW, presence=presence_B)
        logits = seen if self.head is None else self.head(seen)
        return SemanticSegmenterOutput(logits=logits / self.config.temperature)

    def _init_weights(self, module: nn.Module) -> None:
        super()._init_weights(module)
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
            if module.bias is not None:
                nn.init.zeros_(module.bias)
        if isinstance(module, Queries):
            nn.init.normal_(module.queries)
        if isinstance(module, TextHead):
            module.start()


class TokenReader(nn.Module):
    """The features of stride 16 as tokens, through the language model, and back."""

    def __init__(self, config: LLMSegConfig, channels: int) -> None:
        super().__init__()
        self.rms, self.fusion = config.embedding_rms, config.fusion
        self.into = nn.Sequential(nn.LayerNorm(channels), nn.Linear(channels, config.language_width))
        self.normalise = nn.LayerNorm(config.language_width, elementwise_affine=False)
        self.back = nn.LayerNorm(config.language_width)
        self.outward = nn.Linear(config.language_width, channels)
        self.language_model = (
            build_language_model(config.language_model) if config.language_model is not None else None
        )
        if self.language_model is not None:
            _freeze(self.language_model, config.trained)
        # T5 has one table under two names, of which a file holds one: transformers asks children for such
        tied = getattr(self.language_model, "all_tied_weights_keys", {})
        self.all_tied_weights_keys = {
            f"language_model.{one}": f"language_model.{other}" for one, other in tied.items()
        }

    def forward(self, features_BCHW: Tensor) -> Tensor:
        height, width = features_BCHW.shape[-2:]
        tokens_BNC = features_BCHW.flatten(2).transpose(1, 2)
        tokens_BNC = tokens_BNC + sin_cos(height, width, tokens_BNC.shape[-1]).to(tokens_BNC)
        # GPT-2, Llama and T5 do not normalise what they read: it has to look like their own words
        read_BND = self.language(self.normalise(self.into(tokens_BNC)) * self.rms)
        said_BCHW = self.outward(self.back(read_BND)).transpose(1, 2).unflatten(2, (height, width))
        fused_BCHW: Tensor = features_BCHW + said_BCHW if self.fusion == "residual" else said_BCHW
        return fused_BCHW

    def language(self, tokens_BND: Tensor) -> Tensor:
        """What the language model makes of tokens [B, N, D], after a prefix that serves as attention sink."""
        if self.language_model is None:
            return tokens_BND
        room, count = positions(self.language_model.config), tokens_BND.shape[1] + 1
        if room is not None and count > room:
            raise ValueError(
                f"the image gives {count} tokens with the prefix, and the language model has {room} "
                "positions; use a smaller input"
            )
        prefix_1D = self.language_model.get_input_embeddings().weight[:1]
        tokens_BND = torch.cat([prefix_1D.expand(len(tokens_BND), 1, -1).to(tokens_BND), tokens_BND], 1)
        out_BND: Tensor = self.language_model(inputs_embeds=tokens_BND).last_hidden_state
        return out_BND[:, 1:]


def sin_cos(height: int, width: int, channels: int) -> Tensor:
    """2-D positions [H * W, C]: sines and cosines of the row in one half, of the column in the other."""
    rates = 10_000 ** -(torch.arange(channels // 4) / (channels // 4))
    rows, columns = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    angles = [place.flatten()[:, None] * rates for place in (rows, columns)]
    waves = [wave for angle in angles for wave in (angle.sin(), angle.cos())]
    return nn.functional.pad(torch.cat(waves, 1), (0, channels - 4 * (channels // 4)))


def _names(config: LLMSegConfig) -> list[str]:
    return [config.id2label[index] for index in range(config.num_labels)]


def _freeze(language_model: nn.Module, trained: str) -> None:
    language_model.requires_grad_(trained == "full")
    if trained == "norm_only":
        for module in language_model.modules():
            if "norm" in type(module).__name__.lower():
                module.requires_grad_(True)


AutoConfig.register("llmseg", LLMSegConfig, exist_ok=True)
AutoModelForSemanticSegmentation.register(LLMSegConfig, LLMSemanticSegmentor, exist_ok=True)
