"""Small random language models with their tokenizers, and a picture to learn by heart."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import torch
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace
from tokenizers.processors import TemplateProcessing
from transformers import (
    AutoModel,
    BertConfig,
    GPT2Config,
    LlamaConfig,
    PreTrainedTokenizerFast,
    Qwen2Config,
    T5Config,
    T5EncoderModel,
)

from batchseg.schema import SPLIT

TEXT = "a photo of the disc bar round road person traffic light sky tree one two three dog cat"
WORDS = TEXT.split()
SPECIAL = ["[UNK]", "[CLS]", "[SEP]"]
VOCABULARY = {word: index for index, word in enumerate([*SPECIAL, *WORDS])}

SIDE = {
    "hidden_size": 32,
    "num_hidden_layers": 3,
    "num_attention_heads": 2,
    "intermediate_size": 48,
    "vocab_size": len(VOCABULARY),
}
KINDS: dict[str, Any] = {
    "bert": BertConfig(**SIDE, max_position_embeddings=32),
    "gpt2": GPT2Config(n_embd=32, n_layer=3, n_head=2, n_positions=32, vocab_size=len(VOCABULARY)),
    "llama": LlamaConfig(**SIDE, num_key_value_heads=2),
    "qwen2": Qwen2Config(**SIDE, num_key_value_heads=1),
    "t5": T5Config(d_model=32, d_kv=16, d_ff=48, num_layers=3, num_heads=2, vocab_size=len(VOCABULARY)),
}


def save_language_models(folder: Path) -> None:
    """One folder for each of KINDS."""
    for kind, config in KINDS.items():
        torch.manual_seed(1)
        model = T5EncoderModel(config) if kind == "t5" else AutoModel.from_config(config)
        with torch.no_grad():  # larger than at birth, so that words are told apart
            model.get_input_embeddings().weight.normal_()
        model.save_pretrained(folder / kind)
        tokenizer(framed=kind in ("bert", "t5")).save_pretrained(folder / kind)


def tokenizer(framed: bool) -> PreTrainedTokenizerFast:
    """One token a word; `framed` between two special ones."""
    inner = Tokenizer(WordLevel(VOCABULARY, unk_token="[UNK]"))
    inner.pre_tokenizer = Whitespace()
    if framed:
        inner.post_processor = TemplateProcessing(
            single="[CLS] $A [SEP]", special_tokens=[(name, VOCABULARY[name]) for name in ("[CLS]", "[SEP]")]
        )
    return PreTrainedTokenizerFast(
        tokenizer_object=inner, unk_token="[UNK]", cls_token="[CLS]", sep_token="[SEP]"
    )


def scenes() -> tuple[torch.Tensor, torch.Tensor]:
    """Two pictures of 64 x 64 with a disc and a bar, and their labels."""
    rows, columns = torch.meshgrid(torch.arange(64), torch.arange(64), indexing="ij")
    labels = torch.zeros(2, 64, 64, dtype=torch.long)
    for index, centre in enumerate((20, 44)):
        labels[index][(rows - centre) ** 2 + (columns - 24) ** 2 < 144] = 1
        labels[index][:, 48:60] = 2
    noise = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(3))
    return labels[:, None].float() - 1 + 0.1 * noise, labels


def overfit(model: Any, steps: int = 120) -> float:
    """Pixel accuracy after so many steps on one batch, at the logits' resolution."""
    pixels, labels = scenes()
    optimiser = torch.optim.AdamW((each for each in model.parameters() if each.requires_grad), lr=5e-3)
    model.train()
    for _ in range(steps):
        logits = model(pixel_values=pixels).logits
        step = 64 // logits.shape[-1]
        truth = labels[:, step // 2 :: step, step // 2 :: step]
        loss = torch.nn.functional.cross_entropy(logits, truth)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    return float((logits.argmax(1) == truth).float().mean())


def split_file(folder: Path) -> Path:
    """Of a training without images, as an export takes it along."""
    path = folder / "split.parquet"
    pq.write_table(SPLIT.empty_table(), path)
    return path
