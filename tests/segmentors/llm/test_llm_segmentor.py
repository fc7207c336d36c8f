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
from language_models import KINDS, VOCABULARY, overfit, save_language_models, scenes
from transformers import (
    AutoModel,
    AutoModelForSemanticSegmentation,
    SegformerImageProcessor,
    T5EncoderModel,
)

from batchseg import load_segmentor
from batchseg.errors import ModelError
from batchseg.segmentors.llm.configuration_llmseg import LLMSegConfig
from batchseg.segmentors.llm.modeling_llmseg import LLMSemanticSegmentor

LAYER = r"^(encoder\.layer\.|encoder\.block\.|h\.|layers\.)(\d+)\."
CLASSES = {0: "background", 1: "disc", 2: "bar"}


def small(**settings: Any) -> LLMSegConfig:
    usual = {"widths": [8, 16, 24, 32], "decoder_width": 32}
    return LLMSegConfig(id2label=CLASSES, **{**usual, **settings})


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("language")
    save_language_models(folder)
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
    words = {key for key, value in source.items() if value.shape == (len(VOCABULARY), 32)}
    assert words
    for key, value in taken.items():
        if key in words:
            assert (source[key] == value).all(1).any()  # the one word that is kept
        else:
            # all layers of T5 use the positions of its first
            name = key if "relative_attention_bias" in key else one_later(key)
            assert source[name].equal(value), key


def test_a_new_one_begins_as_if_there_were_no_language_model(checkpoints: Path) -> None:
    features_BCHW = torch.randn(2, small().widths[-1], 3, 5, generator=torch.Generator().manual_seed(0))
    assert make(checkpoints, "bert").reader(features_BCHW).equal(features_BCHW)
    assert not make(checkpoints, "bert", fusion="replace").reader(features_BCHW).equal(features_BCHW)


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
        {"decoder_width": 50},  # which cannot be parted into groups of 16
        {"fusion": "replace"},
        {"trained": "norm_only"},
        {"trained": "full"},
        pytest.param({"backbone": "resnet50"}, marks=pytest.mark.slow),
    ],
    ids=str,
)
def test_each_variant_fits_one_batch(checkpoints: Path, settings: dict[str, Any]) -> None:
    steps = 40 if "backbone" in settings else 150
    assert overfit(make(checkpoints, "bert", **settings), steps) > 0.99


@pytest.mark.parametrize(("trained", "learning"), [("frozen", 0.0), ("norm_only", None), ("full", 1.0)])
def test_what_learns_is_the_same_after_reloading(
    checkpoints: Path, tmp_path: Path, trained: str, learning: float | None
) -> None:
    model = make(checkpoints, "bert", trained=trained)
    model.save_pretrained(tmp_path)
    again = AutoModelForSemanticSegmentation.from_pretrained(tmp_path)
    before, after = (
        {name: weight.requires_grad for name, weight in each.named_parameters()} for each in (model, again)
    )
    assert before == after
    language = [learns for name, learns in after.items() if "language_model" in name]
    share = sum(language) / len(language)
    assert share == learning if learning is not None else 0 < share < 1


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
