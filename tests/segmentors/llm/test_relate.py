"""Relations that a language model proposes, with small random ones: the figures are those of the library."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from segmentors.llm.language_models import SIDE, VOCABULARY, WORDS, save_language_models, tokenizer
from transformers import AutoModel, AutoTokenizer, DistilBertConfig, MPNetConfig, RobertaConfig

import batchseg
from batchseg.errors import ModelError

SOURCE = ["sky", "tree", "dog", "cat", "background"]
TARGET: list[Any] = [
    "Sky",
    {"name": "road", "description": "round bar"},
    {"name": "disc", "synonyms": ["one"]},
]


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    save_language_models(folder)
    more = {
        "mpnet": MPNetConfig(**SIDE, max_position_embeddings=32),
        "roberta": RobertaConfig(**SIDE, max_position_embeddings=32),
        "distilbert": DistilBertConfig(
            vocab_size=len(VOCABULARY),
            dim=32,
            n_layers=2,
            n_heads=2,
            hidden_dim=48,
            max_position_embeddings=32,
        ),
    }
    for kind, config in more.items():
        torch.manual_seed(1)
        AutoModel.from_config(config).save_pretrained(folder / kind)
        tokenizer(framed=True).save_pretrained(folder / kind)
    return folder


def label_maps(folder: Path, target: list[Any] = TARGET) -> tuple[str, str]:
    for name, classes in (("ours", SOURCE), ("mine", target)):
        (folder / f"{name}.yaml").write_text(yaml.safe_dump({"classes": classes}))
    return str(folder / "ours.yaml"), str(folder / "mine.yaml")


def embedded(folder: Path, texts: list[str]) -> np.ndarray[Any, Any]:
    """The mean over texts of the mean over tokens, by the library's own forward pass."""
    model, words = AutoModel.from_pretrained(folder).eval(), AutoTokenizer.from_pretrained(folder)
    with torch.no_grad():
        states = [model(**{"input_ids": words(text, return_tensors="pt")["input_ids"]}) for text in texts]
    return np.mean([each.last_hidden_state[0].double().mean(0).numpy() for each in states], axis=0)


@pytest.mark.parametrize("kind", ["bert", "mpnet"])
def test_cosines_are_of_texts_less_the_mean_of_the_vocabulary(
    models: Path, tmp_path: Path, kind: str
) -> None:
    source, target = label_maps(tmp_path)
    found = batchseg.map_labels(source, target, language_model=models / kind, none_below=-1)
    centre = np.mean([embedded(models / kind, [word]) for word in WORDS], axis=0)
    texts = {"Sky": ["Sky"], "road": ["road", "road, round bar"], "disc": ["disc", "one"]}
    theirs = {name: embedded(models / kind, some) - centre for name, some in texts.items()}
    for row in found.rows[1:4]:
        own = embedded(models / kind, [row.source]) - centre
        wanted = {
            name: own @ each / np.linalg.norm(own) / np.linalg.norm(each) for name, each in theirs.items()
        }
        assert row.target == max(wanted, key=lambda name: wanted[name])
        assert row.by == "text"
        assert {row.target: row.cosine, **row.runner_ups} == pytest.approx(wanted, abs=6e-4)
        assert [*row.runner_ups.values()] == sorted(row.runner_ups.values(), reverse=True)


@pytest.mark.parametrize("kind", ["gpt2", "llama", "t5", "roberta", "distilbert"])
def test_other_families_read_texts_as_well(models: Path, tmp_path: Path, kind: str) -> None:
    found = batchseg.map_labels(*label_maps(tmp_path), language_model=str(models / kind), none_below=-1)
    assert [row.by for row in found.rows] == ["name", "text", "text", "text", None]


def test_names_win_over_cosines_and_low_cosines_are_none_with_their_runner_ups(
    models: Path, tmp_path: Path
) -> None:
    found = batchseg.map_labels(*label_maps(tmp_path), language_model=str(models / "bert"), none_below=1)
    sky, tree, *_, background = found.rows
    assert (sky.target, sky.by) == ("Sky", "name")
    assert (tree.target, tree.by) == (None, None)
    assert tree.cosine == next(iter(tree.runner_ups.values()))
    assert (background.target, background.cosine) == (None, None)  # no word describes it
    assert found.unmet == ("road", "disc")


def test_the_file_holds_what_the_call_returns(models: Path, tmp_path: Path) -> None:
    path = tmp_path / "relation.yaml"
    found = batchseg.map_labels(*label_maps(tmp_path), language_model=models / "bert", output=path)
    content = yaml.safe_load(path.read_text())
    assert content["none_below"] == 0.55
    for row, entry in zip(found.rows, content["classes"], strict=True):
        assert {"cosine": None, "runner_ups": {}, "by": None} | entry == row.model_dump()
    assert len(path.read_text().splitlines()) == 4 + 5 + len(SOURCE)  # comments, head, and a line a class


def test_a_model_folder_tells_its_own_classes(sample_data: Path) -> None:
    found = batchseg.map_labels(sample_data / "model", "voc")
    assert [row.source for row in found.rows][:3] == ["background", "zero", "one"]
    assert found.rows[0].target == "background"


def test_an_onnx_network_is_a_model_as_well(tmp_path: Path) -> None:
    (tmp_path / "net.onnx").write_bytes(b"none")
    with pytest.raises(ModelError, match=r"net\.onnx is not an ONNX network"):
        batchseg.map_labels(tmp_path / "net.onnx", "voc")


def test_a_folder_without_a_tokenizer_is_refused(models: Path, tmp_path: Path) -> None:
    AutoModel.from_pretrained(models / "bert").save_pretrained(tmp_path / "bare")
    with pytest.raises(ModelError, match="bare has no tokenizer to read class names with; save that"):
        batchseg.map_labels(*label_maps(tmp_path), language_model=tmp_path / "bare")


def test_what_is_no_language_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"cannot load the language model .*gone: there is no such folder$"):
        batchseg.map_labels(*label_maps(tmp_path), language_model=tmp_path / "gone")
    with pytest.raises(ModelError, match="cannot load the language model") as raised:
        batchseg.map_labels(*label_maps(tmp_path), language_model=tmp_path)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("kind", ["bert", "roberta"])
def test_a_description_beyond_the_models_length_is_refused(models: Path, tmp_path: Path, kind: str) -> None:
    paths = label_maps(tmp_path, [{"name": "road", "description": "dog " * 40}, "sky"])
    with pytest.raises(
        ModelError, match=r"reads (32|31|30) tokens at most, and 'road, dog dog .* shorten it"
    ):
        batchseg.map_labels(*paths, language_model=models / kind)
