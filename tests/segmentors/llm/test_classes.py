"""`batchseg run --classes` and `--none-below`: classes by name, and pixels that belong to none."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pytest
import torch
import yaml
from click.testing import CliRunner, Result
from language_models import save_language_models
from PIL import Image
from transformers import SegformerConfig, SegformerForSemanticSegmentation, SegformerImageProcessor

import batchseg
from batchseg.cli.group import cli
from batchseg.config.load import validate
from batchseg.config.train import TrainConfig
from batchseg.training.start import write_start

pytestmark = [pytest.mark.usefixtures("ray_session")]

NAMES = ("background", "disc", "traffic light")


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("photos")
    rng = np.random.default_rng(0)
    for index in range(3):
        blocks = rng.integers(0, 256, (6, 8, 3), dtype=np.uint8)
        Image.fromarray(blocks.repeat(12 + index, 0).repeat(12, 1)).save(folder / f"{index}.png")
    return folder


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A text-headed checkpoint of random weights that brings its language model."""
    folder = tmp_path_factory.mktemp("checkpoint")
    save_language_models(folder)
    (folder / "labels.yaml").write_text(yaml.safe_dump({"classes": list(NAMES)}))
    shape = {
        "language_model": str(folder / "gpt2"),
        "widths": [8, 16, 24, 32],
        "decoder_width": 32,
        "size": 64,
        "head": "text",
        "open_vocabulary": True,
    }
    data = {"source": "photos", "output": "out", "labels": str(folder / "labels.yaml"), "model": shape}
    write_start(validate(TrainConfig, data, "the test"), folder / "model")
    return folder / "model"


def command(*words: object) -> Result:
    return CliRunner().invoke(cli, [str(word) for word in words])


def run(photos: Path, output: Path, *options: object) -> list[np.ndarray]:
    """The masks of a run, by the order of their names."""
    result = command("run", photos, "--output", output, "--precision", "fp32", "--quiet", *options)
    assert result.exit_code == 0, result.output
    return [np.asarray(Image.open(path)) for path in sorted((output / "masks").glob("*.png"))]


@pytest.mark.slow
def test_the_order_of_the_names_is_that_of_the_ids(photos: Path, model: Path, tmp_path: Path) -> None:
    first = run(photos, tmp_path / "a", "--model", model, "--classes", "dog, traffic_light,sky, background")
    setting = "segmentor.classes=[background, sky, dog, traffic_light]"
    second = run(photos, tmp_path / "b", "--model", model, "--set", setting)
    to_second = np.array([2, 3, 1, 0], np.uint8)
    assert len(first) == 3
    for one, other in zip(first, second, strict=True):
        assert len(np.unique(one)) > 1
        assert (to_second[one] == other).mean() >= 0.999
    names = duckdb.sql(f"SELECT class_name FROM '{tmp_path / 'a' / 'classes.parquet'}' ORDER BY class_id")
    assert [row[0] for row in names.fetchall()] == ["dog", "traffic_light", "sky", "background"]


@pytest.mark.slow
def test_its_own_names_change_nothing(photos: Path, model: Path, tmp_path: Path) -> None:
    own = run(photos, tmp_path / "a", "--model", model)
    named = run(photos, tmp_path / "b", "--model", model, "--classes", ",".join(NAMES))
    assert all(np.array_equal(one, other) for one, other in zip(own, named, strict=True))
    # of a part of them no language model is needed
    shutil.copytree(model, tmp_path / "bare", ignore=shutil.ignore_patterns("language_model"))
    part = run(photos, tmp_path / "c", "--model", tmp_path / "bare", "--classes", "traffic light, disc")
    for one, other in zip(own, part, strict=True):
        assert ((2 - other)[one > 0] == one[one > 0]).all()


def probabilities(model: Path, image: np.ndarray) -> np.ndarray:
    """Softmax of the logits at the size of the image, [C, H, W], by transformers and torch alone."""
    from transformers import AutoImageProcessor, AutoModelForSemanticSegmentation

    processor = AutoImageProcessor.from_pretrained(model, use_fast=True)
    network = AutoModelForSemanticSegmentation.from_pretrained(model, dtype=torch.float32).eval()
    with torch.inference_mode():
        logits = network(**processor(image, return_tensors="pt")).logits
        full = torch.nn.functional.interpolate(logits, image.shape[:2], mode="bilinear", align_corners=False)
    return full[0].softmax(0).numpy()


def segformer(folder: Path) -> Path:
    """A small one of random weights, with four classes."""
    torch.manual_seed(0)
    sides = {"hidden_sizes": [8, 16, 24, 32], "depths": [1] * 4, "num_attention_heads": [1] * 4}
    network = SegformerForSemanticSegmentation(
        SegformerConfig(**sides, decoder_hidden_size=32, num_labels=4)
    ).eval()
    with torch.no_grad():
        network.decode_head.classifier.weight *= 30  # as sure as a trained one is
    network.save_pretrained(folder)
    SegformerImageProcessor(size={"height": 64, "width": 64}).save_pretrained(folder)
    return folder


@pytest.mark.parametrize("family", ["llmseg", "segformer"])
def test_unsure_pixels_have_no_class(photos: Path, model: Path, tmp_path: Path, family: str) -> None:
    if family == "segformer":
        model = segformer(tmp_path / "model")
    images = [np.array(Image.open(path)) for path in sorted(photos.glob("*.png"))]  # writable, for torch
    expected = [probabilities(model, image) for image in images]
    below = float(np.median(np.concatenate([each.max(0).ravel() for each in expected])).round(3))
    masks = run(photos, tmp_path / "out", "--model", model, "--none-below", below)
    for mask, each in zip(masks, expected, strict=True):
        wanted = np.where(each.max(0) < below, 255, each.argmax(0))
        assert (mask == wanted).mean() >= 0.98  # bytes are resized a little otherwise
    assert 0.2 < np.mean([(mask == 255).mean() for mask in masks]) < 0.8
    counted = duckdb.sql(f"SELECT sum(pixels) FROM '{tmp_path}/out/pixels/*.parquet' WHERE predicted IS NULL")
    assert counted.fetchall() == [(sum(int((mask == 255).sum()) for mask in masks),)]
    assert command("verify", tmp_path / "out").exit_code == 0


def test_in_the_library(photos: Path, model: Path) -> None:
    image = np.asarray(Image.open(photos / "0.png"))
    settings = {"model": str(model), "classes": ["dog", "cat"], "none_below": 0.999}
    prepare, segmentor = batchseg.load_segmentor(settings)
    (prediction,) = segmentor.segment([prepare(image)])
    assert prediction.labels_HW.shape == image.shape[:2]
    assert set(np.unique(prediction.labels_HW)) <= {0, 1, 2}
    assert (prediction.labels_HW == 2).any()


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--classes", "dog, cat, Dog"], "segmentor.classes: names 'dog' twice"),
        (["--classes", "dog,,cat"], "must be names between commas, none of them empty"),
        (["--classes", ""], "must be names between commas, none of them empty"),
        (["--classes", "dog"], "a class alone would take every pixel"),
        (["--none-below", "1.5"], "segmentor.none_below: Input should be less than 1"),
        (["--classes", "dog, unlabelled"], "has not learned 'unlabelled'"),
    ],
)
def test_what_cannot_be_asked(
    photos: Path, model: Path, tmp_path: Path, options: list[str], sentence: str
) -> None:
    result = command("run", photos, "--model", model, "--output", tmp_path / "out", *options)
    assert result.exit_code in (1, 2)
    assert sentence in result.stderr
    assert result.stderr.startswith("batchseg: ") and "Traceback" not in result.stderr


def test_a_model_of_another_kind(photos: Path, tmp_path: Path, sample_data: Path) -> None:
    common: list[Any] = ["run", photos, "--output", tmp_path / "out", "--classes", "dog,cat", "--model"]
    closed = command(*common, sample_data / "model")
    assert closed.exit_code == 1 and "has no text head" in closed.stderr
    threshold = command(*common, "threshold")
    assert threshold.exit_code == 2
    assert (
        "segmentor.classes: is a setting of the models of transformers, of segmentation_models_pytorch"
        in threshold.stderr
    )


def test_other_names_are_another_model(photos: Path, model: Path, tmp_path: Path) -> None:
    run(photos, tmp_path, "--model", model, "--classes", "dog, cat")
    again = command("run", photos, "--output", tmp_path, "--model", model, "--classes", "cat, dog")
    assert again.exit_code == 1
    assert "segmentor.classes" in again.stderr
