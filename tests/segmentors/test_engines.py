"""OpenVINO in place of torch and ONNX Runtime: the same masks, or the engine that there was and a word."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from segmentors.test_onnx import SAID, exported
from segmentors.test_onnx import Network as SmallNetwork
from segmentors.test_smp import random_network as smp_network
from segmentors.test_torchvision_segmentor import SMALL
from segmentors.test_torchvision_segmentor import random_network as torchvision_network
from segmentors.tiny_checkpoints import build
from torch import Tensor, nn

import batchseg
from batchseg.config.load import validate_segmentor
from batchseg.errors import BatchsegError, ConfigError
from batchseg.segmentors.network.engine import TorchEngine
from batchseg.segmentors.openvino.engine import SIZES, TOLERANCE, OpenVinoEngine
from batchseg.segmentors.openvino.source import TorchSource
from batchseg.segmentors.registry import load_segmentor
from tests.segmentors.loaded import blobs

FAMILIES = ("segformer", "beit", "upernet", "mask2former", "eomt")


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("BATCHSEG_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "openvino"


def masks(model: Path | str, *images: np.ndarray, precision: str = "fp32", **settings: Any) -> Any:
    """What a model makes of images one after another, and its engine."""
    prepare, loaded = load_segmentor({"model": str(model), **settings}, precision=precision)
    found = [loaded.segment([prepare(image)])[0].labels_HW for image in images]
    return found, loaded.segmentor.engine


def assert_same_masks(model: Path | str, plain: str = "torch", **settings: Any) -> None:
    images = [blobs(90, 120), blobs(75, 61, seed=1), blobs(90, 120, seed=2)]
    expected, engine = masks(model, *images, engine=plain, **settings)
    assert engine.used == plain
    found, engine = masks(model, *images, engine="openvino", **settings)
    assert (engine.used, engine.why_not) == ("openvino", None)
    for ours, theirs in zip(found, expected, strict=True):
        assert len(np.unique(theirs)) > 1
        assert (ours == theirs).mean() >= 0.999


# -- masks


@pytest.mark.parametrize("family", FAMILIES)
def test_models_of_transformers(family: str, tmp_path: Path) -> None:
    assert_same_masks(build(family, tmp_path / "model"))


def test_models_of_torchvision(tmp_path: Path) -> None:
    torch.save(torchvision_network(SMALL).state_dict(), tmp_path / "weights.pt")
    assert_same_masks(SMALL, weights=str(tmp_path / "weights.pt"), resize=64)


def test_models_of_smp(tmp_path: Path) -> None:
    smp_network().save_pretrained(tmp_path / "unet")
    assert_same_masks(tmp_path / "unet", mean=[0.4, 0.4, 0.4], std=[0.2, 0.2, 0.2])


@pytest.mark.parametrize("fixed", [(), (0,), (0, 2, 3)])
def test_onnx_networks(fixed: tuple[int, ...], tmp_path: Path) -> None:
    network = exported(SmallNetwork(), tmp_path / "net.onnx", (3, 3, 32, 48), fixed=fixed)
    assert_same_masks(network, "onnxruntime", **SAID)


def test_bf16_differs_from_fp32_no_more_than_torchs_does(tmp_path: Path) -> None:
    model, image = build("segformer", tmp_path / "model"), blobs(90, 120)
    [[exact], _], [[theirs], _], [[ours], _] = (
        masks(model, image, engine=engine, precision=precision)
        for engine, precision in (("torch", "fp32"), ("torch", "bf16"), ("openvino", "bf16"))
    )
    assert (ours == exact).mean() >= (theirs == exact).mean() - 0.02


def test_a_mask_does_not_depend_on_the_rest_of_its_batch(tmp_path: Path) -> None:
    model, images = build("segformer", tmp_path / "model"), [blobs(64, 64, seed=seed) for seed in range(5)]
    prepare, loaded = load_segmentor({"model": str(model), "engine": "openvino"}, precision="bf16")
    together = loaded.segment([prepare(image) for image in images])
    for image, mask in zip(images, together, strict=True):
        [alone] = loaded.segment([prepare(image)])
        assert np.array_equal(alone.labels_HW, mask.labels_HW)


def test_auto_takes_it_and_the_plain_engines_can_be_asked_for(tmp_path: Path) -> None:
    model = build("segformer", tmp_path / "model")
    assert masks(model, blobs(40, 40))[1].used == "openvino"
    assert masks(model, blobs(40, 40), compile=False, engine="torch")[1].used == "torch"


# -- what is kept


def test_a_network_is_converted_once(tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model, image = build("segformer", tmp_path / "model"), blobs(60, 60)
    [first], _ = masks(model, image, engine="openvino")
    monkeypatch.setattr("batchseg.segmentors.openvino.source.convert", None)  # not called again
    [second], _ = masks(model, image, engine="openvino")
    assert np.array_equal(first, second)


def test_a_file_that_was_cut_off_is_converted_again(tmp_path: Path, cache: Path) -> None:
    model, image = build("segformer", tmp_path / "model"), blobs(60, 60)
    [first], _ = masks(model, image, engine="openvino")
    for file in cache.glob("*/*"):
        file.write_bytes(file.read_bytes()[:100])
    [second], engine = masks(model, image, engine="openvino")
    assert engine.used == "openvino" and np.array_equal(first, second)


def test_other_weights_are_another_network(tmp_path: Path, cache: Path) -> None:
    for classes in (3, 4):
        masks(build("segformer", tmp_path / f"{classes}", classes), blobs(40, 40), engine="openvino")
    assert len([folder for folder in cache.iterdir() if folder.is_dir()]) == 2


def test_without_a_place_for_it_there_is_no_cache(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache.parent.write_text("a file where the folder would be")
    _, engine = masks(build("segformer", tmp_path / "model"), blobs(40, 40), engine="openvino")
    assert engine.used == "openvino"


# -- where it does not do


class TakesOneSize(nn.Module):
    """What a conversion fixes, such as a number of Python's that came from the size of the input."""

    def forward(self, pixels_BCHW: Tensor) -> tuple[Tensor]:
        share = float(pixels_BCHW.shape[-1])
        return (pixels_BCHW * share,)


class Convolves(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Conv2d(3, 2, 3)

    def forward(self, pixels_BCHW: Tensor) -> tuple[Tensor]:
        return (self.body(pixels_BCHW),)


class Decides(nn.Module):
    """By its input, of which a conversion sees noise."""

    def forward(self, pixels_BCHW: Tensor) -> tuple[Tensor]:
        return (-pixels_BCHW if pixels_BCHW.max() > 100 else pixels_BCHW,)


class CannotBeConverted(nn.Module):
    def forward(self, pixels_BCHW: Tensor) -> tuple[Tensor]:
        return (torch.linalg.pinv(pixels_BCHW),)


def engine_of(core: nn.Module, folder: Path, *, required: bool = False) -> OpenVinoEngine:
    plain = TorchEngine(core, torch.device("cpu"), torch.float32)
    kept = TorchSource(core, folder, "network")
    tolerance = TOLERANCE["fp32"]
    return OpenVinoEngine(plain, kept, "fp32", 1, required=required, tolerance=tolerance)


def test_a_size_for_which_its_scores_are_others_has_a_conversion_of_its_own(cache: Path) -> None:
    core = TakesOneSize()
    engine = engine_of(core, cache)
    for width in (8, 12, 8):
        pixels = torch.randn(2, 3, 6, width)
        (found,) = engine(pixels)
        torch.testing.assert_close(found, core(pixels)[0])
        assert engine.used == "openvino"


def test_where_its_scores_are_others_torch_goes_on_and_it_is_said(cache: Path) -> None:
    core = Decides()
    engine, pixels = engine_of(core, cache), torch.full((2, 3, 6, 6), 1000.0)
    torch.testing.assert_close(engine(pixels)[0], -pixels)
    assert engine.used == "torch" and "differs from torch's" in str(engine.why_not)


def test_what_cannot_be_converted_is_left_to_torch_and_said(cache: Path) -> None:
    engine, pixels = engine_of(CannotBeConverted(), cache), torch.randn(1, 3, 6, 6)
    torch.testing.assert_close(engine(pixels)[0], torch.linalg.pinv(pixels))
    assert engine.used == "torch" and engine.why_not
    with pytest.raises(RuntimeError, match=r"segmentor\.engine: openvino cannot compute this network"):
        engine_of(CannotBeConverted(), cache, required=True)(pixels)


def test_it_is_compiled_for_a_few_sizes_and_no_more(cache: Path) -> None:
    engine, used = engine_of(Convolves(), cache), []
    with torch.inference_mode():
        for side in range(8, 8 + SIZES + 2):
            engine(torch.randn(1, 3, side, side))
            used.append(engine.used)
    assert used == ["openvino"] * SIZES + ["torch"] * 2
    assert engine.why_not is None


# -- bad input


def refused(model: Path, **settings: Any) -> str:
    with pytest.raises(BatchsegError) as caught:
        masks(model, blobs(40, 40), **settings)
    assert "\n" not in str(caught.value).strip()
    return str(caught.value)


def test_a_missing_package_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = build("segformer", tmp_path / "model")
    monkeypatch.setitem(sys.modules, "openvino", None)
    assert "pip install 'batchseg[openvino]'" in refused(model, engine="openvino")


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"engine": "openvino", "compile": True}, "compile is for torch, and engine: openvino for OpenVINO"),
        ({"engine": "openvino", "precision": "fp16"}, "engine: openvino computes in fp32 or bf16"),
        ({"engine": "torch", "quantise": "int8"}, "quantise is done by OpenVINO, and engine is torch"),
        ({"engine": "tensorrt"}, "engine"),
    ],
)
def test_settings_that_exclude_each_other(settings: dict[str, Any], words: str, tmp_path: Path) -> None:
    assert words in refused(build("segformer", tmp_path / "model"), **settings)


def test_a_model_that_it_does_not_compute(tmp_path: Path) -> None:
    from segmentors.prompted.tiny_prompted import build_prompted

    words = refused(build_prompted("clipseg", tmp_path / "model"), engine="openvino", classes=["a", "b"])
    assert "does not compute a model" in words


def test_it_is_for_cpus() -> None:
    chosen = {"model": "any", "engine": "openvino", "device": "cuda"}
    with pytest.raises(ConfigError, match="engine: openvino is for CPUs"):
        validate_segmentor({"kind": "huggingface", **chosen})


def test_nothing_is_reported_to_its_makers(tmp_path: Path) -> None:
    masks(build("segformer", tmp_path / "model"), blobs(40, 40), engine="openvino")
    assert "openvino_telemetry" not in sys.modules


# -- in a run


def test_a_run_says_what_computed_it(in_process: None, sample_data: Path, tmp_path: Path) -> None:
    """A choice changes the fingerprint; what is left to the program does not, whatever it takes."""
    kept, chosen = {}, {"model": str(sample_data / "model"), "precision": "fp32"}
    for name, engine in (("auto", {}), ("torch", {"engine": "torch"})):
        source, output = str(sample_data / "images" / "day" / "a"), str(tmp_path / name)
        kept[name] = batchseg.run(source, model={**chosen, **engine}, output=output).record
    again = batchseg.run(source, model={**chosen, "engine": "auto"}, output=str(tmp_path / "auto"))
    assert again.record["images"]["segmented"] == 0
    assert (kept["auto"]["engine"], kept["torch"]["engine"]) == ("openvino", "torch")
    assert kept["auto"]["model"]["fingerprint"] != kept["torch"]["model"]["fingerprint"]
