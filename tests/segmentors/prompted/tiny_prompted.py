"""Small random checkpoints of every prompted family, saved as transformers saves them."""

from __future__ import annotations

import json
from pathlib import Path
from string import ascii_lowercase
from typing import Any

import torch
import transformers
from transformers import AutoConfig, AutoImageProcessor, CLIPTokenizer

from tests.segmentors.tiny_checkpoints import spread

FAMILIES = ("clipseg", "sam3", "sam3_lite_text", "groupvit")
SIDE = 64
NAMES = ("road", "car", "tree", "sky", "a red bus", "person", "grass")
LETTERS = [
    "<|startoftext|>",
    "<|endoftext|>",
    *ascii_lowercase,
    *(f"{letter}</w>" for letter in ascii_lowercase),
]
_TEXT = {
    "vocab_size": len(LETTERS),
    "hidden_size": 16,
    "intermediate_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "bos_token_id": 0,
    "eos_token_id": 1,
    "pad_token_id": 1,
}
_HEADS: dict[str, Any] = {
    "hidden_size": 16,
    "num_attention_heads": 2,
    "intermediate_size": 32,
    "num_layers": 1,
}
_SAM3: dict[str, Any] = {
    "vision_config": {
        "model_type": "sam3_vision_model",
        "fpn_hidden_size": 16,
        "backbone_config": {
            "model_type": "sam3_vit_model",
            "hidden_size": 16,
            "intermediate_size": 32,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "image_size": SIDE,
            "patch_size": 8,
            "window_size": 4,
            "global_attn_indexes": [1],
            "pretrain_image_size": 32,
        },
    },
    "geometry_encoder_config": _HEADS,
    "detr_encoder_config": _HEADS,
    "detr_decoder_config": {**_HEADS, "num_queries": 5},
    "mask_decoder_config": {
        "hidden_size": 16,
        "num_attention_heads": 2,
        "num_upsampling_stages": 2,
    },
}
CONFIGS: dict[str, dict[str, Any]] = {
    "clipseg": {
        "text_config": {**_TEXT, "max_position_embeddings": 40},
        "vision_config": {
            "hidden_size": 16,
            "intermediate_size": 32,
            "num_hidden_layers": 3,
            "num_attention_heads": 2,
            "image_size": 32,
            "patch_size": 8,
        },
        "projection_dim": 12,
        "extract_layers": [0, 1, 2],
        "reduce_dim": 8,
        "decoder_num_attention_heads": 2,
        "decoder_intermediate_size": 16,
    },
    "sam3": {
        **_SAM3,
        "text_config": {**_TEXT, "model_type": "clip_text_model", "max_position_embeddings": 32},
    },
    "sam3_lite_text": {
        **_SAM3,
        "text_config": {
            "vocab_size": len(LETTERS),
            "hidden_size": 16,
            "intermediate_size": 32,
            "projection_dim": 16,
            "num_hidden_layers": 3,
            "num_attention_heads": 2,
            "max_position_embeddings": 40,
        },
    },
    "groupvit": {
        "text_config": {**_TEXT, "max_position_embeddings": 40},
        "vision_config": {
            "hidden_size": 16,
            "intermediate_size": 32,
            "depths": [1, 1, 1],
            "num_hidden_layers": 3,
            "num_group_tokens": [8, 4, 0],
            "num_output_groups": [8, 4, 4],
            "num_attention_heads": 2,
            "image_size": SIDE,
            "patch_size": 8,
        },
        "projection_dim": 12,
        "projection_intermediate_dim": 16,
    },
}
NETWORKS: dict[str, Any] = {
    "clipseg": transformers.CLIPSegForImageSegmentation,
    "sam3": transformers.Sam3Model,
    "sam3_lite_text": transformers.Sam3LiteTextModel,
    "groupvit": transformers.GroupViTModel,
}
_PROCESSORS = {
    "clipseg": {"image_processor_type": "ViTImageProcessor", "size": {"height": SIDE, "width": SIDE}},
    "sam3": {"image_processor_type": "Sam3ImageProcessor", "size": {"height": SIDE, "width": SIDE}},
    "groupvit": {
        "image_processor_type": "CLIPImageProcessor",
        "size": {"shortest_edge": SIDE},
        "crop_size": {"height": SIDE, "width": SIDE},
    },
}


def build_prompted(family: str, folder: Path, seed: int = 2, **processor: Any) -> Path:
    """A checkpoint of a family, in `folder`: the network with random weights, processor and tokenizer."""
    torch.manual_seed(seed)
    network = NETWORKS[family](AutoConfig.for_model(family, **CONFIGS[family])).eval()
    spread(network)
    network.save_pretrained(folder)
    settings = {**_PROCESSORS.get(family, _PROCESSORS["sam3"]), **processor}
    (folder / "preprocessor_config.json").write_text(json.dumps(settings))
    AutoImageProcessor.from_pretrained(folder).save_pretrained(folder)
    tokenizer().save_pretrained(folder)
    return folder


def tokenizer() -> CLIPTokenizer:
    """CLIP's, with a token for every letter."""
    return CLIPTokenizer(vocab={word: index for index, word in enumerate(LETTERS)}, merges=[])
