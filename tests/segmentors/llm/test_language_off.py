"""The language branch switched off, and its attention, for every family of language models."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from language_models import KINDS, save_language_models

from batchseg.segmentors.attribution.language import language_off, reader_of, watched_attention
from batchseg.segmentors.llm.configuration_llmseg import LLMSegConfig
from batchseg.segmentors.llm.modeling_llmseg import LLMSemanticSegmentor

PIXELS = torch.randn(1, 3, 64, 80, generator=torch.Generator().manual_seed(4))


def small(**settings: Any) -> LLMSegConfig:
    names = {0: "background", 1: "disc", 2: "bar"}
    return LLMSegConfig(widths=[8, 16, 24, 32], decoder_width=32, id2label=names, **settings)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("language")
    save_language_models(made)
    return made


def speaking(folder: Path, kind: str, **settings: Any) -> LLMSemanticSegmentor:
    """A segmentor whose branch says something, which a new one does not."""
    model = LLMSemanticSegmentor.from_language_model(str(folder / kind), small(**settings), (1, 2)).eval()
    torch.nn.init.normal_(model.reader.outward.weight, std=0.5)
    return model


def logits(model: LLMSemanticSegmentor) -> torch.Tensor:
    with torch.inference_mode():
        found: torch.Tensor = model(PIXELS).logits
    return found


@pytest.mark.parametrize("fusion", ["residual", "replace"])
def test_off_is_a_branch_whose_way_back_is_zero(folder: Path, fusion: str) -> None:
    model = speaking(folder, "bert", fusion=fusion)
    before, silent = logits(model), copy.deepcopy(model)
    torch.nn.init.zeros_(silent.reader.outward.weight)
    torch.nn.init.zeros_(silent.reader.outward.bias)
    with language_off(model.reader):
        off = logits(model)
    assert torch.equal(off, logits(silent))
    assert not torch.equal(off, before)
    assert torch.equal(logits(model), before)


def test_nothing_changes_without_a_language_model_or_where_its_way_back_is_zero(folder: Path) -> None:
    torch.manual_seed(0)
    without = LLMSemanticSegmentor(small(language_model=None)).eval()
    torch.nn.init.normal_(without.reader.outward.weight)
    new = LLMSemanticSegmentor.from_language_model(str(folder / "gpt2"), small(), (1, 2)).eval()
    torch.nn.init.zeros_(new.reader.outward.weight)
    torch.nn.init.zeros_(new.reader.outward.bias)
    for model in (without, new):
        before = logits(model)
        with language_off(model.reader):
            assert torch.equal(logits(model), before)
    with watched_attention(without.reader) as attention:
        logits(without)
    assert attention.of(np.ones((64, 80), bool)) is None


@pytest.mark.parametrize("kind", KINDS)
def test_attention_is_that_of_the_language_model_itself(folder: Path, kind: str) -> None:
    model = speaking(folder, kind)
    before, read = logits(model), []
    hook = model.reader.language_model.register_forward_pre_hook(
        lambda _module, _inputs, named: read.append(named["inputs_embeds"]), with_kwargs=True
    )
    with watched_attention(model.reader) as attention:
        torch.testing.assert_close(logits(model), before, atol=1e-4, rtol=1e-4)
    hook.remove()
    assert torch.equal(logits(model), before)

    eager = copy.deepcopy(model.reader.language_model)
    eager.set_attn_implementation("eager")
    with torch.inference_mode():
        layers = eager(inputs_embeds=read[0], output_attentions=True).attentions
    weights = torch.stack(layers).mean((0, 2))[0]
    assert (weights.triu(1).sum() > 0.1).item()  # it looks ahead, too

    where = np.zeros((64, 80), bool)
    where[:16, 16:48] = True  # the second and third of 4 x 5 tokens
    drawn = attention.of(where)
    assert drawn is not None
    expected = weights[[2, 3], 1:].sum(0).view(4, 5)
    np.testing.assert_allclose(drawn[8::16, 8::16], expected / expected.max(), rtol=1e-4)
    assert drawn.shape == where.shape


def test_other_models_have_no_branch() -> None:
    assert reader_of(object()) is None  # type: ignore[arg-type]
