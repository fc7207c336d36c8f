"""The prompt head, its language model, and a checkpoint that brings both."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from segmentors.llm.language_models import save_language_models
from torch import Tensor
from torch.nn import functional
from transformers import AutoModel, AutoTokenizer

from batchseg.config.looks import Views
from batchseg.config.segmentor import HuggingFaceSegmentor
from batchseg.config.train import NewModel, TrainConfig
from batchseg.errors import ModelError
from batchseg.pipeline.findings import Case, find
from batchseg.segmentors.attribution.asked import Asked
from batchseg.segmentors.attribution.language import reader_of
from batchseg.segmentors.attribution.target import ClassTarget
from batchseg.segmentors.combined.decision import Decision
from batchseg.segmentors.combined.looks import Looks, Picture
from batchseg.segmentors.llm.configuration_llmseg import LLMSegConfig
from batchseg.segmentors.llm.modeling_llmseg import LLMSemanticSegmentor
from batchseg.segmentors.llm.prompt_head import PromptHead
from batchseg.segmentors.llm.text import TextModel
from batchseg.segmentors.llm.token_states import PromptReader, middle_layer
from batchseg.segmentors.registry import load_segmentor, open_checkpoint
from batchseg.training.start import write_start

PROMPTS = ("the road", "a photo of the round disc", "bar", "two dog")
SIDE = 64


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("language")
    save_language_models(folder)
    return folder


def new(models: Path, folder: Path, **model: Any) -> Path:
    """A checkpoint with a prompt head, before the first step."""
    small = {"widths": [8, 16, 24, 32], "decoder_width": 16, "size": SIDE, "head": "prompt", "mode": "none"}
    config = TrainConfig(
        source="list.parquet",
        output="out",
        model={**small, "language_model": str(models / "bert"), **model},
        seed=4,
    )
    write_start(config, folder)
    return folder


def scene(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (SIDE, SIDE, 3), np.uint8)


# --- the head ---


def attended(block: Any, pixels_ND: Tensor, tokens_LD: Tensor) -> Tensor:
    """One block by its definition, for one image and words without padding, head by head."""
    width = pixels_ND.shape[1]
    own = functional.layer_norm(pixels_ND, (width,), block.before.weight, block.before.bias)
    words = functional.layer_norm(tokens_LD, (width,), block.words.weight, block.words.bias)
    query, key, value = (
        layer.weight @ each.T + layer.bias[:, None]
        for layer, each in ((block.query, own), (block.key, words), (block.value, words))
    )
    said = []
    for start in range(0, width, width // 4):
        rows = slice(start, start + width // 4)
        shares_NL = (query[rows].T @ key[rows] / (width // 4) ** 0.5).softmax(-1)
        said.append(shares_NL @ value[rows].T)
    said_ND = torch.cat(said, 1)
    return pixels_ND + block.held_against(torch.cat([own, said_ND, own * said_ND], 1))


def test_the_head_is_what_its_definition_says() -> None:
    torch.manual_seed(0)
    head = PromptHead(pixels=6, states=10, width=8).eval()
    pixels_BDHW, states_BLE = torch.randn(3, 6, 5, 4), torch.randn(3, 7, 10)
    lengths = (7, 3, 1)
    is_word = torch.arange(7) < torch.tensor(lengths)[:, None]
    with torch.no_grad():
        logits_BHW, presence_B = head(pixels_BDHW, states_BLE, is_word)
        for index, length in enumerate(lengths):
            states = functional.layer_norm(states_BLE[index, :length], (10,))
            tokens = head.tokens(states)
            pixels = head.pixels(pixels_BDHW[index].flatten(1).T)
            for block in head.blocks:
                pixels = attended(block, pixels, tokens)
            pixels = head.last(pixels)
            logits = head.there(pixels)[:, 0]
            torch.testing.assert_close(logits_BHW[index].flatten(), logits, rtol=1e-4, atol=1e-5)
            pooled = logits.softmax(0) @ pixels
            torch.testing.assert_close(presence_B[index], head.presence(pooled)[0], rtol=1e-4, atol=1e-5)


def test_the_order_of_words_counts() -> None:
    """States are attended to one by one: those of other words in other places are told apart."""
    torch.manual_seed(0)
    head = PromptHead(pixels=6, states=10, width=8).eval()
    pixels, states, all_words = torch.randn(1, 6, 4, 4), torch.randn(1, 2, 10), torch.ones(1, 2, dtype=bool)
    other = states + torch.tensor([1.0, -1.0])[:, None] * torch.randn(10)  # the same mean
    with torch.no_grad():
        one, two = (head(pixels, each, all_words)[0] for each in (states, other))
    assert (one - two).abs().max() > 1e-3


def test_noise_lies_on_the_states_while_it_learns_alone() -> None:
    torch.manual_seed(0)
    head = PromptHead(pixels=6, states=10, width=8, noise=1.0)
    given = (torch.randn(1, 6, 4, 4), torch.randn(1, 2, 10), torch.ones(1, 2, dtype=bool))
    assert not head(*given)[0].equal(head(*given)[0])
    head.eval()
    assert head(*given)[0].equal(head(*given)[0])


# --- the language model ---


@pytest.mark.parametrize(("kind", "layer"), [("bert", 2), ("gpt2", 1), ("llama", 3), ("t5", 2)])
def test_states_are_those_of_the_library(models: Path, kind: str, layer: int) -> None:
    reader = PromptReader(TextModel.load(str(models / kind)), layer)
    found = dict(reader.states(reader.tokens(PROMPTS)))
    tokenizer = AutoTokenizer.from_pretrained(models / kind)
    whole = reader.text.model
    for place, prompt in enumerate(PROMPTS):
        with torch.no_grad():
            alone = whole(torch.tensor([tokenizer(prompt)["input_ids"]]), output_hidden_states=True)
        torch.testing.assert_close(found[place], alone.hidden_states[layer][0], rtol=1e-4, atol=1e-4)


def test_a_middle_layer_is_taken() -> None:
    assert [middle_layer(depth) for depth in (1, 3, 6, 12, 24)] == [1, 2, 4, 8, 16]


def test_a_language_model_that_was_not_saved_whole(models: Path, tmp_path: Path) -> None:
    shutil.copytree(models / "bert", tmp_path / "bert")
    file = tmp_path / "bert" / "model.safetensors"
    state = load_file(file)
    del state["encoder.layer.1.output.dense.weight"]
    save_file(state, file, {"format": "pt"})
    with pytest.raises(ModelError, match=r"lacks 1 of its weights, encoder.layer.1.output.dense.weight"):
        TextModel.load(str(tmp_path / "bert"))


# --- the checkpoint ---


def test_a_checkpoint_brings_all_that_it_needs(models: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(models, copy)
    folder = new(copy, tmp_path / "model")
    shutil.rmtree(copy)
    again = LLMSemanticSegmentor.from_pretrained(folder)
    first = LLMSemanticSegmentor.from_pretrained(folder)
    again.save_pretrained(tmp_path / "again")
    read = load_file(tmp_path / "again" / "model.safetensors")
    assert all(value.equal(read[key]) for key, value in load_file(folder / "model.safetensors").items())
    assert first.config.prompt_layer == 2 and first.config.prompt_width == 32
    assert first.config.prompt_positions == 32
    whole = AutoModel.from_pretrained(folder / "language_model")
    assert len(whole.encoder.layer) == 3
    prepare, loaded = load_segmentor(str(folder))
    assert prepare(scene(0)).pixels_THWC.shape == (1, SIDE, SIDE, 3) and loaded is not None


def test_a_missing_weight_is_no_random_one(models: Path, tmp_path: Path) -> None:
    folder = new(models, tmp_path / "model")
    state = load_file(folder / "model.safetensors")
    del state["head.there.weight"]
    save_file(state, folder / "model.safetensors", {"format": "pt"})
    with pytest.raises(ModelError, match=r"lacks 1 of the weights .*head\.there\.weight"):
        load_segmentor(str(folder))


@pytest.mark.parametrize(
    "model", [{}, {"finest_stride": 2}, {"mode": "frozen", "layers": [0, 1]}, {"decoder": "mlp"}], ids=str
)
def test_maps_of_rows_and_of_a_list_equal_the_network_s(models: Path, tmp_path: Path, model: Any) -> None:
    folder = new(models, tmp_path / "model", **model)
    network = LLMSemanticSegmentor.from_pretrained(folder).eval()
    tokenizer = AutoTokenizer.from_pretrained(folder / "language_model")
    language = AutoModel.from_pretrained(folder / "language_model", dtype=torch.float32).eval()

    def found(image: np.ndarray, prompt: str) -> tuple[Tensor, float]:
        mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
        pixels = ((torch.from_numpy(image) / 255 - mean) / std).permute(2, 0, 1)[None]
        ids = torch.tensor([tokenizer(prompt)["input_ids"]])
        with torch.no_grad():
            states = language(input_ids=ids, output_hidden_states=True).hidden_states[2]
            out = network(pixel_values=pixels, states=states, is_word=torch.ones(ids.shape, dtype=bool))
        return out.logits.sigmoid()[0], float(out.presence.sigmoid())

    settings = {"model": str(folder), "precision": "fp32", "prompting": {"presence": 0}}
    images = [scene(seed) for seed in range(3)]
    checkpoint = open_checkpoint(HuggingFaceSegmentor(**settings))
    assert checkpoint.prompted == "rows" and checkpoint.label_map.names == ("background", "foreground")
    prepare, loaded = checkpoint.preparer(), checkpoint.load("cpu", "fp32")
    asked = [(image, prompt) for image in images for prompt in PROMPTS]
    given = [replace(prepare(image), prompt=prompt) for image, prompt in asked]
    for scores, (image, prompt) in zip(loaded.scores(given), asked, strict=True):
        map_HW, presence = found(image, prompt)
        torch.testing.assert_close(scores.maps[1], map_HW, rtol=1e-4, atol=1e-5)
        assert scores.presence == pytest.approx(presence, abs=1e-5)
    listed = HuggingFaceSegmentor(**settings, classes=("background", *PROMPTS))
    loaded = open_checkpoint(listed).load("cpu", "fp32")
    for image in images:
        (scores,) = loaded.scores([prepare(image)])
        assert (scores.maps[0] == 0.5).all()
        for place, prompt in enumerate(PROMPTS, 1):
            torch.testing.assert_close(scores.maps[place], found(image, prompt)[0], rtol=1e-4, atol=1e-5)


def language_found(folder: Path) -> tuple[Any, Any]:
    """What `explain` finds of the language branch, and the model that it asked."""
    settings = {"model": str(folder), "precision": "fp32", "prompting": {"presence": 0}}
    checkpoint = open_checkpoint(HuggingFaceSegmentor(**settings))
    model, decision = checkpoint.load("cpu", "fp32"), Decision(2)
    with torch.no_grad():
        for parameter in model.network.reader.outward.parameters():
            torch.nn.init.normal_(parameter, generator=torch.Generator().manual_seed(1))
    asked = Asked([model], Looks.of([checkpoint], decision, None, Views()), PROMPTS[0])
    target = ClassTarget(np.ones((SIDE, SIDE), bool), 1, decision)
    case = Case(Picture(scene(0)), np.zeros((SIDE, SIDE), np.uint8), asked, target)
    return find("language", case, 2)[0], (model, case)


def test_what_its_branch_adds_is_told_although_images_are_seen_once(models: Path, tmp_path: Path) -> None:
    figures, (model, case) = language_found(new(models, tmp_path / "model", mode="frozen", layers=[0, 1]))
    with torch.no_grad():
        for parameter in model.network.reader.outward.parameters():
            parameter.zero_()
    model.forget_images()
    (silent,) = case.asked.answers([case.picture])
    assert figures["language_off_target"] == pytest.approx(float(case.target.of(silent)))
    assert abs(figures["target"] - figures["language_off_target"]) > 1e-3
    assert figures["inside_share"] == pytest.approx(1)  # the region is the whole picture


def test_one_without_a_language_model_beside_its_pixels_has_no_branch(models: Path, tmp_path: Path) -> None:
    checkpoint = open_checkpoint(HuggingFaceSegmentor(model=str(new(models, tmp_path / "model"))))
    assert reader_of(checkpoint.load("cpu", "fp32")) is None


def test_a_prompt_that_is_too_long_for_its_language_model(models: Path, tmp_path: Path) -> None:
    folder = new(models, tmp_path / "model")
    checkpoint = open_checkpoint(HuggingFaceSegmentor(model=str(folder)))
    assert checkpoint.prompt_fault("the road") is None
    assert "has 42 tokens, and the model reads 32" in checkpoint.prompt_fault("road " * 40)
    reader = PromptReader.of(folder, 2)
    with pytest.raises(ModelError, match="has 42 tokens, and the language model reads 32"):
        reader.tokens(["bar", "road " * 40])


@pytest.mark.parametrize(
    ("model", "sentence"),
    [
        ({"language_model": None}, "head prompt needs a language_model that reads the prompts"),
        ({"layers": [0, 1]}, "layers are those between features and decoder"),
        ({"head": "closed", "language_model": None, "prompt_noise": 1}, "need head: prompt"),
        ({"backbone": "resnet50", "finest_stride": 2}, "finest_stride 2 is of the small backbone"),
        ({"open_vocabulary": True}, "open_vocabulary needs head: text"),
    ],
)
def test_settings_that_do_not_fit(model: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        NewModel(**{"head": "prompt", "mode": "none", "language_model": "some", **model})


def test_a_layer_that_the_language_model_has_not(models: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"model.prompt_layer 9: .* has 3 layers"):
        new(models, tmp_path / "model", prompt_layer=9)


def test_the_finer_map_is_twice_as_fine() -> None:
    shapes = []
    for finest in (4, 2):
        config = LLMSegConfig(widths=(8, 8, 16, 16), decoder_width=16, finest=finest, language_width=16)
        shapes.append(tuple(LLMSemanticSegmentor(config)(torch.zeros(1, 3, SIDE, SIDE)).logits.shape[2:]))
    assert shapes == [(16, 16), (32, 32)]
