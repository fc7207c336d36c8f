"""Low-rank adapters (Hu et al. 2022) in the language model, by peft: the extra `lora`."""

from __future__ import annotations

from typing import Any

from batchseg.errors import ConfigError

# the attention's projections, as each family calls them
TARGETS = {
    "bert": ["query", "value"],
    "gpt2": ["c_attn"],
    "llama": ["q_proj", "v_proj"],
    "qwen2": ["q_proj", "v_proj"],
    "qwen3": ["q_proj", "v_proj"],
    "t5": ["q", "v"],
}


def add_lora(network: Any, rank: int) -> None:
    """Put adapters beside the attention of a segmentor's language model; they learn, the rest of it does not.

    Raises ConfigError where peft is not installed.
    """
    require_peft()
    from peft import LoraConfig, inject_adapter_in_model

    language_model = network.reader.language_model
    family = language_model.config.model_type
    adapters = LoraConfig(
        r=rank,
        lora_alpha=2 * rank,
        target_modules=TARGETS[family],
        fan_in_fan_out=family == "gpt2",  # its Conv1D keeps weights transposed
    )
    inject_adapter_in_model(adapters, language_model)


def merge_lora(network: Any) -> None:
    """Add the adapters to the weights they stand beside, and leave no trace of them."""
    from peft.tuners.lora import LoraLayer

    language_model = network.reader.language_model
    for name, module in list(language_model.named_modules()):
        if isinstance(module, LoraLayer):
            module.merge()
            parent, _, child = name.rpartition(".")
            setattr(language_model.get_submodule(parent), child, module.get_base_layer())


def require_peft() -> None:
    """Raises ConfigError."""
    try:
        import peft  # noqa: F401
    except ImportError as exc:
        raise ConfigError("model.mode lora needs peft: pip install 'batchseg[lora]'") from exc
