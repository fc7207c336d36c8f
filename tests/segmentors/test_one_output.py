"""Networks of one output: a pixel is of the class where the sigmoid of its logit is above 0.5."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from test_torchvision_segmentor import image, normalised, random_network
from tiny_checkpoints import build
from torch.nn.functional import interpolate
from transformers import AutoImageProcessor, AutoModelForSemanticSegmentation

import batchseg
from batchseg.config.segmentor import HuggingFaceSegmentor, TorchvisionSegmentor
from batchseg.errors import ModelError
from batchseg.segmentors.huggingface.checkpoint import HuggingFaceCheckpoint
from batchseg.segmentors.huggingface.families import SEMANTIC, UNIVERSAL
from batchseg.segmentors.network.one_output import with_background
from batchseg.segmentors.network.upsample import bilinear_argmax
from batchseg.segmentors.torchvision import CLASSIFIER, TorchvisionCheckpoint
from tests.segmentors.loaded import loaded

PICTURE = image(77, 117, seed=3)


@torch.inference_mode()
def mask_of(logits_1HW: torch.Tensor, size: tuple[int, int]) -> np.ndarray:
    full = interpolate(logits_1HW[None].float(), size, mode="bilinear", align_corners=False)[0, 0]
    return (full.sigmoid() > 0.5).numpy()


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("size", [(200, 300), (96, 97), (20, 500)])
def test_the_upsampling_stays_exact(seed: int, size: tuple[int, int]) -> None:
    torch.manual_seed(seed)
    logits = torch.randn(1, 1, 24, 31)
    labels = bilinear_argmax(with_background(logits)[0], size)
    full = interpolate(logits, size, mode="bilinear", align_corners=False)[0, 0]
    assert torch.equal(labels.bool(), full > 0)


@pytest.mark.parametrize("family", SEMANTIC)
def test_every_semantic_family(family: str, tmp_path: Path) -> None:
    build(family, tmp_path, classes=1)
    checkpoint = HuggingFaceCheckpoint.open(HuggingFaceSegmentor(model=str(tmp_path)))
    assert checkpoint.label_map.names == ("background", "class 0")
    (prediction,) = loaded(checkpoint, "fp32").segment([checkpoint.preparer()(PICTURE)])
    network = AutoModelForSemanticSegmentation.from_pretrained(tmp_path).eval()
    processor = AutoImageProcessor.from_pretrained(tmp_path)
    inputs = processor(
        images=PICTURE, return_tensors="pt", input_data_format="channels_last", do_center_crop=False
    )
    with torch.inference_mode():
        logits = network(**inputs).logits[0]
    expected = mask_of(logits, PICTURE.shape[:2])
    assert 0 < expected.mean() < 1
    assert (prediction.labels_HW == expected).mean() >= 0.999
    assert prediction.labels_HW.dtype == np.uint8
    sigmoid = logits.sigmoid()
    assert prediction.confidence is not None
    surer = torch.maximum(sigmoid, 1 - sigmoid).mean().item()
    assert prediction.confidence.mean == pytest.approx(surer, abs=1e-3)


def test_unsure_pixels_have_no_class(tmp_path: Path) -> None:
    build("segformer", tmp_path, classes=1)
    prepare, segmentor = batchseg.load_segmentor({"model": str(tmp_path), "none_below": 0.9})
    (prediction,) = segmentor.segment([prepare(PICTURE)])
    assert {0, 1, 2} == {*np.unique(prediction.labels_HW).tolist()}


@pytest.mark.parametrize("family", UNIVERSAL)
def test_a_mask_classifier_of_one_class_is_refused(family: str, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"model_type": family, "id2label": {"0": "roof"}}))
    (tmp_path / "model.safetensors").touch()
    (tmp_path / "preprocessor_config.json").write_text("{}")
    with pytest.raises(
        ModelError, match=r"one class, 'roof', which every pixel would be.*background as a class"
    ):
        HuggingFaceCheckpoint.open(HuggingFaceSegmentor(model=str(tmp_path)))


def test_a_background_alone_is_refused(tmp_path: Path) -> None:
    build("segformer", tmp_path, classes=1)
    content = json.loads((tmp_path / "config.json").read_text())
    content["id2label"] = {"0": "Background"}
    (tmp_path / "config.json").write_text(json.dumps(content))
    with pytest.raises(
        ModelError, match=r"its one class is called 'Background'.*name it after what it finds"
    ):
        HuggingFaceCheckpoint.open(HuggingFaceSegmentor(model=str(tmp_path)))


@pytest.mark.parametrize(
    "builder", ["lraspp_mobilenet_v3_large", "deeplabv3_mobilenet_v3_large", "fcn_resnet50"]
)
def test_builders_of_torchvision(builder: str, tmp_path: Path) -> None:
    assert builder in CLASSIFIER
    network = random_network(builder, classes=1)
    torch.save(network.state_dict(), tmp_path / "model.pth")
    config = TorchvisionSegmentor(model=builder, weights=str(tmp_path / "model.pth"), resize=64)
    checkpoint = TorchvisionCheckpoint.open(config)
    assert checkpoint.label_map.names == ("background", "foreground")
    prepared = checkpoint.preparer()(PICTURE)
    (prediction,) = loaded(checkpoint, "fp32").segment([prepared])
    with torch.inference_mode():
        logits = network(normalised(prepared.pixels_THWC[0], resize=None)[None])["out"][0]
    expected = mask_of(logits, PICTURE.shape[:2])
    assert (prediction.labels_HW == expected).mean() >= 0.999
