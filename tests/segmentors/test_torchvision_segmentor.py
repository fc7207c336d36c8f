"""The contract of a segmentor, and agreement with torchvision's own recipe, on random weights."""

from __future__ import annotations

import os
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from torch import nn
from torchvision.models import get_model_builder
from torchvision.models.segmentation import LRASPP_MobileNet_V3_Large_Weights
from torchvision.transforms._presets import SemanticSegmentation

from batchseg.config.segmentor import TorchvisionSegmentor
from batchseg.errors import ModelError, RowFault
from batchseg.labels.label_file import load_label_map
from batchseg.schema import Status
from batchseg.segmentors.base import ModelInput
from batchseg.segmentors.registry import open_checkpoint
from batchseg.segmentors.torchvision import CLASSIFIER, TorchvisionCheckpoint
from tests.segmentors.loaded import loaded

SMALL = "lraspp_mobilenet_v3_large"
CLASSES = 6
RESIZE = 64
NAME = "COCO_WITH_VOC_LABELS_V1"


def image(height: int, width: int, seed: int = 0) -> np.ndarray:
    """Blobs of colour, uint8 [H, W, 3]."""
    coarse = np.random.default_rng(seed).integers(0, 256, (6, 8, 3), dtype=np.uint8)
    return np.array(Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC))


def random_network(builder: str, classes: int = CLASSES, **options: bool) -> nn.Module:
    """A network whose batch statistics are those of an image, so that its scores vary as trained ones do."""
    torch.manual_seed(0)
    network = get_model_builder(builder)(weights=None, weights_backbone=None, num_classes=classes, **options)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = None  # the plain average of the batches seen
    with torch.no_grad():
        network.train()(torch.stack([normalised(image(RESIZE, 80, seed)) for seed in (1, 2)]))
    return network.eval()


def normalised(image_HWC: np.ndarray, resize: int | None = RESIZE) -> torch.Tensor:
    """The transforms that come with torchvision's weights."""
    return SemanticSegmentation(resize_size=resize)(Image.fromarray(image_HWC))


@torch.no_grad()
def recipe(network: nn.Module, prepared: ModelInput) -> np.ndarray:
    # from the resized pixels on: Pillow and torch round a few of them differently, by one of 255 levels,
    # and a network of random weights magnifies that; the resizing has its own test
    out = network(normalised(prepared.pixels_THWC[0], resize=None)[None])["out"]
    out = nn.functional.interpolate(out, prepared.image_hw, mode="bilinear", align_corners=False)
    return out.argmax(1)[0].numpy()


def open_(builder: str, weights: Path | str, **settings: int) -> TorchvisionCheckpoint:
    config = TorchvisionSegmentor(model=builder, weights=str(weights), **{"resize": RESIZE, **settings})
    return TorchvisionCheckpoint.open(config)


@pytest.fixture(scope="module")
def network() -> nn.Module:
    return random_network(SMALL)


@pytest.fixture(scope="module")
def saved(network, tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("weights") / "model.pth"
    torch.save(network.state_dict(), path)
    return path


@pytest.fixture(scope="module")
def checkpoint(saved) -> TorchvisionCheckpoint:
    return open_(SMALL, saved)


@pytest.fixture(scope="module")
def segmentor(checkpoint):
    return loaded(checkpoint, "fp32")


@pytest.mark.parametrize("builder", CLASSIFIER)
def test_agrees_with_the_librarys_own_recipe(builder, tmp_path):
    network = random_network(builder)
    torch.save(network.state_dict(), tmp_path / "model.pth")
    checkpoint = open_(builder, tmp_path / "model.pth")
    prepared = checkpoint.preparer()(image(150, 210))
    [prediction] = loaded(checkpoint, "fp32").segment([prepared])
    expected = recipe(network, prepared)
    assert len(np.unique(expected)) > 1
    assert (prediction.labels_HW == expected).mean() >= 0.999


@pytest.mark.parametrize("size", [(40, 50), (64, 80), (150, 210), (300, 100), (1, 1), (3, 90)])
def test_a_mask_has_the_size_of_its_image(checkpoint, segmentor, network, size):
    prepared = checkpoint.preparer()(image(*size))
    [prediction] = segmentor.segment([prepared])
    assert prediction.labels_HW.shape == size
    assert prediction.labels_HW.dtype == np.uint8
    assert prediction.labels_HW.max() < CLASSES
    assert (prediction.labels_HW == recipe(network, prepared)).mean() >= 0.999


def test_the_input_is_what_the_librarys_transforms_give(checkpoint):
    picture = image(150, 211)
    prepared = checkpoint.preparer()(picture)
    assert prepared.pixels_THWC.shape == (1, RESIZE, 90, 3)
    assert prepared.pixels_THWC.dtype == np.uint8
    assert prepared.pixels_THWC.flags.c_contiguous
    assert prepared.image_hw == (150, 211)
    assert checkpoint.preparer().input_hw((150, 211)) == (RESIZE, 90)
    values = torch.from_numpy(prepared.pixels_THWC[0]).permute(2, 0, 1) / 255
    mean, std = SemanticSegmentation(resize_size=RESIZE).mean, SemanticSegmentation(resize_size=RESIZE).std
    expected = normalised(picture) * torch.tensor(std)[:, None, None] + torch.tensor(mean)[:, None, None]
    off = ((values - expected).abs() * 255).round()  # in grey levels
    assert off.max() <= 1
    assert off.mean() < 0.01


def test_a_read_only_image_is_prepared_too(checkpoint):
    picture = image(80, 90)
    picture.flags.writeable = False
    assert checkpoint.preparer()(picture).pixels_THWC.shape == (1, RESIZE, 72, 3)


def test_a_batch_equals_its_images_alone(checkpoint, segmentor):
    inputs = [checkpoint.preparer()(image(90, 120, seed)) for seed in range(3)]
    together = segmentor.segment(inputs)
    assert len(together) == 3
    for one, prepared in zip(together, inputs, strict=True):
        [alone] = segmentor.segment([prepared])
        assert (one.labels_HW == alone.labels_HW).mean() >= 0.999
        assert one.confidence.mean == pytest.approx(alone.confidence.mean, abs=1e-5)


def test_images_of_different_sizes_may_share_a_batch(checkpoint, segmentor):
    inputs = [checkpoint.preparer()(image(80, 120)), checkpoint.preparer()(image(160, 240))]
    assert [each.labels_HW.shape for each in segmentor.segment(inputs)] == [(80, 120), (160, 240)]


def test_confidence_is_that_of_the_networks_probabilities(checkpoint, segmentor, network):
    prepared = checkpoint.preparer()(image(90, 120))
    [prediction] = segmentor.segment([prepared])
    with torch.no_grad():
        top = network(normalised(prepared.pixels_THWC[0], resize=None)[None])["out"].softmax(1).amax(1)
    assert prediction.confidence.mean == pytest.approx(top.mean().item(), abs=1e-4)
    assert prediction.confidence.low_fraction == pytest.approx((top < 0.5).float().mean().item(), abs=1e-3)


def test_bfloat16_agrees_as_far_as_random_weights_let_it(checkpoint, segmentor):
    prepared = checkpoint.preparer()(image(90, 120))
    [exact], [rounded] = segmentor.segment([prepared]), loaded(checkpoint, "bf16").segment([prepared])
    assert (exact.labels_HW == rounded.labels_HW).mean() > 0.8


def test_survives_pickling_and_loading_again(checkpoint, segmentor):
    again = pickle.loads(pickle.dumps(checkpoint))
    assert again == checkpoint
    prepared = pickle.loads(pickle.dumps(again.preparer()))(image(90, 120))
    [first], [second] = segmentor.segment([prepared]), loaded(again, "fp32").segment([prepared])
    assert np.array_equal(first.labels_HW, second.labels_HW)
    assert first.confidence == second.confidence


@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
def test_the_form_of_the_file_does_not_matter(network, segmentor, checkpoint, tmp_path, suffix):
    path = tmp_path / f"model{suffix}"
    save = save_file if suffix == ".safetensors" else torch.save
    save(network.state_dict(), path)
    prepared = checkpoint.preparer()(image(90, 120))
    [expected] = segmentor.segment([prepared])
    [actual] = loaded(open_(SMALL, path), "fp32").segment([prepared])
    assert np.array_equal(actual.labels_HW, expected.labels_HW)


def test_weights_stored_in_half_precision_are_computed_in_full(network, checkpoint, segmentor, tmp_path):
    torch.save({key: value.half() for key, value in network.state_dict().items()}, tmp_path / "half.pt")
    prepared = checkpoint.preparer()(image(90, 120))
    [half] = loaded(open_(SMALL, tmp_path / "half.pt"), "fp32").segment([prepared])
    [full] = segmentor.segment([prepared])
    assert (half.labels_HW == full.labels_HW).mean() > 0.95


def test_an_auxiliary_classifier_is_left_out(tmp_path):
    network = random_network("deeplabv3_mobilenet_v3_large", aux_loss=True)
    torch.save(network.state_dict(), tmp_path / "model.pth")
    checkpoint = open_("deeplabv3_mobilenet_v3_large", tmp_path / "model.pth")
    prepared = checkpoint.preparer()(image(90, 120))
    [prediction] = loaded(checkpoint, "fp32").segment([prepared])
    assert (prediction.labels_HW == recipe(network, prepared)).mean() >= 0.999


@pytest.mark.parametrize("classes", [2, 21, 300])
def test_the_classifier_tells_the_classes(tmp_path, classes):
    torch.save(random_network(SMALL, classes).state_dict(), tmp_path / "model.pth")
    checkpoint = open_(SMALL, tmp_path / "model.pth")
    names = tuple(f"class_{index}" for index in range(classes))
    assert checkpoint.label_map.names == (load_label_map("voc").names if classes == 21 else names)
    [prediction] = loaded(checkpoint, "fp32").segment([checkpoint.preparer()(image(80, 90))])
    assert prediction.labels_HW.dtype == checkpoint.label_map.dtype


@pytest.mark.parametrize("name", [NAME, "DEFAULT"])
def test_torchvisions_own_weights_bring_their_categories(tmp_path, monkeypatch, name):
    weights = LRASPP_MobileNet_V3_Large_Weights.DEFAULT
    cache = tmp_path / "hub" / "checkpoints"
    cache.mkdir(parents=True)
    torch.save(random_network(SMALL, 21).state_dict(), cache / os.path.basename(weights.url))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    checkpoint = open_(SMALL, name)
    assert checkpoint.weights == NAME
    assert checkpoint.label_map.names == tuple(weights.meta["categories"])
    assert checkpoint.fingerprint == open_(SMALL, NAME).fingerprint
    [prediction] = loaded(checkpoint, "fp32").segment([checkpoint.preparer()(image(80, 90))])
    assert prediction.labels_HW.max() < 21


def test_a_failed_download_names_the_way_out(tmp_path, monkeypatch):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    for scheme in ("http", "https"):
        monkeypatch.setenv(f"{scheme}_proxy", "http://127.0.0.1:9")  # nobody listens there
    with pytest.raises(ModelError, match=r"cannot download.*a local state dict can be named instead"):
        open_(SMALL, NAME)


def test_the_fingerprint_tells_what_changes_a_mask(checkpoint, saved, network, tmp_path):
    copy = tmp_path / "copy.pth"
    copy.write_bytes(saved.read_bytes())
    assert open_(SMALL, copy).fingerprint == checkpoint.fingerprint
    assert open_(SMALL, saved, batch_size=3).fingerprint == checkpoint.fingerprint
    for settings in ({"resize": 80}, {"compile": True}, {"scaled_decode": True}):
        assert open_(SMALL, saved, **settings).fingerprint != checkpoint.fingerprint
    state = network.state_dict()
    torch.save({**state, "classifier.low_classifier.bias": torch.ones(CLASSES)}, copy)
    assert open_(SMALL, copy).fingerprint != checkpoint.fingerprint


def test_is_what_the_configuration_opens(saved, checkpoint):
    config = TorchvisionSegmentor(model=SMALL, weights=str(saved), resize=RESIZE)
    assert open_checkpoint(config) == checkpoint


def test_an_unknown_builder_lists_the_known():
    with pytest.raises(ModelError, match=r"'unet'.*known are .*deeplabv3_resnet50.*lraspp"):
        open_("unet", "DEFAULT")


def test_unknown_weights_list_the_known():
    with pytest.raises(ModelError, match=f"no weights 'IMAGENET'; name .*{NAME}.*\\.pt"):
        open_(SMALL, "IMAGENET")


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(ModelError, match=r"there is no file .*gone\.pth"):
        open_(SMALL, tmp_path / "gone.pth")


def test_a_pickled_module_is_refused(network, tmp_path):
    torch.save(network, tmp_path / "module.pth")
    with pytest.raises(ModelError, match=r"module\.pth is not a state dict .*save model\.state_dict\(\)"):
        open_(SMALL, tmp_path / "module.pth")


def test_a_state_dict_beside_none_that_is_known_is_refused(network, tmp_path):
    torch.save({"generator": network.state_dict(), "epoch": 3}, tmp_path / "training.pth")
    with pytest.raises(ModelError, match=r"training\.pth is not a state dict; save model\.state_dict\(\)"):
        open_(SMALL, tmp_path / "training.pth")


@pytest.mark.parametrize("name", ["broken.pth", "broken.pt", "broken.safetensors"])
@pytest.mark.parametrize("content", [b"", b"no weights at all", b"PK\x03\x04 cut short"])
def test_a_broken_file_is_refused(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ModelError, match=name):
        open_(SMALL, tmp_path / name)


def test_another_models_weights_are_refused(saved):
    with pytest.raises(ModelError, match=r"not a state dict of fcn_resnet50: it has no classifier\.4"):
        open_("fcn_resnet50", saved)


def test_weights_that_do_not_fit_are_named(network, tmp_path):
    state = network.state_dict()
    state["stray"] = torch.zeros(3)
    state["classifier.high_classifier.weight"] = torch.zeros(1, 2, 3, 4)
    del state["classifier.cbr.0.weight"]
    torch.save(state, tmp_path / "model.pth")
    with pytest.raises(ModelError) as caught:
        loaded(open_(SMALL, tmp_path / "model.pth"), "fp32")
    for problem in ("cbr.0.weight is missing", "stray is not one", "[1, 2, 3, 4] instead of [6, 128, 1, 1]"):
        assert problem in str(caught.value)


def test_of_many_that_do_not_fit_a_few_are_named(network, tmp_path):
    state = {key: value for key, value in network.state_dict().items() if "backbone" not in key}
    torch.save(state, tmp_path / "model.pth")
    with pytest.raises(ModelError, match=r"backbone\.0\.0\.weight is missing, .*, and \d+ more$"):
        loaded(open_(SMALL, tmp_path / "model.pth"), "fp32")


def test_an_image_blown_up_beyond_measure_is_a_fault_of_the_image(saved):
    preparer = open_(SMALL, saved, resize=520).preparer()
    with pytest.raises(RowFault, match="1 x 5000 pixels, so narrow") as caught:
        preparer(np.zeros((5000, 1, 3), np.uint8))
    assert caught.value.status == Status.TOO_LARGE
