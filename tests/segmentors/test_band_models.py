"""Models whose input has other than three channels, held against the library's own forward pass."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional
from transformers import (
    AutoImageProcessor,
    AutoModelForSemanticSegmentation,
    AutoModelForUniversalSegmentation,
)

from batchseg.config.load import validate_segmentor
from batchseg.config.segmentor import infer_segmentor
from batchseg.errors import ModelError
from batchseg.segmentors.base import ModelInput
from batchseg.segmentors.network.levels import to_levels
from batchseg.segmentors.network.upload import to_device
from batchseg.segmentors.registry import open_checkpoint
from tests.band_files import bands_of, levels
from tests.segmentors.loaded import loaded
from tests.segmentors.tiny_checkpoints import build

# one of every way of resizing, cutting and flipping; mask2former answers with queries
FAMILIES = ("segformer", "beit", "dpt", "mobilenet_v2", "mobilevit", "eomt", "mask2former")
ENOUGH = 0.998  # pixels that differ by 1e-6 come out of random networks 1e-2 apart
SCALE = ((100.0, 50_000.0), (0.0, 40_000.0), (0.0, 60_000.0), (5000.0, 55_000.5))


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Any:
    known: dict[Any, Path] = {}

    def make(family: str, channels: int = 4, **processor: Any) -> Path:
        key = (family, channels, json.dumps(processor))
        if key not in known:
            known[key] = build(family, tmp_path_factory.mktemp(family), channels=channels, **processor)
        return known[key]

    return make


def open_model(folder: Path) -> Any:
    return open_checkpoint(validate_segmentor(infer_segmentor(str(folder))))


def by_the_library(folder: Path, scaled_HWC: np.ndarray, size_hw: tuple[int, int]) -> np.ndarray:
    """The labels that transformers itself makes of an array of 0 to 255, without cropping it."""
    processor = AutoImageProcessor.from_pretrained(folder)
    settings = processor.valid_kwargs.__annotations__
    given = {
        "do_center_crop": False,
        "do_pad": False,
        "do_flip_channel_order": processor_flips(processor, scaled_HWC),
    }
    known = {key: value for key, value in given.items() if key in settings}
    batch = processor(
        images=torch.from_numpy(scaled_HWC).permute(2, 0, 1),
        input_data_format="channels_first",
        return_tensors="pt",
        **known,
    )
    universal = json.loads((folder / "config.json").read_text())["model_type"] in ("eomt", "mask2former")
    auto = AutoModelForUniversalSegmentation if universal else AutoModelForSemanticSegmentation
    network = auto.from_pretrained(folder).eval()
    with torch.no_grad():
        outputs = network(pixel_values=batch["pixel_values"])
    if universal:
        if "patch_offsets" in batch:
            outputs.patch_offsets = batch["patch_offsets"]
        (labels,) = processor.post_process_semantic_segmentation(outputs, target_sizes=[size_hw])
        return np.asarray(labels)
    logits = functional.interpolate(outputs.logits, size=size_hw, mode="bilinear", align_corners=False)
    return logits.argmax(1)[0].numpy()


def processor_flips(processor: Any, scaled_HWC: np.ndarray) -> bool:
    """It flips the first three channels, and fails where there are fewer."""
    return bool(getattr(processor, "do_flip_channel_order", False)) and scaled_HWC.shape[2] >= 3


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("kind", ["uint8", "uint16", "float32"])
def test_labels_are_those_of_the_library(made: Any, family: str, kind: str) -> None:
    folder = made(family)
    pixels = bands_of("uint16", 4, (90, 70), seed=3)
    scale: Any = SCALE
    if kind == "uint8":
        pixels, scale = (pixels // 256).astype(np.uint8), None
    scaled = pixels if scale is None else levels(pixels, scale)
    checkpoint = open_model(folder)
    assert checkpoint.channels == 4
    prepared = checkpoint.preparer()(pixels.astype(kind), scale)
    (prediction,) = loaded(checkpoint).segment([prepared])
    expected = by_the_library(folder, scaled, (90, 70))
    assert len(np.unique(expected)) > 1
    assert np.mean(prediction.labels_HW == expected) >= ENOUGH


@pytest.mark.parametrize("channels", [1, 2, 7])
@pytest.mark.parametrize("family", ["segformer", "mobilevit", "upernet"])
def test_other_numbers_of_channels(made: Any, family: str, channels: int) -> None:
    folder = made(family, channels)
    pixels = bands_of("float32", channels, (64, 64), seed=5)
    scale = ((-0.5, 1.5),) * channels
    checkpoint = open_model(folder)
    (prediction,) = loaded(checkpoint).segment([checkpoint.preparer()(pixels, scale)])
    expected = by_the_library(folder, levels(pixels, scale), (64, 64))
    assert np.mean(prediction.labels_HW == expected) >= ENOUGH


def test_pixels_that_need_no_resizing_stay_as_narrow_as_they_are(made: Any) -> None:
    preparer = open_model(made("segformer")).preparer()
    same = preparer(bands_of("uint16", 4, (64, 64)), SCALE)
    assert same.pixels_THWC.dtype == np.uint16
    assert same.scale == SCALE
    resized = preparer(bands_of("uint16", 4, (64, 65)), SCALE)
    assert resized.pixels_THWC.dtype == np.float32
    assert resized.scale is None
    assert preparer(bands_of("uint8", 4, (90, 65))).pixels_THWC.dtype == np.uint8


def test_16_bits_without_a_scale_are_all_of_them(made: Any) -> None:
    checkpoint, pixels = open_model(made("segformer")), bands_of("uint16", 4, (50, 64))
    model, prepare = loaded(checkpoint), checkpoint.preparer()
    plain, given = (
        model.segment([each])[0] for each in (prepare(pixels), prepare(pixels, ((0, 65535),) * 4))
    )
    assert np.array_equal(plain.labels_HW, given.labels_HW)


def test_a_batch_of_mixed_types_equals_its_pictures_alone(made: Any) -> None:
    checkpoint = open_model(made("segformer"))
    prepare, model = checkpoint.preparer(), loaded(checkpoint)
    wide, narrow = bands_of("uint16", 4, (64, 64)), bands_of("uint8", 4, (64, 64), seed=1)
    inputs = [prepare(wide, SCALE), prepare(narrow), prepare(bands_of("float32", 4, (50, 80)), ((0, 1),) * 4)]
    together = model.segment(inputs)
    for each, prediction in zip(inputs, together, strict=True):
        assert np.mean(model.segment([each])[0].labels_HW == prediction.labels_HW) >= ENOUGH


def test_levels_are_black_to_white_of_each_band_and_clipped() -> None:
    pixels = np.array([[[0, 0], [1000, 1000], [2000, 4000], [9000, 500]]], np.uint16)
    each = ModelInput(pixels[None], (1, 4), {}, ((1000, 2000), (0, 4000)))
    other = ModelInput(pixels[None], (1, 4), {}, ((0, 500), (4000, 0)))
    found = to_levels(to_device([each, other], torch.device("cpu")), [each, other])
    assert found.dtype == torch.float32
    assert np.allclose(found[0], levels(pixels, each.scale))
    assert np.allclose(found[1], levels(pixels, other.scale))


def test_a_processor_for_three_channels_is_refused_with_what_to_do(made: Any, tmp_path: Path) -> None:
    folder = build("segformer", tmp_path, channels=4, image_mean=[0.5] * 3, image_std=[0.2] * 3)
    with pytest.raises(
        ModelError, match=r"reads images of 4 channels .* image_mean .* of 4 values each"
    ) as caught:
        open_model(folder)
    assert "\n" not in str(caught.value)
    content = json.loads((folder / "preprocessor_config.json").read_text())
    once = {**content, "image_mean": [0.5], "image_std": [0.2]}
    (folder / "preprocessor_config.json").write_text(json.dumps(once))
    assert open_model(folder).pixel_range.mean == (0.5,) * 4
    del once["image_mean"]
    (folder / "preprocessor_config.json").write_text(json.dumps(once))
    with pytest.raises(ModelError, match="has 3 by default"):
        open_model(folder).load("cpu", "fp32")


@pytest.mark.parametrize("number", [0, -1, "4", 1.5, True])
def test_num_channels_must_be_a_number(made: Any, tmp_path: Path, number: Any) -> None:
    folder = build("segformer", tmp_path)
    content = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**content, "num_channels": number}))
    with pytest.raises(ModelError, match=r"num_channels in its config\.json must be a whole number"):
        open_model(folder)


def test_a_model_of_frames_reads_three_channels(tmp_path: Path) -> None:
    folder = build("videomt", tmp_path)
    content = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**content, "num_channels": 5}))
    with pytest.raises(ModelError, match="reads frames of 5 channels"):
        open_model(folder)
