"""Small random checkpoints of every family, saved as transformers saves them."""

from __future__ import annotations

import json
from pathlib import Path
from string import ascii_lowercase
from typing import Any

import torch
from transformers import (
    AutoConfig,
    AutoImageProcessor,
    AutoModelForSemanticSegmentation,
    AutoModelForUniversalSegmentation,
    AutoVideoProcessor,
    CLIPTokenizer,
)
from transformers.models.auto.modeling_auto import (
    MODEL_FOR_SEMANTIC_SEGMENTATION_MAPPING_NAMES,
    MODEL_FOR_UNIVERSAL_SEGMENTATION_MAPPING_NAMES,
)

FAMILIES = (*MODEL_FOR_SEMANTIC_SEGMENTATION_MAPPING_NAMES, *MODEL_FOR_UNIVERSAL_SEGMENTATION_MAPPING_NAMES)
CLASSES = 6  # neither it nor one more is a width of any layer

VIT: dict[str, Any] = {
    "hidden_size": 16,
    "num_hidden_layers": 4,
    "num_attention_heads": 2,
    "intermediate_size": 32,
    "image_size": 64,
    "patch_size": 16,
}
RESNET = {
    "model_type": "resnet",
    "embedding_size": 8,
    "hidden_sizes": [8, 8, 16, 16],
    "depths": [1, 1, 1, 1],
    "out_features": ["stage1", "stage2", "stage3", "stage4"],
}
SWIN = {
    "model_type": "swin",
    "image_size": 64,
    "embed_dim": 8,
    "depths": [1, 1, 1, 1],
    "num_heads": [1, 1, 2, 2],
    "window_size": 4,
    "out_features": ["stage1", "stage2", "stage3", "stage4"],
}
DETR = {
    "d_model": 32,
    "encoder_layers": 1,
    "decoder_layers": 1,
    "encoder_attention_heads": 8,
    "decoder_attention_heads": 8,
    "encoder_ffn_dim": 16,
    "decoder_ffn_dim": 16,
    "num_queries": 9,
}
MASK2FORMER = {
    "backbone_config": SWIN,
    "hidden_dim": 32,
    "encoder_feedforward_dim": 16,
    "dim_feedforward": 16,
    "encoder_layers": 1,
    "decoder_layers": 3,
    "num_attention_heads": 2,
    "num_queries": 9,
}
EOMT = {**VIT, "num_blocks": 2, "num_queries": 9, "num_upscale_blocks": 1}
UPER_HEAD = {"out_indices": [1, 2, 3, 4], "use_auxiliary_head": False}

CONFIGS: dict[str, dict[str, Any]] = {
    "beit": {**VIT, **UPER_HEAD, "out_features": None},
    "data2vec-vision": {**VIT, **UPER_HEAD},
    "dpt": {
        **VIT,
        "backbone_out_indices": [0, 1, 2, 3],
        "neck_hidden_sizes": [8, 8, 16, 16],
        "fusion_hidden_size": 8,
        "use_auxiliary_head": False,
    },
    "mobilenet_v2": {"depth_multiplier": 0.1, "output_stride": 8},
    "mobilevit": {
        "hidden_sizes": [8, 12, 16],
        "neck_hidden_sizes": [4, 4, 8, 8, 8, 16, 16],
        "num_attention_heads": 2,
        "aspp_out_channels": 8,
        "output_stride": 8,
    },
    "mobilevitv2": {
        "width_multiplier": 0.125,
        "base_attn_unit_dims": [64, 64, 64],
        "n_attn_blocks": [1, 1, 1],
        "aspp_out_channels": 8,
        "output_stride": 8,
    },
    "sapiens2": {
        **VIT,
        "num_key_value_attention_heads": 2,
        "num_key_value_heads_per_layer": [2, 2, 2, 2],
        "num_first_full_attention_layers": 4,
        "num_last_full_attention_layers": 0,
        "head_config": {"upsample_out_channels": [8], "conv_out_channels": [8]},
    },
    "segformer": {
        "hidden_sizes": [8, 8, 16, 16],
        "depths": [1, 1, 1, 1],
        "num_attention_heads": [1, 1, 2, 2],
        "decoder_hidden_size": 16,
    },
    "tipsv2_dpt": {
        "backbone_config": {
            "model_type": "tipsv2_vision_model",
            **VIT,
            "out_features": ["stage1", "stage2", "stage3", "stage4"],
            "reshape_hidden_states": False,
        },
        "neck_hidden_sizes": [8, 8, 16, 16],
        "fusion_hidden_size": 8,
    },
    "upernet": {"backbone_config": RESNET, "hidden_size": 16, "use_auxiliary_head": False},
    "detr": {**DETR, "backbone_config": SWIN},
    "eomt": EOMT,
    "eomt_dinov3": EOMT,
    "mask2former": {**MASK2FORMER, "feature_size": 32, "mask_feature_size": 32},
    "maskformer": {
        "backbone_config": SWIN,
        "decoder_config": {"model_type": "detr", **DETR},
        "fpn_feature_size": 32,
        "mask_feature_size": 32,
    },
    "oneformer": {
        **MASK2FORMER,
        "conv_dim": 32,
        "mask_dim": 32,
        "text_encoder_width": 32,
        "text_encoder_num_layers": 1,
        "text_encoder_vocab_size": 64,
        "task_seq_len": 24,
    },
    "videomt": EOMT,
}
SQUARE = {"height": 64, "width": 64}
ASPECT = {"size": {"shortest_edge": 64, "longest_edge": 96}}
PROCESSORS: dict[str, dict[str, Any]] = {
    "mobilenet_v2": {"size": {"shortest_edge": 72}, "crop_size": SQUARE},
    "mobilevit": {"size": {"shortest_edge": 72}, "crop_size": SQUARE},
    "mobilevitv2": {"size": {"shortest_edge": 72}, "crop_size": SQUARE},
    "sapiens2": {"size": {"height": 64, "width": 48}},
    "eomt": {"size": {"shortest_edge": 64, "longest_edge": None}, "do_split_image": True},
    "eomt_dinov3": {"size": {"shortest_edge": 64, "longest_edge": 64}, "do_pad": True},
    "detr": ASPECT,
    "mask2former": ASPECT,
    "maskformer": ASPECT,
    "oneformer": ASPECT,
}
SEEDS = {"detr": 0}  # with these more than one class wins


def build(family: str, folder: Path, classes: int = CLASSES, channels: int = 3, **processor: Any) -> Path:
    """A checkpoint of a family, in `folder`: the network with random weights, and its processor."""
    names = {index: f"class {index}" for index in range(classes)}
    content = {**CONFIGS[family], "id2label": names}
    if "backbone_config" in content:
        content["backbone_config"] = {**content["backbone_config"], "num_channels": channels}
    elif channels != 3:
        content["num_channels"] = channels
    config = AutoConfig.for_model(family, **content)
    torch.manual_seed(SEEDS.get(family, 2))
    universal = family in MODEL_FOR_UNIVERSAL_SEGMENTATION_MAPPING_NAMES
    auto = AutoModelForUniversalSegmentation if universal else AutoModelForSemanticSegmentation
    network = auto.from_config(config)
    spread(network)
    if family == "detr":
        _part_masks(network)
    _sharpen(network.eval(), family, classes + universal, channels)
    network.save_pretrained(folder)
    if channels != 3:
        processor = {**_normalising(channels), **processor}
    _processor(family, folder, **processor).save_pretrained(folder)
    if family == "oneformer":
        _tokenizer().save_pretrained(folder)
    return folder


def spread(network: torch.nn.Module) -> None:
    """Weights large enough that the answer depends on what goes in."""
    for module in network.modules():
        for parameter in module.parameters(recurse=False):
            if isinstance(module, torch.nn.Embedding):
                torch.nn.init.normal_(parameter)
            elif parameter.ndim > 1:
                torch.nn.init.normal_(parameter, std=2 * parameter[0].numel() ** -0.5)


@torch.no_grad()
def _part_masks(network: Any) -> None:
    """Let DETR's masks depend on the query: on its attention, and not on what all queries share."""
    for name, parameter in network.named_parameters():
        if name.endswith(("encoder_attn.q_proj.weight", "bbox_attention.q_proj.weight")):
            parameter *= 10
    network.mask_head.conv1.conv.weight[:, : -DETR["decoder_attention_heads"]] = 0
    network.mask_head.conv1.conv.weight *= 1000
    for name, parameter in network.mask_head.named_parameters():
        if "fpn_adapter" in name or name.endswith("conv.bias"):
            parameter.zero_()
    network.mask_head.output_conv.weight *= 5


@torch.no_grad()
def _sharpen(network: torch.nn.Module, family: str, outputs: int, channels: int = 3) -> None:
    """Centre and scale the logits of the head, so that every class wins somewhere."""
    head: Any
    *_, head = (
        module
        for module in network.modules()
        if outputs in (getattr(module, "out_channels", None), getattr(module, "out_features", None))
    )
    answers: list[torch.Tensor] = []
    hook = head.register_forward_hook(lambda _module, _inputs, output: answers.append(output))
    network(**_noise(family, channels))
    hook.remove()
    logits_CN = answers[-1].movedim(1 if isinstance(head, torch.nn.Conv2d) else -1, 0).flatten(1)
    scale = 5 / logits_CN.std(1).mean()
    head.weight *= scale
    head.bias.copy_((head.bias - logits_CN.mean(1)) * scale)


def _normalising(channels: int) -> dict[str, Any]:
    """A mean and a spread for each channel, all of them different."""
    each = range(channels)
    return {
        "image_mean": [0.4 + index / 50 for index in each],
        "image_std": [0.2 + index / 40 for index in each],
    }


def _noise(family: str, channels: int) -> dict[str, torch.Tensor]:
    pixels = torch.rand(2, channels, 8, 8).repeat_interleave(8, 2).repeat_interleave(8, 3)
    if family == "videomt":
        return {"pixel_values_videos": pixels[:, None]}
    return {"pixel_values": pixels, **({"task_inputs": torch.ones(2, 24)} if family == "oneformer" else {})}


def _processor(family: str, folder: Path, **more: Any) -> Any:
    video = family == "videomt"
    settings = json.dumps({**PROCESSORS.get(family, {"size": SQUARE}), **more})
    (folder / ("video_preprocessor_config.json" if video else "preprocessor_config.json")).write_text(
        settings
    )
    return (AutoVideoProcessor if video else AutoImageProcessor).from_pretrained(folder)


def _tokenizer() -> CLIPTokenizer:
    """CLIP's, with a word for every letter."""
    words = [
        "<|startoftext|>",
        "<|endoftext|>",
        *ascii_lowercase,
        *(f"{letter}</w>" for letter in ascii_lowercase),
    ]
    return CLIPTokenizer(vocab={word: index for index, word in enumerate(words)}, merges=[])
