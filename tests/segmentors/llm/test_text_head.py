"""The text head: class names read by the language model itself tell the pixels apart."""

from __future__ import annotations

import copy
import json
import math
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from language_models import WORDS, overfit, save_language_models, scenes, split_file
from safetensors.torch import load_file
from transformers import AutoModel, AutoModelForSemanticSegmentation, AutoTokenizer, T5EncoderModel

from batchseg.config.load import validate
from batchseg.config.segmentor import HuggingFaceSegmentor
from batchseg.config.train import TrainConfig
from batchseg.errors import BatchsegError, LabelMapError, ModelError
from batchseg.labels.label_file import load_label_map
from batchseg.labels.reading import Reading
from batchseg.segmentors.huggingface.checkpoint import HuggingFaceCheckpoint
from batchseg.segmentors.llm.configuration_llmseg import LLMSegConfig
from batchseg.segmentors.llm.head import alike
from batchseg.segmentors.llm.modeling_llmseg import LLMSemanticSegmentor
from batchseg.segmentors.llm.text import TextModel
from batchseg.training.export import export_trained
from batchseg.training.start import write_start

CLASSES = ["background", "disc", "bar"]
PHRASES = [("background",), ("disc", "round"), ("bar",)]
PROMPTS = ["a photo of a {}", "the {}"]


@pytest.fixture(scope="module")
def language(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("language")
    save_language_models(folder)
    return folder


def make(language: Path, kind: str, names: list[str] | None = None, **settings: Any) -> LLMSemanticSegmentor:
    """A new text-headed segmentor."""
    shape = LLMSegConfig(
        widths=[8, 16, 24, 32],
        decoder_width=32,
        id2label=dict(enumerate(names or CLASSES)),
        head="text",
        prompts=PROMPTS,
        **settings,
    )
    model = LLMSemanticSegmentor.from_language_model(str(language / kind), shape, (1, 2))
    phrases = PHRASES if names is None else [(name,) for name in names]
    model.read_classes(TextModel.load(str(language / kind)), phrases)
    return model


@pytest.mark.parametrize(
    ("kind", "decoder"),
    [("bert", "mlp"), ("bert", "queries"), ("bert", "fpn"), ("gpt2", "fpn"), ("t5", "fpn")],
)
def test_one_batch_is_learned_by_heart(language: Path, kind: str, decoder: str) -> None:
    model = make(language, kind, decoder=decoder)
    assert model.head is not None
    names = model.head.embeddings.clone()
    assert overfit(model, 150) > 0.99
    assert model.head.embeddings.equal(names)  # what the language model said stays as it is


@pytest.mark.parametrize("kind", ["bert", "gpt2", "llama", "t5"])
def test_embeddings_are_the_language_model_s_own(language: Path, kind: str) -> None:
    tokenizer = AutoTokenizer.from_pretrained(language / kind)
    auto = T5EncoderModel if kind == "t5" else AutoModel
    model = auto.from_pretrained(language / kind).eval()

    @torch.no_grad()
    def read(*phrases: str) -> torch.Tensor:
        texts = [prompt.format(phrase) for phrase in phrases for prompt in PROMPTS]
        states = [model(**tokenizer(text, return_tensors="pt")).last_hidden_state[0] for text in texts]
        return torch.stack([tokens.mean(0) for tokens in states]).mean(0)

    centre = torch.stack([read(word) for word in WORDS]).mean(0)
    expected = torch.stack([read("disc", "round"), read("bar")]) - centre
    head = make(language, kind).head
    assert head is not None
    assert torch.allclose(head.centre, centre, atol=1e-4)
    assert torch.allclose(
        head.embeddings[1:], expected / expected.norm(dim=1, keepdim=True), atol=1e-4
    )  # the background is learned, and has no word
    assert not head.embeddings[0].any()


def test_logits_are_scaled_cosines(language: Path) -> None:
    model = make(language, "bert").eval()
    head = model.head
    assert head is not None and head.learned is not None
    pixels = torch.randn(2, 32, 5, 7, generator=torch.Generator().manual_seed(0))
    words = head.embeddings[1:] @ head.project.weight.T
    vectors = torch.cat([head.learned, words])
    cosines = torch.nn.functional.cosine_similarity(pixels[:, None], vectors[None, :, :, None, None], dim=2)
    with torch.no_grad():
        assert torch.allclose(head(pixels), cosines / 0.07, atol=1e-4)
        head.log_scale.fill_(math.log(1000))  # a scale without bound would end in NaN
        assert torch.allclose(head(pixels), cosines * 100, atol=1e-3)


@pytest.mark.parametrize("decoder", ["fpn", "queries"])
def test_a_checkpoint_needs_no_text_model(language: Path, tmp_path: Path, decoder: str) -> None:
    model = make(language, "bert", decoder=decoder).eval()
    with torch.no_grad():
        for tensor in (*model.parameters(), *model.buffers()):
            tensor.copy_(tensor.half())
    copy.deepcopy(model).half().save_pretrained(tmp_path)
    again, info = AutoModelForSemanticSegmentation.from_pretrained(
        tmp_path, dtype=torch.float32, output_loading_info=True
    )
    assert not info["missing_keys"] and not info["unexpected_keys"]
    with torch.inference_mode():
        pixels, _ = scenes()
        assert again.eval()(pixel_values=pixels).logits.equal(model(pixel_values=pixels).logits)


def test_the_closed_head_is_what_it_was(language: Path, tmp_path: Path) -> None:
    shape = LLMSegConfig(widths=[8, 16, 24, 32], decoder_width=32, id2label=dict(enumerate(CLASSES)))
    model = LLMSemanticSegmentor.from_language_model(str(language / "bert"), shape, (1, 2)).eval()
    assert {key.partition(".")[0] for key in model.state_dict()} == {"backbone", "reader", "decoder"}
    assert model.decoder.classify.weight.shape == (3, 32, 1, 1)
    model.save_pretrained(tmp_path)
    content = json.loads((tmp_path / "config.json").read_text())
    older = {key: value for key, value in content.items() if key not in ("head", "prompts")}
    (tmp_path / "config.json").write_text(json.dumps(older))
    again = AutoModelForSemanticSegmentation.from_pretrained(tmp_path).eval()
    with torch.inference_mode():
        pixels, _ = scenes()
        assert again(pixel_values=pixels).logits.equal(model(pixel_values=pixels).logits)


def test_how_much_alike_names_are(language: Path) -> None:
    head = make(language, "bert", ["background", "one", "two", "dog"]).head
    assert head is not None
    with torch.no_grad():
        pairs = alike(head.names, head.embeddings, head.project.weight)
    assert {tuple(pair["classes"]) for pair in pairs} == {("one", "two"), ("one", "dog"), ("two", "dog")}
    assert [pair["read"] for pair in pairs] == sorted((pair["read"] for pair in pairs), reverse=True)
    one, two = head.embeddings[1], head.embeddings[2]
    shown = next(pair for pair in pairs if pair["classes"] == ["one", "two"])
    assert shown["read"] == pytest.approx(float(one @ two), abs=1e-4)
    learned = torch.cosine_similarity(head.project(one), head.project(two), dim=0)
    assert shown["learned"] == pytest.approx(float(learned.detach()), abs=1e-4)


LABELS = {
    "classes": ["background", {"name": "disc", "synonyms": ["round"]}, "bar"],
    "prompts": PROMPTS,
}


def training(language: Path, folder: Path, labels: Any = LABELS, **model: Any) -> TrainConfig:
    (folder / "labels.yaml").write_text(yaml.safe_dump(labels))
    shape = {
        "language_model": str(language / "bert"),
        "layers": [1, 2],
        "widths": [8, 16, 24, 32],
        "decoder_width": 32,
        "head": "text",
        "size": 64,
        **model,
    }
    data = {"source": "photos", "output": "out", "labels": str(folder / "labels.yaml"), "model": shape}
    return validate(TrainConfig, data, "the test")


def open_start(folder: Path, **settings: Any) -> HuggingFaceCheckpoint:
    return HuggingFaceCheckpoint.open(HuggingFaceSegmentor(model=str(folder), **settings))


def test_names_come_from_the_label_map(language: Path, tmp_path: Path) -> None:
    config = training(language, tmp_path)
    write_start(config, tmp_path / "start")
    network = open_start(tmp_path / "start").load("cpu", "fp32").network
    head = make(language, "bert").head
    assert head is not None
    assert torch.allclose(network.head.embeddings, head.embeddings, atol=1e-6)
    assert list(network.config.prompts) == PROMPTS
    assert not (tmp_path / "start" / "language_model").exists()


def test_words_of_the_label_map_change_no_mask_file(tmp_path: Path) -> None:
    (tmp_path / "wordy.yaml").write_text(yaml.safe_dump(LABELS))
    (tmp_path / "plain.yaml").write_text(yaml.safe_dump({"classes": CLASSES}))
    wordy, plain = (load_label_map(str(tmp_path / f"{name}.yaml")) for name in ("wordy", "plain"))
    assert wordy.mask_fingerprint == plain.mask_fingerprint
    assert Reading(wordy).fingerprint == Reading(plain).fingerprint


def test_the_export_keeps_the_whole_language_model(language: Path, tmp_path: Path) -> None:
    config = training(language, tmp_path, open_vocabulary=True)
    write_start(config, tmp_path / "start")
    start = open_start(tmp_path / "start")
    weights = start.load("cpu", "fp32").network.state_dict()
    export_trained(config, start, weights, 1.0, split=split_file(tmp_path), folder=tmp_path / "model")
    kept = load_file(tmp_path / "model" / "language_model" / "model.safetensors")
    source = AutoModel.from_pretrained(language / "bert").state_dict()
    assert {key for key in source if not key.startswith("pooler.")} == set(kept)
    assert all(source[key].half().equal(value) for key, value in kept.items())
    prepared = open_start(tmp_path / "model", classes=("bar", "dog", "background"))
    assert prepared.label_map.names == ("bar", "dog", "background")
    assert prepared.load("cpu", "fp32").network.head.embeddings.shape == (3, 32)


def test_training_goes_on_with_other_classes(language: Path, tmp_path: Path) -> None:
    write_start(training(language, tmp_path, open_vocabulary=True), tmp_path / "first")
    (tmp_path / "other.yaml").write_text(yaml.safe_dump({"classes": ["dog", "bar", "background", "tree"]}))
    data = {"source": "photos", "output": "out", "model": str(tmp_path / "first")}
    config = validate(TrainConfig, {**data, "labels": str(tmp_path / "other.yaml")}, "the test")
    write_start(config, tmp_path / "second")
    first, second = (open_start(tmp_path / name) for name in ("first", "second"))
    assert second.label_map.names == ("dog", "bar", "background", "tree")
    old, new = (each.load("cpu", "fp32").network.head for each in (first, second))
    assert new.embeddings[1].equal(old.embeddings[2])
    assert new.learned.equal(old.learned)
    assert open_start(tmp_path / "second", classes=("cat", "house")).label_map.num_classes == 2


def test_the_fingerprint_covers_names_and_their_reader(language: Path, tmp_path: Path) -> None:
    write_start(training(language, tmp_path, open_vocabulary=True), tmp_path / "model")
    folder = tmp_path / "model"

    def all_of_them() -> list[str]:
        settings: list[dict[str, Any]] = [
            {},
            {"classes": ("dog", "cat")},
            {"classes": ("cat", "dog")},
            {"none_below": 0.3},
            {"none_below": 0.4},
        ]
        return [open_start(folder, **each).fingerprint for each in settings]

    before = all_of_them()
    assert len(set(before)) == len(before)
    weights = folder / "language_model" / "model.safetensors"
    changed = bytearray(weights.read_bytes())
    changed[-1] ^= 1
    weights.write_bytes(changed)
    assert not set(before) & set(all_of_them())


@pytest.mark.parametrize(
    ("classes", "sentence"),
    [
        (["dog", "bar"], r"brings no language model that could read dog: choose among .*open_vocabulary"),
        (["other", "bar"], r"has not learned 'other', .*none_below"),
    ],
)
def test_classes_a_checkpoint_cannot_take(
    language: Path, tmp_path: Path, classes: list[str], sentence: str
) -> None:
    write_start(training(language, tmp_path), tmp_path / "model")
    with pytest.raises(ModelError, match=sentence):
        open_start(tmp_path / "model", classes=tuple(classes))
    assert open_start(tmp_path / "model", classes=("bar", "Disc")).label_map.names == ("bar", "Disc")


def test_a_closed_head_takes_no_classes(language: Path, tmp_path: Path) -> None:
    write_start(training(language, tmp_path, head="closed"), tmp_path / "model")
    with pytest.raises(ModelError, match=r"has no text head, .*\(background, disc, bar\)"):
        open_start(tmp_path / "model", classes=("disc", "bar"))


def test_names_read_as_the_same(language: Path, tmp_path: Path) -> None:
    strange = {"classes": ["bar", "zebra", "walrus"]}  # neither is a word it knows
    with pytest.raises(ModelError, match="reads 'zebra' and 'walrus' as the same"):
        write_start(training(language, tmp_path, strange), tmp_path / "model")


def test_a_language_model_without_its_tokenizer(language: Path, tmp_path: Path) -> None:
    shutil.copytree(language / "bert", tmp_path / "mute", ignore=shutil.ignore_patterns("tokenizer*"))
    config = training(language, tmp_path, language_model=str(tmp_path / "mute"))
    with pytest.raises(ModelError, match="mute has no tokenizer to read class names with"):
        write_start(config, tmp_path / "model")


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"language_model": None, "mode": "none"}, "head text needs a language_model"),
        ({"head": "closed", "open_vocabulary": True}, "open_vocabulary needs head: text"),
    ],
)
def test_settings_that_exclude_each_other(
    language: Path, tmp_path: Path, settings: dict[str, Any], sentence: str
) -> None:
    with pytest.raises(BatchsegError, match=sentence):
        training(language, tmp_path, **settings)


def test_a_prompt_without_a_place_for_the_name(language: Path, tmp_path: Path) -> None:
    config = training(language, tmp_path, {"classes": CLASSES, "prompts": ["a photo"]})
    with pytest.raises(LabelMapError, match=r"prompts.0: must have \{\} once"):
        write_start(config, tmp_path / "model")
