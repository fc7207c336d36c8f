"""The temperature of a model of transformers: what it changes of a run, and how it is kept."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from tiny_checkpoints import CLASSES, build
from torch.nn import functional
from transformers import AutoConfig, AutoImageProcessor, AutoModelForSemanticSegmentation

import batchseg
from batchseg.config.load import read_config
from batchseg.config.segmentor import HuggingFaceSegmentor
from batchseg.config.train import TrainConfig
from batchseg.errors import ModelError
from batchseg.segmentors.huggingface.checkpoint import HuggingFaceCheckpoint
from batchseg.segmentors.huggingface.files import NEEDED, fingerprint
from batchseg.training.export import export_trained

SIDE, TRUE = 64, 3.0
KEY = "calibration_temperature"


def opened(folder: Path) -> HuggingFaceCheckpoint:
    return HuggingFaceCheckpoint.open(HuggingFaceSegmentor(model=str(folder)))


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small SegFormer that is surer than it should be: truths are drawn from its logits / 3."""
    folder = tmp_path_factory.mktemp("sure")
    build("segformer", folder / "model")
    network = AutoModelForSemanticSegmentation.from_pretrained(folder / "model").eval()
    processor = AutoImageProcessor.from_pretrained(folder / "model")
    generator = np.random.default_rng(0)
    images = [generator.integers(0, 256, (SIDE, SIDE, 3)).astype(np.uint8) for _ in range(3)]
    inputs = processor(images=images, return_tensors="pt")
    with torch.no_grad():
        logits = network(**inputs).logits
        network.decode_head.classifier.weight *= 4 / logits.std()
        logits = functional.interpolate(network(**inputs).logits, (SIDE, SIDE), mode="bilinear")
    network.save_pretrained(folder / "model")
    torch.manual_seed(1)
    truths = torch.distributions.Categorical(logits=logits.movedim(1, -1) / TRUE).sample()
    for number, (image, truth) in enumerate(zip(images, truths, strict=True)):
        for name, pixels in (("images", image), ("masks", truth.numpy().astype(np.uint8))):
            (folder / name).mkdir(exist_ok=True)
            Image.fromarray(pixels).save(folder / name / f"{number}.png")
    torch.save((logits, truths), folder / "logits.pt")
    return folder


def run(folder: Path, name: Path, output: Path) -> Any:
    return batchseg.run(
        folder / "images",
        model={"model": str(name), "precision": "fp32", "engine": "torch"},
        truth=folder / "masks",
        output=output,
    )


@pytest.mark.usefixtures("in_tasks")
def test_probabilities_improve_and_masks_stay(
    model: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    logits, truths = torch.load(model / "logits.pt")
    scan = torch.arange(0.5, 6, 0.05)
    losses = [float(functional.cross_entropy(logits / each, truths)) for each in scan]
    best = float(scan[int(np.argmin(losses))])
    assert best == pytest.approx(TRUE, rel=0.05)

    # saved and loaded by the library, and saved again
    for place in (tmp_path / "first", tmp_path / "second"):
        before = tmp_path / "first" if place.name == "second" else model / "model"
        network = AutoModelForSemanticSegmentation.from_pretrained(before)
        if place.name == "first":
            setattr(network.config, KEY, best)
        network.save_pretrained(place)
        AutoImageProcessor.from_pretrained(before).save_pretrained(place)
        assert json.loads((place / "config.json").read_text())[KEY] == best
        assert not (place / "generation_config.json").exists()
    assert not [record for record in caplog.records if record.levelname in ("WARNING", "ERROR")]
    assert not hasattr(AutoConfig.from_pretrained(tmp_path / "second"), "temperature")

    plain = run(model, model / "model", tmp_path / "plain")
    tempered = run(model, tmp_path / "second", tmp_path / "tempered")
    for path in sorted((tmp_path / "plain/masks").iterdir()):
        same = np.asarray(Image.open(path)) == np.asarray(Image.open(tmp_path / "tempered/masks" / path.name))
        assert same.all()
    # the probes are every pixel of images as small as these
    for result, temperature in ((plain, 1.0), (tempered, best)):
        of_truths = (logits / temperature).softmax(1).gather(1, truths[:, None])
        loss = float(-of_truths.clamp(min=torch.finfo().eps).log().mean())  # as scikit-learn's log loss
        assert result.record["calibration"]["nll"] == pytest.approx(loss, rel=1e-3)
    for figure in ("ece", "nll", "brier"):
        assert tempered.record["calibration"][figure] < plain.record["calibration"][figure]
    assert any(f"divided by {best:.2f} before" in note for note in tempered.record["notes"])
    assert not any("divided by" in note for note in plain.record["notes"])
    assert any(f"divided by {best:.2f}" in note for note in doctor_notes(model, tmp_path / "second"))
    prints = [each.record["model"]["fingerprint"] for each in (plain, tempered)]
    assert prints[0] != prints[1]
    assert opened(model / "model").fingerprint == fingerprint(model / "model", NEEDED)


def doctor_notes(folder: Path, name: Path) -> tuple[str, ...]:
    return batchseg.doctor(folder / "images", model=name, truth=folder / "masks").notes


def test_an_export_keeps_it_and_the_next_one_goes_on_from_it(model: Path, tmp_path: Path) -> None:
    (tmp_path / "split.parquet").write_bytes(b"")
    folder = model / "model"
    for number, temperature in enumerate((1.0, 1.5, 2.0)):
        start = opened(folder)
        config = read_config(
            TrainConfig,
            overrides={"source": str(tmp_path), "output": str(tmp_path), "model": str(folder)},
        )
        weights = start.load("cpu", "fp32").network.state_dict()
        folder = tmp_path / f"out-{number}"
        split = tmp_path / "split.parquet"
        export_trained(config, start, weights, temperature, split=split, folder=folder)
    kept = [json.loads((tmp_path / f"out-{n}" / "config.json").read_text()).get(KEY) for n in range(3)]
    assert kept == [None, 1.5, 3.0]
    assert opened(folder).temperature == 3.0
    pixels = torch.zeros(1, SIDE, SIDE, 3)
    plain, tempered = (
        opened(tmp_path / f"out-{n}").load("cpu", "fp32").logits(pixels).detach() for n in (0, 2)
    )
    assert plain.shape[1] == CLASSES
    torch.testing.assert_close(tempered * 3, plain)


@pytest.mark.parametrize("value", [0, -1.5, "2", True, None])
def test_what_is_no_temperature_is_refused(model: Path, tmp_path: Path, value: Any) -> None:
    shutil.copytree(model / "model", tmp_path / "model")
    path = tmp_path / "model/config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), KEY: value}))
    with pytest.raises(ModelError, match=f"{KEY} in its config.json must be a number above 0"):
        opened(tmp_path / "model")
