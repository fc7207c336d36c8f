"""Models of segmentation_models_pytorch, held against the library's own forward pass on random weights."""

from __future__ import annotations

import json
import pickle
import shutil
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from batchseg.config.kinds import infer_segmentor
from batchseg.errors import ConfigError, ModelError, RowFault
from tests.segmentors.loaded import blobs as image
from tests.segmentors.loaded import loaded, opened, refused, segmented

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import segmentation_models_pytorch as smp

ARCHITECTURES = ("Unet", "FPN", "DeepLabV3Plus", "PSPNet", "Segformer", "UPerNet")
ENCODERS = ("resnet18", "mobilenet_v2")
CLASSES = 5
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
TRANSFORM = "albumentations_config_eval.json"


def normalised(image_HWC: np.ndarray, mean: Any = MEAN, std: Any = STD, white: float = 1.0) -> torch.Tensor:
    """The library's own `preprocess_input`, less what only fetches its numbers."""
    values = smp.encoders.preprocess_input(image_HWC * (white / 255), mean=mean, std=std)
    return torch.from_numpy(values).permute(2, 0, 1)[None].float()


def random_network(architecture: str = "Unet", encoder: str = "resnet18", **settings: Any) -> nn.Module:
    """Its batch statistics are those of an image, so that scores vary as trained ones do."""
    torch.manual_seed(0)
    settings = {"classes": CLASSES, **settings}
    network = getattr(smp, architecture)(encoder, encoder_weights=None, **settings)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = None  # the plain average of the batches seen
    channels = settings.get("in_channels", 3)
    batch = [normalised(image(64, 96, seed, channels), 0.45, 0.25) for seed in (1, 2)]
    with torch.no_grad():
        network.train()(torch.cat(batch))
    return network.eval()


def saved(network: Any, folder: Path) -> Path:
    network.save_pretrained(folder)
    return folder


def change(folder: Path, **values: Any) -> None:
    content = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**content, **values}))


@torch.no_grad()
def recipe(network: nn.Module, input_BCHW: torch.Tensor, multiple: int) -> np.ndarray:
    """The library's own forward pass and argmax; sides that it does not take are padded and cut again."""
    height, width = input_BCHW.shape[-2:]
    padded = nn.functional.pad(input_BCHW, (0, -width % multiple, 0, -height % multiple))
    logits = network(padded)
    logits = logits[0] if isinstance(logits, tuple) else logits
    assert logits.shape[-2:] == padded.shape[-2:]
    logits = logits[:, :, :height, :width]
    found = logits[0, 0] > 0 if logits.shape[1] == 1 else logits[0].argmax(0)
    return found.numpy().astype(np.uint8)


@pytest.fixture(scope="module")
def network() -> nn.Module:
    return random_network()


@pytest.fixture(scope="module")
def whole(network: nn.Module, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return saved(network, tmp_path_factory.mktemp("smp") / "unet")


@pytest.fixture
def folder(whole: Path, tmp_path: Path) -> Path:
    """A model that a test may spoil."""
    return Path(shutil.copytree(whole, tmp_path / "mine"))


# -- masks


@pytest.mark.parametrize("encoder", ENCODERS)
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_masks_are_those_of_the_librarys_own_forward(architecture: str, encoder: str, tmp_path: Path) -> None:
    network = random_network(architecture, encoder)
    checkpoint = opened(saved(network, tmp_path))
    model = loaded(checkpoint)
    for size in ((64, 96), (75, 101), (1, 33)):
        picture = image(*size)
        [prediction] = model.segment([checkpoint.preparer()(picture)])
        expected = recipe(network, normalised(picture), network.encoder.output_stride)
        assert prediction.labels_HW.shape == size
        assert (prediction.labels_HW == expected).mean() >= 0.999
    assert checkpoint.stride == network.encoder.output_stride


@pytest.mark.parametrize("activation", [None, "sigmoid"])
def test_one_output_is_told_from_the_background(activation: str | None, tmp_path: Path) -> None:
    network = random_network(classes=1)
    expected = recipe(network, normalised(image(64, 96)), 32)
    assert 0 < expected.mean() < 1
    network.config["activation"] = activation
    checkpoint = opened(saved(network, tmp_path))
    assert checkpoint.label_map.names == ("background", "foreground")
    [labels] = segmented(checkpoint, image(64, 96))
    assert (labels == expected).mean() >= 0.999
    named = opened(tmp_path, classes="background, lesion")
    assert named.label_map.names == ("background", "lesion")


def test_a_class_of_the_whole_image_beside_the_mask_is_left_out(tmp_path: Path) -> None:
    network = random_network(aux_params={"classes": 4, "dropout": 0.1})
    [labels] = segmented(opened(saved(network, tmp_path)), image(64, 96))
    assert (labels == recipe(network, normalised(image(64, 96)), 32)).mean() >= 0.999


def test_a_batch_equals_its_images_alone(whole: Path) -> None:
    checkpoint, pictures = opened(whole), [image(70, 90, seed) for seed in range(3)]
    for together, picture in zip(segmented(checkpoint, *pictures), pictures, strict=True):
        [alone] = segmented(checkpoint, picture)
        assert (together == alone).mean() >= 0.999


def test_pickled_weights_are_read_without_running_code(folder: Path, network: nn.Module) -> None:
    expected = segmented(opened(folder), image(64, 96))[0]
    (folder / "model.safetensors").unlink()
    torch.save(network.state_dict(), folder / "pytorch_model.bin")
    assert np.array_equal(segmented(opened(folder), image(64, 96))[0], expected)
    torch.save(network, folder / "pytorch_model.bin")
    assert "can run code when it is read" in refused(folder)


def test_it_survives_pickling(whole: Path) -> None:
    checkpoint = opened(whole)
    again = pickle.loads(pickle.dumps(checkpoint))
    assert again == checkpoint
    assert np.array_equal(*(segmented(each, image(64, 96))[0] for each in (checkpoint, again)))


def test_nothing_heavy_is_imported_to_open_it(whole: Path) -> None:
    import subprocess

    code = (
        "import sys; from batchseg.config.kinds import infer_segmentor; "
        f"assert infer_segmentor({str(whole)!r})['kind'] == 'smp'; "
        "assert not {'torch', 'segmentation_models_pytorch', 'timm'} & {*sys.modules}"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


# -- how images are prepared


def write_transform(folder: Path, *steps: dict[str, Any]) -> None:
    steps = tuple({"p": 1.0, **step} for step in steps)
    inner = {"__class_fullname__": "Compose", "p": 1.0, "transforms": list(steps)}
    (folder / TRANSFORM).write_text(json.dumps({"__version__": "1.4.18", "transform": inner}))


def normalize(**values: Any) -> dict[str, Any]:
    return {
        "__class_fullname__": "Normalize",
        "mean": [0.3, 0.4, 0.5],
        "std": [0.2, 0.2, 0.1],
        "max_pixel_value": 255.0,
        "normalization": "standard",
        **values,
    }


@pytest.mark.parametrize(
    ("step", "expected"),
    [
        (normalize(), ([0.3, 0.4, 0.5], [0.2, 0.2, 0.1], 1)),
        (normalize(mean=0.5, std=0.5), (0.5, 0.5, 1)),
        (normalize(normalization="inception"), (0.5, 0.5, 1)),
        (normalize(max_pixel_value=1.0, mean=[120.0], std=[60.0]), (120, 60, 255)),
        ({"__class_fullname__": "albumentations.Normalize"}, (MEAN, STD, 1)),
    ],
)
def test_the_saved_transform_says_how_images_are_normalised(
    step: dict[str, Any], expected: tuple[Any, Any, float], folder: Path, network: nn.Module
) -> None:
    write_transform(folder, {"__class_fullname__": "PadIfNeeded"}, step, {"__class_fullname__": "ToTensorV2"})
    checkpoint = opened(folder)
    assert checkpoint.remarks == ()
    [labels] = segmented(checkpoint, image(64, 96))
    assert (labels == recipe(network, normalised(image(64, 96), *expected), 32)).mean() >= 0.999


@pytest.mark.parametrize(
    ("step", "size"),
    [
        ({"__class_fullname__": "Resize", "height": 64, "width": 128}, (64, 128)),
        ({"__class_fullname__": "SmallestMaxSize", "max_size": 50}, (50, 75)),
        ({"__class_fullname__": "LongestMaxSize", "max_size": 60}, (40, 60)),
    ],
)
def test_the_saved_transform_says_the_size(step: dict[str, Any], size: tuple[int, int], folder: Path) -> None:
    write_transform(folder, step, normalize())
    checkpoint = opened(folder)
    prepared = checkpoint.preparer()(image(100, 150))
    assert prepared.pixels_THWC.shape[1:3] == size == checkpoint.resizing()((100, 150))
    assert checkpoint.preparer(as_is=True)(image(100, 150)).pixels_THWC.shape == (1, 100, 150, 3)
    assert segmented(checkpoint, image(100, 150))[0].shape == (100, 150)
    assert opened(folder, resize=32).preparer().input_hw((100, 150)) == (32, 48)


@pytest.mark.parametrize(
    ("steps", "words"),
    [
        ([{"__class_fullname__": "CLAHE"}], "has CLAHE, which is not known here"),
        ([normalize(normalization="image")], "normalises by 'image', anew for each image"),
        ([normalize(mean=[0.5, 0.5])], "the network reads 3 channels"),
        ([normalize(max_pixel_value=4095.0)], "a max_pixel_value of 4095"),
        ([{"__class_fullname__": "Resize", "height": None}], "resizes by Resize"),
    ],
)
def test_a_transform_that_cannot_be_followed_is_refused(
    steps: list[dict[str, Any]], words: str, folder: Path
) -> None:
    write_transform(folder, *steps)
    assert words in refused(folder)


def test_a_crop_that_is_not_done_is_said(folder: Path) -> None:
    write_transform(folder, {"__class_fullname__": "CenterCrop", "height": 8, "width": 8}, normalize())
    (note,) = opened(folder).remarks
    assert "CenterCrop, which is not done: images are segmented whole" in note


def test_what_is_stated_comes_before_a_transform_that_cannot_be_followed(folder: Path) -> None:
    write_transform(folder, {"__class_fullname__": "CLAHE"}, normalize(normalization="image"))
    checkpoint = opened(folder, mean=0.5, std=0.5)
    assert checkpoint.pixel_range.mean == (0.5,) * 3
    (remark,) = checkpoint.remarks
    assert "has CLAHE, which is not known here and is not done" in remark


def test_a_transform_that_does_not_normalise_is_no_reason_to_guess(folder: Path) -> None:
    write_transform(folder, {"__class_fullname__": "Resize", "height": 64, "width": 64})
    assert "does not normalise, so nothing says how its images are" in refused(folder)
    assert opened(folder, mean=0, std=1).preparer().input_hw((9, 9)) == (64, 64)


def test_a_transform_that_cannot_be_read_is_named(folder: Path) -> None:
    (folder / TRANSFORM).write_text("{}")
    assert f"cannot read its {TRANSFORM}" in refused(folder)


def test_without_a_transform_it_is_the_encoders_own_and_said(whole: Path) -> None:
    checkpoint = opened(whole)
    assert checkpoint.pixel_range.mean == MEAN and checkpoint.pixel_range.std == STD
    (note,) = checkpoint.remarks
    assert "as the encoder resnet18 has it (mean 0.485, 0.456, 0.406;" in note


@pytest.mark.parametrize(
    ("encoder", "weights", "mean"),
    [
        ("xception", "imagenet", 0.5),
        ("efficientnet-b0", "advprop", 0.5),
        ("efficientnet-b0", "imagenet", 0.485),
        ("timm-tf_efficientnet_lite0", "imagenet", 0.5),
        ("dpn68", "imagenet", 124 / 255),
        ("mit_b0", "imagenet", 0.485),
        ("tu-resnet18", True, 0.485),
    ],
)
def test_each_encoder_has_its_own(encoder: str, weights: Any, mean: float, folder: Path) -> None:
    change(folder, encoder_name=encoder, encoder_weights=weights)
    assert opened(folder).pixel_range.mean[0] == pytest.approx(mean)


def test_all_encoders_of_the_library_are_known() -> None:
    from batchseg.segmentors.smp.encoders import encoder_normalisation

    names = smp.encoders.get_encoder_names()
    assert len(names) > 50
    assert [name for name in names if encoder_normalisation(name, "imagenet") is None] == []


@pytest.mark.parametrize("changed", [{"encoder_name": "of_my_own"}, {"encoder_name": "tu-of_my_own"}])
def test_what_is_not_known_is_not_guessed(changed: dict[str, Any], folder: Path) -> None:
    change(folder, **changed)
    assert "nothing says how its images are normalised" in refused(folder)
    assert "set segmentor.mean and segmentor.std" in refused(folder)
    assert opened(folder, mean=[0.5], std=[0.5]).pixel_range.mean == (0.5,) * 3


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"mean": 0.5, "std": 0.25}, (0.5, 0.25, 1)),
        (
            {"mean": [124, 117, 104], "std": [58, 57, 57], "range": "0..255"},
            ([124, 117, 104], [58, 57, 57], 255),
        ),
    ],
)
def test_settings_come_first(
    settings: dict[str, Any], expected: tuple[Any, Any, float], folder: Path, network: nn.Module
) -> None:
    write_transform(folder, normalize())
    [labels] = segmented(opened(folder, **settings), image(64, 96))
    assert (labels == recipe(network, normalised(image(64, 96), *expected), 32)).mean() >= 0.999


def test_blue_may_come_first(whole: Path, network: nn.Module) -> None:
    [labels] = segmented(
        opened(whole, mean=[0.1, 0.2, 0.3], std=[0.2, 0.3, 0.4], channel_order="BGR"), image(64, 96)
    )
    turned = np.ascontiguousarray(image(64, 96)[..., ::-1])
    expected = recipe(network, normalised(turned, [0.1, 0.2, 0.3], [0.2, 0.3, 0.4]), 32)
    assert (labels == expected).mean() >= 0.999


@pytest.mark.parametrize("settings", [{"range": "0..255"}, {"channel_order": "BGR"}])
def test_what_belongs_to_a_mean_is_not_taken_without_one(settings: dict[str, Any], whole: Path) -> None:
    assert "set segmentor.mean and segmentor.std, too" in refused(whole, **settings)


def test_other_bands_than_rgb(tmp_path: Path) -> None:
    network = random_network(in_channels=4)
    saved(network, tmp_path)
    assert "expects of 4 channels is not known" in refused(tmp_path)
    checkpoint = opened(tmp_path, mean=[0.1, 0.2, 0.3, 0.4], std=0.25)
    assert checkpoint.channels == 4
    picture = image(64, 96, channels=4)
    expected = recipe(network, normalised(picture, [0.1, 0.2, 0.3, 0.4], 0.25), 32)
    assert (segmented(checkpoint, picture)[0] == expected).mean() >= 0.999
    deep = picture.astype(np.uint16) * 257  # the same of 16 bits
    assert (segmented(checkpoint, deep)[0] == expected).mean() >= 0.999
    assert "has 3 values as mean, and the network reads 4 channels" in refused(
        tmp_path, mean=[0, 0, 0], std=1
    )


def test_an_image_too_narrow_to_be_resized_fails_alone(whole: Path) -> None:
    with pytest.raises(RowFault, match="so narrow"):
        opened(whole, resize=2048).preparer()(image(1, 60_000))


# -- classes, and what is refused


@pytest.mark.parametrize(
    "named",
    [
        {"class_names": list("abcde")},
        {"id2label": {"0": "a", "1": "b", "2": "c", "3": "d", "4": "e"}},
    ],
)
def test_the_config_may_name_the_classes(named: dict[str, Any], folder: Path) -> None:
    assert opened(folder).label_map.names[:2] == ("class_0", "class_1")
    change(folder, **named)
    assert opened(folder).label_map.names == tuple("abcde")
    opened(folder).load("cpu", "fp32")


def test_as_many_classes_as_outputs_must_be_named(folder: Path) -> None:
    assert "2 classes are named, and the network has 5 outputs" in refused(folder, classes="a, b")


def test_what_changes_a_mask_changes_the_fingerprint(folder: Path) -> None:
    before = opened(folder).fingerprint
    assert opened(folder, batch_size=3).fingerprint == before
    settings = ({"resize": 64}, {"mean": 0.5, "std": 0.5}, {"compile": True}, {"none_below": 0.4})
    assert len({before, *(opened(folder, **each).fingerprint for each in settings)}) == 5
    write_transform(folder, normalize())
    assert opened(folder).fingerprint != before


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"activation": "argmax2d"}, "its activation is 'argmax2d', after which there are no scores"),
        ({"_model_class": "Net"}, "has no architecture Net; it has .*FPN.*Unet"),
        ({"_model_class": "losses"}, "has no architecture losses"),
        ({"_model_class": None}, "set segmentor.architecture, such as Unet"),
        ({"classes": 3}, "its model.safetensors does not fit its config.json"),
        ({"decoder_channels": [1]}, "its network cannot be made by segmentation_models_pytorch"),
    ],
)
def test_what_does_not_fit_is_said_in_a_sentence(changed: dict[str, Any], words: str, folder: Path) -> None:
    import re

    change(folder, **changed)
    assert re.search(words, refused(folder))


def test_the_architecture_may_be_set(folder: Path) -> None:
    change(folder, _model_class=None)
    opened(folder, architecture="Unet").load("cpu", "fp32")


def test_missing_weights_are_named(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    assert "has neither model.safetensors nor pytorch_model.bin" in refused(folder)


def test_a_missing_package_is_named(whole: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("batchseg.segmentors.smp.loading.find_spec", lambda name: None)
    assert "pip install 'batchseg[smp]'" in refused(whole)


def test_settings_are_checked(whole: Path) -> None:
    for settings, words in (
        ({"mean": 0.5}, "mean and std belong together"),
        ({"mean": 124, "std": 60}, "say range: 0..255"),
        ({"mean": 0.5, "std": 0}, "must be above 0"),
        ({"reszie": 3}, "unknown key"),
    ):
        with pytest.raises(ConfigError, match=words):
            opened(whole, **settings)


# -- from elsewhere


def test_at_a_uri_its_config_tells_the_kind(
    whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BATCHSEG_CACHE", str(tmp_path / "cache"))
    uri = f"file://{whole}"
    assert infer_segmentor(uri)["kind"] == "huggingface"
    checkpoint = opened(uri, none_below=0.3)  # type: ignore[arg-type]
    assert (segmented(checkpoint, image(64, 96))[0] == segmented(opened(whole), image(64, 96))[0]).all()
    assert checkpoint.location.name == uri
    assert opened(uri, kind="smp", mean=0.5, std=0.5).pixel_range.mean == (0.5,) * 3  # type: ignore[arg-type]


def test_on_the_hub_likewise(whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def snapshot_download(name: str, revision: str | None, allow_patterns: list[str]) -> str:
        asked.append((name, revision, allow_patterns))
        return str(whole)

    monkeypatch.setattr("huggingface_hub.snapshot_download", snapshot_download)
    checkpoint = opened("me/unet", revision="main")  # type: ignore[arg-type]
    assert checkpoint.label_map.num_classes == CLASSES
    assert asked[-1][:2] == ("me/unet", "main")
    assert TRANSFORM in asked[-1][2] and "pytorch_model.bin" in asked[-1][2]


def test_words_are_refused(whole: Path) -> None:
    with pytest.raises(ModelError, match=r"segmentor\.prompting is for models that are told in words"):
        opened(f"file://{whole}", prompting={"threshold": 0.3})  # type: ignore[arg-type]


def test_training_does_not_start_from_one(whole: Path) -> None:
    from batchseg.config.segmentor import HuggingFaceSegmentor
    from batchseg.segmentors.huggingface.checkpoint import HuggingFaceCheckpoint

    with pytest.raises(ModelError, match="neither trains them nor starts a training from one"):
        HuggingFaceCheckpoint.open(HuggingFaceSegmentor(model=str(whole)))


def test_what_is_taken_from_the_encoder_is_said_by_doctor_and_run(
    whole: Path, tmp_path: Path, in_process: None
) -> None:
    import batchseg

    (tmp_path / "photos").mkdir()
    Image.fromarray(image(40, 50)).save(tmp_path / "photos" / "a.png")
    found = batchseg.doctor(tmp_path / "photos", model=str(whole))
    assert "as the encoder resnet18 has it" in found.notes[0]
    output = tmp_path / "out"
    exact = {"segmentor": {"precision": "fp32"}}
    done = batchseg.run(tmp_path / "photos", model=str(whole), output=output, settings=exact)
    assert done.exit_code == 0
    assert "as the encoder resnet18 has it" in batchseg.open_results(str(output)).record["notes"][0]
    mask = np.array(Image.open(output / "masks" / "a.png"))
    assert np.array_equal(mask, segmented(opened(whole), image(40, 50))[0])


def test_scores_have_gradients_where_they_are_asked_for(whole: Path) -> None:
    checkpoint = opened(whole)
    model = checkpoint.load("cpu", "fp32")
    inputs = [checkpoint.preparer()(image(40, 50))]
    model.scores(inputs)  # a run comes before
    pixels_BHWC = torch.from_numpy(inputs[0].pixels_THWC).float().requires_grad_()
    [scores] = model.scores_of(pixels_BHWC, inputs)
    scores.maps[1].sum().backward()
    assert pixels_BHWC.grad is not None and pixels_BHWC.grad.abs().sum() > 0
