"""The worked examples in configs/models/: each is run by its YAML, and its masks are computed anew here."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from PIL import Image

import batchseg

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import segmentation_models_pytorch as smp

ROOT = Path(__file__).parent.parent.parent
EXAMPLES = sorted(path.stem for path in (ROOT / "configs" / "models").glob("*.py"))
SIZES = {"a.png": (40, 56), "b.png": (33, 47), "c.png": (40, 56)}
MEAN, STD = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])


@pytest.fixture
def photos(tmp_path: Path, in_tasks: None) -> Path:
    (tmp_path / "photos").mkdir()
    random = np.random.default_rng(0)
    for name, (height, width) in SIZES.items():
        coarse = random.integers(0, 256, (5, 7, 3), dtype=np.uint8)
        image = Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)
        image.save(tmp_path / "photos" / name)
    return tmp_path / "photos"


def masks(name: str, photos: Path, monkeypatch: pytest.MonkeyPatch, **options: Any) -> dict[str, np.ndarray]:
    """Run an example by its YAML, on other images and with a model that is there."""
    monkeypatch.chdir(ROOT)  # their paths start at the repository's root
    output = photos.parent / "results"
    settings = [f"segmentor.options.{key}={value}" for key, value in options.items()]
    config = batchseg.load_config(
        f"configs/models/{name}.yaml", [f"source={photos}", f"output={output}", *settings]
    )
    result = batchseg.run(config)
    assert result.faults == {}
    return {file: np.asarray(Image.open(output / "masks" / file)) for file in SIZES}


def test_each_example_has_its_yaml_and_a_test() -> None:
    assert [path.stem for path in sorted((ROOT / "configs" / "models").glob("*.yaml"))] == EXAMPLES
    assert all(f"test_{name}" in globals() for name in EXAMPLES)


def test_plain_class(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for file, mask in masks("plain_class", photos, monkeypatch).items():
        image = np.asarray(Image.open(photos / file)).astype(float)
        share = image / np.maximum(image.sum(2), 1)[:, :, None]
        excess = 2 * share[:, :, 1] - share[:, :, 0] - share[:, :, 2]
        clear = abs(excess - 0.1) > 1e-5  # of float32
        assert (mask == (excess > 0.1))[clear].all()
        assert 0 < mask.mean() < 1


def test_onnx_runtime(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A 1 x 1 convolution, whose class of a pixel is that of a product with its normalised colour."""
    weight = np.array([[0, 0, 0], [1, -1, 0], [-1, 0.5, 1]], np.float32)
    helper, kind = onnx.helper, onnx.TensorProto.FLOAT
    graph = helper.make_graph(
        [helper.make_node("Conv", ["pixel_values", "weight"], ["logits"], kernel_shape=[1, 1])],
        "tiny",
        [helper.make_tensor_value_info("pixel_values", kind, ["batch", 3, 224, 224])],
        [helper.make_tensor_value_info("logits", kind, ["batch", 3, 224, 224])],
        [onnx.numpy_helper.from_array(weight[:, :, None, None], "weight")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, photos.parent / "network.onnx")
    for file, mask in masks("onnx_runtime", photos, monkeypatch, path=photos.parent / "network.onnx").items():
        image = Image.open(photos / file).resize((224, 224), Image.Resampling.BILINEAR)
        scores = ((np.asarray(image) / 255 - MEAN) / STD) @ weight.T
        height, width = SIZES[file]
        rows, columns = ((np.arange(size) + 0.5) * 224 // size for size in (height, width))
        expected = scores.argmax(2)[rows.astype(int)][:, columns.astype(int)]
        assert (mask == expected).mean() > 0.999
        assert len(np.unique(mask)) > 1


@pytest.mark.parametrize("classes", [1, 2])
def test_smp_model(classes: int, photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    network = smp.Unet("resnet18", encoder_weights=None, classes=classes).eval()
    folder = photos.parent / "my-unet"
    network.save_pretrained(folder)
    for file, mask in masks("smp_model", photos, monkeypatch, folder=folder).items():
        image = (np.asarray(Image.open(photos / file)) / 255 - MEAN) / STD
        height, width = image.shape[:2]
        padded = np.zeros((1, 3, 64, 64), np.float32)
        padded[0, :, :height, :width] = image.transpose(2, 0, 1)
        with torch.inference_mode():
            logits = network(torch.from_numpy(padded))[0, :, :height, :width].numpy()
        expected = logits.argmax(0) if classes == 2 else logits[0] > 0
        assert (mask == expected).mean() > 0.999
