"""A slice of a pretrained language model that reads any sequence of vectors, in both directions."""

from __future__ import annotations

import copy
import os
import re
from collections.abc import Collection
from typing import Any

import torch
from torch import Tensor

from batchseg.errors import ModelError

# where each family keeps its layers
LAYERS = {
    "bert": "encoder.layer",
    "gpt2": "h",
    "llama": "layers",
    "qwen2": "layers",
    "qwen3": "layers",
    "t5": "encoder.block",
}
# what reads texts as a whole, besides: nothing is cut out of these
READERS = (
    *LAYERS,
    "albert",
    "deberta-v2",
    "distilbert",
    "electra",
    "modernbert",
    "mpnet",
    "roberta",
    "xlm-roberta",
)
_WITHOUT_POOLER = ("albert", "bert", "mpnet", "roberta", "xlm-roberta")
_T5_POSITIONS = "encoder.block.0.layer.0.SelfAttention.relative_attention_bias.weight"  # all layers use it


def build_language_model(config: Any) -> Any:
    """An empty language model whose layers see the whole sequence.

    A decoder is causal by its mask and by a flag of its attention: both are switched off.
    """
    model = _new(config)
    for module in model.modules():
        if hasattr(module, "is_causal"):
            module.is_causal = False
    return model


def _new(config: Any) -> Any:
    from transformers import AutoModel, BertModel, T5EncoderModel

    config.is_causal, config.use_cache = False, False
    if config.model_type == "bert":
        return BertModel(config, add_pooling_layer=False)
    return T5EncoderModel(config) if config.model_type == "t5" else AutoModel.from_config(config)


def positions(config: Any) -> int | None:
    """How many tokens it can read; None where any."""
    absolute = config.model_type in ("bert", "gpt2")
    return int(config.max_position_embeddings) if absolute else None


def take_layers(name: str, layers: tuple[int, int] | None = None) -> tuple[Any, float]:
    """Some layers of a checkpoint, and the root mean square of its word embeddings.

    Of the vocabulary only the CLS or BOS token is kept, as the one row of the input embeddings.

    Args:
        name: a folder or a name on the hub.
        layers: the first and the last, both included, from 0; None for all.

    Raises:
        ModelError: there is no such checkpoint, its family is not known here, or it has fewer layers.
    """
    whole = load_language_model(name)
    config = copy.deepcopy(whole.config)
    first, last = layers or (0, config.num_hidden_layers - 1)
    if not 0 <= first <= last < config.num_hidden_layers:
        raise ModelError(f"{name} has layers 0 to {config.num_hidden_layers - 1}, not {first} to {last}")
    words = whole.get_input_embeddings().weight.detach()
    state = dict(_sliced(whole.state_dict(), config.model_type, first, last))
    prefix = words[_prefix_id(name, config)][None].clone()
    state = {
        key: prefix if value.shape == words.shape and value.equal(words) else value
        for key, value in state.items()
    }
    config.num_hidden_layers, config.vocab_size = last - first + 1, 1
    config.name_or_path = ""  # a folder of this machine means nothing on the next
    if getattr(config, "layer_types", None):
        config.layer_types = config.layer_types[first : last + 1]
    for token in ("pad_token_id", "bos_token_id", "eos_token_id"):
        setattr(config, token, 0)
    model = build_language_model(config)
    model.load_state_dict(state)
    return model, float(words.square().mean().sqrt())


def load_language_model(name: str, families: Collection[str] = LAYERS) -> Any:
    """The whole of a checkpoint, in float32. Raises ModelError, also where its family is none of these."""
    from transformers import AutoConfig, AutoModel, T5EncoderModel
    from transformers.utils import logging

    logging.disable_progress_bar()
    logging.set_verbosity_error()  # weights of other heads than are used are no news
    try:
        family = AutoConfig.from_pretrained(name).model_type
        if family not in families:
            raise ModelError(f"{name} is a {family} model; language models known here: {', '.join(families)}")
        auto = T5EncoderModel if family == "t5" else AutoModel
        extra = {"add_pooling_layer": False} if family in _WITHOUT_POOLER else {}
        model, info = auto.from_pretrained(
            name, dtype=torch.float32, use_safetensors=True, output_loading_info=True, **extra
        )
    except (OSError, ValueError) as exc:
        raise ModelError(f"cannot load the language model {name}: {reason_of(name, exc)}") from exc
    if missing := sorted(info["missing_keys"]):  # transformers would fill them with random numbers
        raise ModelError(
            f"the language model {name} lacks {len(missing)} of its weights, {missing[0]} among them: it was "
            "not saved whole"
        )
    return model


def reason_of(name: str, exc: Exception) -> str:
    """Why a checkpoint cannot be loaded, in one line: transformers takes the path of a folder that is not
    there for a bad name on the hub."""
    is_path = name.startswith((".", "~", os.sep)) or name.count("/") > 1
    if is_path and not os.path.isdir(name):
        return "there is no such folder"
    return next((line.strip() for line in str(exc).splitlines() if line.strip()), type(exc).__name__)


def _sliced(state: dict[str, Tensor], family: str, first: int, last: int) -> Any:
    layer = re.compile(re.escape(LAYERS[family]) + r"\.(\d+)\.(.*)")
    for key, value in state.items():
        found = layer.fullmatch(key)
        if key == _T5_POSITIONS or not found:
            yield key, value
        elif first <= int(found[1]) <= last:
            yield f"{LAYERS[family]}.{int(found[1]) - first}.{found[2]}", value


def load_tokenizer(name: str) -> Any | None:
    """The tokenizer of a checkpoint; None where it has none."""
    from transformers import AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(name)
    except (OSError, ValueError):
        return None
    # where the files are missing, transformers may make one that knows no word
    return tokenizer if len(tokenizer) > len(set(tokenizer.all_special_ids)) else None


def _prefix_id(name: str, config: Any) -> int:
    tokenizer = load_tokenizer(name) or config
    known = [getattr(tokenizer, token, None) for token in ("cls_token_id", "bos_token_id")]
    return next((int(token) for token in known if token is not None and token < config.vocab_size), 0)
