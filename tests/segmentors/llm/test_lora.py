"""Adapters in the language model: what is exported computes what was learned, without them."""

from __future__ import annotations

import copy
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from language_models import save_language_models, scenes, split_file

from batchseg.config.load import validate
from batchseg.config.segmentor import HuggingFaceSegmentor
from batchseg.config.train import TrainConfig
from batchseg.segmentors.huggingface.checkpoint import HuggingFaceCheckpoint
from batchseg.segmentors.llm.lora import add_lora, merge_lora
from batchseg.training.export import export_trained
from batchseg.training.start import write_start


@pytest.fixture(scope="module")
def language(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("language")
    save_language_models(folder)
    return folder


def settings(language: Path, folder: Path, kind: str) -> dict[str, Any]:
    (folder / "labels.yaml").write_text(yaml.safe_dump({"classes": ["background", "disc", "bar"]}))
    shape = {
        "language_model": str(language / kind),
        "mode": "lora",
        "lora_rank": 4,
        "widths": [8, 16, 24, 32],
        "decoder_width": 32,
        "size": 64,
    }
    return {"source": "photos", "output": "out", "labels": str(folder / "labels.yaml"), "model": shape}


def open_model(folder: Path) -> HuggingFaceCheckpoint:
    return HuggingFaceCheckpoint.open(HuggingFaceSegmentor(model=str(folder)))


@torch.inference_mode()
def logits(network: Any) -> torch.Tensor:
    pixels, _ = scenes()
    answer: torch.Tensor = network.eval()(pixel_values=pixels).logits
    return answer


def learned(checkpoint: HuggingFaceCheckpoint, rank: int, loudness: float = 2.0) -> Any:
    """The network with adapters that say so much, and a language model that is listened to."""
    network = checkpoint.load("cpu", "fp32").network
    add_lora(network, rank)
    torch.manual_seed(5)
    with torch.no_grad():
        network.reader.outward.weight.normal_(std=0.3)
        for name, weight in network.named_parameters():
            if "lora_B" in name:
                weight.normal_().mul_(loudness)
    return network


@pytest.mark.parametrize("kind", ["bert", "gpt2", "llama", "qwen2", "t5"])
def test_a_merged_export_computes_the_same(language: Path, tmp_path: Path, kind: str) -> None:
    config = validate(TrainConfig, settings(language, tmp_path, kind), "the test")
    write_start(config, tmp_path / "start")
    start = open_model(tmp_path / "start")
    network = learned(start, 4)
    names = {name for name, _ in network.named_parameters() if "lora_" in name}
    learning = {n for n, w in network.reader.language_model.named_parameters() if w.requires_grad}
    assert names == {f"reader.language_model.{name}" for name in learning}  # they learn, the rest does not
    expected, weights = logits(network), copy.deepcopy(network.state_dict())

    merge_lora(network)
    assert set(network.state_dict()) == set(start.load("cpu", "fp32").network.state_dict())
    assert torch.allclose(logits(network), expected, atol=1e-4)

    export_trained(config, start, weights, 1.0, split=split_file(tmp_path), folder=tmp_path / "model")
    exported = logits(open_model(tmp_path / "model").load("cpu", "fp32").network)
    assert torch.allclose(exported, expected, atol=0.02 * float(expected.std()))  # it is stored in float16

    silent = logits(learned(start, 4, loudness=0.0))
    assert (silent - expected).abs().max() > 0.1 * expected.std()  # so they did say something


def test_without_peft_one_sentence_says_what_to_install(language: Path, tmp_path: Path) -> None:
    content = settings(language, tmp_path, "bert")
    (tmp_path / "train.yaml").write_text(yaml.safe_dump(content))
    words = [
        "train",
        str(tmp_path),
        "--config",
        str(tmp_path / "train.yaml"),
        "--output",
        str(tmp_path / "out"),
    ]
    code = f"import sys; sys.modules['peft'] = None; from batchseg.cli.group import cli; cli({words})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr == "batchseg: model.mode lora needs peft: pip install 'batchseg[lora]'\n"
