"""The LLM segmentor around small random language models of every kind."""

from __future__ import annotations

import copy
import re
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import (
    AutoModel,
    AutoModelForSemanticSegmentation,
    BertConfig,
    GPT2Config,
    LlamaConfig,
    Qwen2Config,
    SegformerImageProcessor,
    T5Config,
    T5EncoderModel,
)

from batchseg import load_segmentor
from batchseg.errors import ModelError
from batchseg.segmentors.llm.configuration_llmseg import LLMSegConfig
from batchseg.segmentors.llm.modeling_llmseg import LLMSemanticSegmentor

pytestmark = pytest.mark.filterwarnings("ignore")

SIDE = {
    "hidden_size": 32,
    "num_hidden_layers": 3,
    "num_attention_heads": 2,
    "intermediate_size": 48,
    "vocab_size": 20,
}
KINDS: dict[str, Any] = {
    "bert": BertConfig(**SIDE, max_position_embeddings=32),
    "gpt2": GPT2Config(n_embd=32, n_layer=3, n_head=2, n_positions=32, vocab_size=20),
    "llama": LlamaConfig(**SIDE, num_key_value_heads=2),
    "qwen2": Qwen2Config(**SIDE, num_key_value_heads=1),
    "t5": T5Config(d_model=32, d_kv=16, d_ff=48, num_layers=3, num_heads=2, vocab_size=20),
}
LAYER = r"^(encoder\.layer\.|encoder\.block\.|h\.|layers\.)(\d+)\."
CLASSES = {0: "background", 1: "disc", 2: "bar"}


def small(**settings: Any) -> LLMSegConfig:
    return LLMSegConfig(widths=[8, 16, 24, 32], decoder_width=32, id2label=CLASSES, **settings)


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("language")
    for name, config in KINDS.items():
        torch.manual_seed(1)
        model = T5EncoderModel(config) if name == "t5" else AutoModel.from_config(config)
        model.save_pretrained(folder / name)
    return folder


def make(
    checkpoints: Path, kind: str, layers: tuple[int, int] = (1, 2), **settings: Any
) -> LLMSemanticSegmentor:
    return LLMSemanticSegmentor.from_language_model(str(checkpoints / kind), small(**settings), layers)


@pytest.mark.parametrize("kind", KINDS)
def test_the_last_token_changes_the_first(checkpoints: Path, kind: str) -> None:
    reader = make(checkpoints, kind).eval().reader
    tokens, other = torch.randn(2, 1, 9, 32, generator=torch.Generator().manual_seed(2))
    other[:, :-1] = tokens[:, :-1]
    with torch.inference_mode():
        assert (reader.language(tokens) - reader.language(other))[:, 0].abs().max() > 1e-4


@pytest.mark.parametrize("kind", KINDS)
def test_the_slice_holds_the_source_s_own_layers(checkpoints: Path, kind: str) -> None:
    auto = T5EncoderModel if kind == "t5" else AutoModel
    source = auto.from_pretrained(checkpoints / kind).state_dict()
    taken = make(checkpoints, kind).reader.language_model.state_dict()
    one_later = partial(re.sub, LAYER, lambda found: f"{found[1]}{int(found[2]) + 1}.")  # of layers 1 and 2
    words = {key for key, value in source.items() if value.shape == (20, 32)}
    assert words
    for key, value in taken.items():
        if key in words:
            assert (source[key] == value).all(1).any()  # the one word that is kept
        else:
            # all layers of T5 use the positions of its first
            name = key if "relative_attention_bias" in key else one_later(key)
            assert source[name].equal(value), key


def test_shuffled_keeps_the_values_and_random_does_not(checkpoints: Path) -> None:
    folder = str(checkpoints / "bert")
    weights = {
        start: LLMSemanticSegmentor.from_language_model(folder, small(), (0, 0), start)
        .reader.language_model.encoder.layer[0].intermediate.dense.weight.detach()
        for start in ("pretrained", "shuffled", "random")
    }  # fmt: skip
    assert not weights["shuffled"].equal(weights["pretrained"])
    assert weights["shuffled"].flatten().sort()[0].equal(weights["pretrained"].flatten().sort()[0])
    assert not weights["random"].flatten().sort()[0].equal(weights["pretrained"].flatten().sort()[0])


def scenes() -> tuple[torch.Tensor, torch.Tensor]:
    """Two pictures of 64 x 64 with a disc and a bar, and their labels."""
    rows, columns = torch.meshgrid(torch.arange(64), torch.arange(64), indexing="ij")
    labels = torch.zeros(2, 64, 64, dtype=torch.long)
    for index, centre in enumerate((20, 44)):
        labels[index][(rows - centre) ** 2 + (columns - 24) ** 2 < 144] = 1
        labels[index][:, 48:60] = 2
    noise = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(3))
    return labels[:, None].float() - 1 + 0.1 * noise, labels


def overfit(model: LLMSemanticSegmentor, steps: int = 120) -> float:
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


@pytest.mark.parametrize("kind", [*KINDS, None])
def test_each_language_model_fits_one_batch(checkpoints: Path, kind: str | None) -> None:
    torch.manual_seed(0)
    model = make(checkpoints, kind) if kind else LLMSemanticSegmentor(small(language_width=32))
    before = {key: value.clone() for key, value in model.state_dict().items() if "language_model" in key}
    assert overfit(model) > 0.99
    assert all(model.state_dict()[key].equal(value) for key, value in before.items())  # frozen
    assert model.reader.outward.weight.abs().max() > 0  # its answer is used


@pytest.mark.parametrize(
    "settings",
    [
        {"decoder": "mlp"},
        {"decoder": "queries"},
        {"fusion": "replace"},
        {"trained": "norm_only"},
        {"trained": "full"},
        {"backbone": "resnet50"},
    ],
    ids=str,
)
def test_each_variant_fits_one_batch(checkpoints: Path, settings: dict[str, str]) -> None:
    steps = 40 if "backbone" in settings else 150
    assert overfit(make(checkpoints, "bert", **settings), steps) > 0.99


@pytest.mark.parametrize("kind", KINDS)
def test_a_checkpoint_holds_everything(checkpoints: Path, tmp_path: Path, kind: str) -> None:
    model = make(checkpoints, kind).eval()
    with torch.no_grad():
        for weight in model.parameters():
            weight.copy_(weight.half())
    copy.deepcopy(model).half().save_pretrained(tmp_path)
    again, info = AutoModelForSemanticSegmentation.from_pretrained(
        tmp_path, dtype=torch.float32, output_loading_info=True
    )
    assert not info["missing_keys"] and not info["unexpected_keys"]
    assert all(again.state_dict()[key].equal(value) for key, value in model.state_dict().items())
    pixels, _ = scenes()
    with torch.inference_mode():
        expected = model(pixel_values=pixels).logits
        assert again.eval()(pixel_values=pixels).logits.equal(expected)


def test_it_is_served_like_any_other(checkpoints: Path, tmp_path: Path) -> None:
    model = make(checkpoints, "bert").eval()
    torch.nn.init.normal_(model.decoder.classify.bias)
    model.save_pretrained(tmp_path)
    processor = SegformerImageProcessor(size={"height": 64, "width": 64})
    processor.save_pretrained(tmp_path)
    image = np.random.default_rng(0).integers(0, 256, (90, 120, 3), dtype=np.uint8)
    prepare, segmentor = load_segmentor(str(tmp_path), precision="fp32")
    (prediction,) = segmentor.segment([prepare(image)])
    with torch.inference_mode():
        output = model(**processor(image, return_tensors="pt"))
    (expected,) = processor.post_process_semantic_segmentation(output, [(90, 120)])
    assert (prediction.labels_HW == expected.numpy()).mean() >= 0.999


@pytest.mark.parametrize(
    ("name", "layers", "sentence"),
    [
        ("bert", (2, 3), "has layers 0 to 2, not 2 to 3"),
        ("nowhere", (0, 0), "cannot load the language model"),
    ],
)
def test_what_cannot_be_taken_says_why(
    checkpoints: Path, name: str, layers: tuple[int, int], sentence: str
) -> None:
    with pytest.raises(ModelError, match=sentence):
        make(checkpoints, name, layers)


def test_too_few_positions(checkpoints: Path) -> None:
    with pytest.raises(
        ValueError, match="gives 37 tokens with the prefix, and the language model has 32 positions"
    ):
        make(checkpoints, "bert")(pixel_values=torch.zeros(1, 3, 96, 96))
