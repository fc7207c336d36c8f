"""ONNX networks: exported from torch, and held against it on the same pixels."""

from __future__ import annotations

import pickle
import re
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
import yaml
from PIL import Image
from torch import nn
from torch.nn import functional

from batchseg.errors import ConfigError, ModelError
from batchseg.segmentors.registry import load_segmentor
from tests.segmentors.loaded import blobs as image
from tests.segmentors.loaded import loaded, opened, refused, segmented

NAMES = ("background", "road", "car", "tree")
MEAN, STD = (0.4, 0.45, 0.5), (0.2, 0.25, 0.3)
SAID: dict[str, Any] = {"mean": MEAN, "std": STD, "scores": "logits", "classes": NAMES}
OWN = onnx.helper.make_node("MyOwn", ["pixels"], ["out"])
FLOAT, OPSET = onnx.TensorProto.FLOAT, 17


class Network(nn.Module):
    """Four classes, at half the size of the input."""

    def __init__(self, classes: int = len(NAMES), channels: int = 3) -> None:
        super().__init__()
        torch.manual_seed(3)
        self.body = nn.Sequential(
            nn.Conv2d(channels, 8, 3, stride=2, padding=1), nn.Tanh(), nn.Conv2d(8, classes, 3, padding=1)
        )

    def forward(self, pixels_BCHW: torch.Tensor) -> torch.Tensor:
        scores: torch.Tensor = self.body(pixels_BCHW)
        return scores


def exported(
    network: nn.Module,
    path: Path,
    *shapes: tuple[int, ...],
    fixed: tuple[int, ...] = (),
    sides: tuple[int, int] = (2, 3),
    outputs: tuple[str, ...] = ("out",),
) -> Path:
    """By torch, as people do it.

    Args:
        shapes: of the inputs; by default one of an image of 32 x 48.
        fixed: the dimensions that are not dynamic.
    """
    free = {axis: f"dim{axis}" for axis in (0, *sides) if axis not in fixed}
    inputs = ["pixels", *(f"more{place}" for place in range(1, len(shapes)))]
    axes = {name: free for name in (*inputs, *outputs)} if free else None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that there is a newer exporter
        torch.onnx.export(
            *(network.eval(), tuple(map(torch.zeros, shapes or ((1, 3, 32, 48),))), str(path)),
            dynamo=False,
            opset_version=OPSET,
            input_names=inputs,
            output_names=list(outputs),
            dynamic_axes=axes,
        )
    return path


def describe(path: Path, **said: Any) -> Path:
    content = {key: list(value) if isinstance(value, tuple) else value for key, value in said.items()}
    path.with_suffix(".yaml").write_text(yaml.safe_dump(content))
    return path


def normalised(image_HWC: np.ndarray, mean: Any = MEAN, std: Any = STD, white: float = 1.0) -> torch.Tensor:
    values = (image_HWC.astype(np.float64) * (white / 255) - np.array(mean)) / np.array(std)
    return torch.from_numpy(values).float().permute(2, 0, 1)[None]


@torch.no_grad()
def recipe(network: nn.Module, input_BCHW: torch.Tensor, size: tuple[int, int]) -> np.ndarray:
    logits = functional.interpolate(network.eval()(input_BCHW), size, mode="bilinear", align_corners=False)
    found = logits[0].argmax(0) if logits.shape[1] > 1 else logits[0, 0] > 0
    return found.numpy().astype(np.uint8)


@pytest.fixture(scope="module")
def network() -> nn.Module:
    return Network().eval()


@pytest.fixture(scope="module")
def free(network: nn.Module, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """It takes any size and any batch, and is not described."""
    return exported(network, tmp_path_factory.mktemp("onnx") / "net.onnx")


# -- masks


@pytest.mark.parametrize("size", [(32, 48), (64, 64), (200, 150)])
def test_masks_are_those_of_torch(size: tuple[int, int], free: Path, network: nn.Module) -> None:
    checkpoint = opened(free, **SAID)
    assert checkpoint.label_map.names == NAMES
    [labels] = segmented(checkpoint, image(*size))
    expected = recipe(network, normalised(image(*size)), size)
    assert len(np.unique(expected)) > 2
    assert labels.shape == size and (labels == expected).mean() >= 0.999


def test_a_real_network_exported_by_torch(tmp_path: Path) -> None:
    from test_torchvision_segmentor import random_network

    network = random_network("lraspp_mobilenet_v3_large", len(NAMES))

    class Alone(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.network = network

        def forward(self, pixels_BCHW: torch.Tensor) -> torch.Tensor:
            scores: torch.Tensor = self.network(pixels_BCHW)["out"]
            return scores

    path = exported(Alone(), tmp_path / "lraspp.onnx", (1, 3, 64, 96), fixed=(2, 3))
    describe(path, mean=[0.485, 0.456, 0.406], std=[0.229, 0.224, 0.225], scores="logits", classes=NAMES)
    [labels] = segmented(opened(path), image(64, 96))
    pixels = normalised(image(64, 96), [0.485, 0.456, 0.406], [0.229, 0.224, 0.225])
    assert (labels == recipe(Alone(), pixels, (64, 96))).mean() >= 0.999


def test_a_size_that_it_was_exported_for_is_what_images_are_brought_to(
    network: nn.Module, tmp_path: Path
) -> None:
    checkpoint = opened(exported(network, tmp_path / "net.onnx", fixed=(0, 2, 3)), **SAID)
    for as_is in (False, True):
        prepared = checkpoint.preparer(as_is)(image(75, 101))
        assert prepared.pixels_THWC.shape == (1, 32, 48, 3)
    assert checkpoint.resizing()((75, 101)) == (32, 48)
    [labels] = segmented(checkpoint, image(75, 101))
    expected = recipe(network, normalised(prepared.pixels_THWC[0]), (75, 101))
    assert labels.shape == (75, 101) and (labels == expected).mean() >= 0.999


def test_a_size_may_be_asked_for(free: Path) -> None:
    assert opened(free, **SAID, size=64).preparer().input_hw((75, 101)) == (64, 64)
    asked = opened(free, **SAID, size=[32, 64])
    assert asked.preparer().input_hw((75, 101)) == (32, 64)
    assert asked.preparer(as_is=True).input_hw((75, 101)) == (75, 101)
    assert segmented(asked, image(75, 101))[0].shape == (75, 101)


@pytest.mark.parametrize("count", [1, 2, 3, 5])
def test_a_batch_that_it_was_exported_for_is_filled(count: int, network: nn.Module, tmp_path: Path) -> None:
    path = exported(network, tmp_path / "net.onnx", (2, 3, 32, 48), fixed=(0,))
    checkpoint, pictures = opened(path, **SAID), [image(64, 96, seed) for seed in range(count)]
    for labels, picture in zip(segmented(checkpoint, *pictures), pictures, strict=True):
        assert (labels == recipe(network, normalised(picture), (64, 96))).mean() >= 0.999


@pytest.mark.parametrize("size", [(64, 64), (75, 101), (1, 1), (33, 7)])
def test_sides_are_padded_to_multiples_and_cut_again(
    size: tuple[int, int], free: Path, network: nn.Module
) -> None:
    [labels] = segmented(opened(free, **SAID, multiple=32), image(*size))
    height, width = size
    padded = functional.pad(normalised(image(*size)), (0, -width % 32, 0, -height % 32))
    expected = recipe(network, padded, (padded.shape[2], padded.shape[3]))[:height, :width]
    assert (labels == expected).mean() >= 0.999


def test_channels_may_come_last(network: nn.Module, tmp_path: Path) -> None:
    class Last(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.network = network

        def forward(self, pixels_BHWC: torch.Tensor) -> Any:
            return self.network(pixels_BHWC.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)

    checkpoint = opened(exported(Last(), tmp_path / "net.onnx", (1, 32, 48, 3), sides=(1, 2)), **SAID)
    assert checkpoint.signature.is_nhwc and checkpoint.channels == 3
    [labels] = segmented(checkpoint, image(60, 90))
    assert (labels == recipe(network, normalised(image(60, 90)), (60, 90))).mean() >= 0.999


class Ended(nn.Module):
    """A network with what is often put at its end."""

    def __init__(self, network: nn.Module, end: str) -> None:
        super().__init__()
        self.network, self.end = network, end

    def forward(self, pixels_BCHW: torch.Tensor) -> torch.Tensor:
        scores: torch.Tensor = self.network(pixels_BCHW)
        if self.end == "softmax":
            return scores.softmax(1)
        if self.end == "sigmoid":
            return scores.sigmoid()
        if self.end == "flat sigmoid":
            return scores.sigmoid()[:, 0]
        labels = scores.argmax(1, keepdim=self.end.endswith("kept"))
        return labels.float() if self.end.startswith("float") else labels


def test_probabilities_are_read_as_such(network: nn.Module, tmp_path: Path) -> None:
    path = exported(Ended(network, "softmax"), tmp_path / "net.onnx")
    checkpoint = opened(path, **{**SAID, "scores": "probabilities"})
    [prediction] = loaded(checkpoint).segment([checkpoint.preparer()(image(64, 96))])
    with torch.no_grad():
        probabilities = network(normalised(image(64, 96))).softmax(1)
    whole = functional.interpolate(probabilities, (64, 96), mode="bilinear", align_corners=False)
    assert (prediction.labels_HW == whole[0].argmax(0).numpy()).mean() >= 0.999
    assert prediction.confidence is not None
    assert prediction.confidence.mean == pytest.approx(probabilities.amax(1).mean().item(), abs=1e-4)


@pytest.mark.parametrize("end", ["argmax", "argmax kept", "float argmax"])
def test_labels_are_read_as_such(end: str, network: nn.Module, tmp_path: Path) -> None:
    path = exported(Ended(network, end), tmp_path / "net.onnx")
    said = {key: value for key, value in SAID.items() if key != "scores"}
    if end.startswith("float"):
        said["scores"] = "labels"
    checkpoint = opened(path, **said)
    [prediction] = loaded(checkpoint).segment([checkpoint.preparer()(image(64, 96))])
    with torch.no_grad():
        half = network(normalised(image(64, 96)))[0].argmax(0).numpy()
    assert np.array_equal(prediction.labels_HW, half.repeat(2, 0).repeat(2, 1))
    assert prediction.confidence is None


@pytest.mark.parametrize(
    ("end", "scores"), [(None, "logits"), ("sigmoid", "probabilities"), ("flat sigmoid", "probabilities")]
)
def test_a_single_map_is_told_from_the_background(end: str | None, scores: str, tmp_path: Path) -> None:
    network = Network(classes=1)
    path = exported(Ended(network, end) if end else network, tmp_path / "net.onnx")
    [labels] = segmented(
        opened(path, **{**SAID, "scores": scores, "classes": "background, lesion"}), image(64, 96)
    )
    expected = recipe(network, normalised(image(64, 96)), (64, 96))
    assert 0 < expected.mean() < 1
    # sigmoids are interpolated as they are, and logits as logits
    assert (labels == expected).mean() >= (0.999 if scores == "logits" else 0.99)


@pytest.mark.parametrize(
    ("said", "pixels"),
    [
        ({"mean": 0, "std": 1}, lambda each: normalised(each, 0, 1)),
        ({"mean": 128, "std": 256, "range": "0..255"}, lambda each: normalised(each, 128, 256, 255)),
        ({"channel_order": "BGR"}, lambda each: normalised(each[..., ::-1])),
    ],
)
def test_pixels_are_normalised_as_described(
    said: dict[str, Any], pixels: Any, free: Path, network: nn.Module
) -> None:
    [labels] = segmented(opened(free, **{**SAID, **said}), image(64, 96))
    assert (labels == recipe(network, pixels(image(64, 96)), (64, 96))).mean() >= 0.999


def test_other_bands_than_rgb(tmp_path: Path) -> None:
    network = Network(channels=5)
    path = exported(network, tmp_path / "net.onnx", (1, 5, 32, 48))
    checkpoint = opened(path, **{**SAID, "mean": 0.4, "std": 0.3})
    assert checkpoint.channels == 5
    picture = image(64, 96, channels=5)
    expected = recipe(network, normalised(picture, 0.4, 0.3), (64, 96))
    assert (segmented(checkpoint, picture)[0] == expected).mean() >= 0.999
    assert (segmented(checkpoint, picture.astype(np.uint16) * 257)[0] == expected).mean() >= 0.999
    assert "has 3 values as mean, and the network reads 5 channels" in refused(path, **SAID)


def graph(
    path: Path, kind: int = FLOAT, shape: Any = ("b", 3, "h", "w"), out: Any = ("b", 4, "h", "w"), **more: Any
) -> Path:
    """A 1 x 1 convolution of uint8, float16 or float32, with its shapes as they are declared."""
    helper, cast = onnx.helper, onnx.TensorProto.FLOAT
    weight = np.random.default_rng(1).normal(size=(4, 3, 1, 1)).astype(np.float32)
    nodes = more.pop("nodes", None) or [
        helper.make_node("Cast", ["pixels"], ["floats"], to=cast),
        helper.make_node("Conv", ["floats", "weight"], ["out"]),
    ]
    made = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("pixels", kind, shape)],
        [helper.make_tensor_value_info("out", FLOAT, out)],
        [onnx.numpy_helper.from_array(weight, "weight")],
    )
    model = helper.make_model(made, opset_imports=[helper.make_opsetid("", more.pop("opset", OPSET))])
    model.ir_version = more.pop("ir", 8)
    helper.set_model_props(model, more.pop("props", {}))
    onnx.save(model, path, **more)
    return path


def passed_on(path: Path, shape: Any, out: Any = None, perm: Any = None) -> Path:
    """Pixels as they are, or their dimensions in another order."""
    nodes = [onnx.helper.make_node("Transpose", ["pixels"], ["out"], perm=perm or [*range(len(shape))])]
    return graph(path, shape=shape, out=out or shape, nodes=nodes)


def test_an_input_of_eight_bits_normalises_itself(tmp_path: Path) -> None:
    path = graph(tmp_path / "net.onnx", onnx.TensorProto.UINT8)
    said = {"scores": "logits", "classes": NAMES}
    weight = np.random.default_rng(1).normal(size=(4, 3)).astype(np.float32)
    [labels] = segmented(opened(path, **said), image(64, 96))
    assert (labels == (image(64, 96) @ weight.T).argmax(-1)).mean() >= 0.999
    assert opened(path, **said).pixel_range is None
    [turned] = segmented(opened(path, **said, channel_order="BGR"), image(64, 96))
    assert (turned == (image(64, 96)[..., ::-1] @ weight.T).argmax(-1)).mean() >= 0.999
    assert "so it normalises them itself; leave mean, std and range out" in refused(path, **SAID)


def test_half_precision_is_fed_as_such(tmp_path: Path) -> None:
    path = graph(tmp_path / "net.onnx", onnx.TensorProto.FLOAT16)
    assert segmented(opened(path, **SAID), image(64, 96))[0].shape == (64, 96)


def test_weights_may_lie_in_another_file(tmp_path: Path, network: nn.Module) -> None:
    (tmp_path / "one").mkdir()
    plain = graph(tmp_path / "one" / "net.onnx")
    path = graph(tmp_path / "net.onnx", save_as_external_data=True, location="net.weights", size_threshold=0)
    assert opened(path, **SAID).place.files == ("net.onnx", "net.weights")
    assert np.array_equal(*(segmented(opened(each, **SAID), image(64, 96))[0] for each in (path, plain)))
    before = opened(path, **SAID).fingerprint
    content = bytearray((tmp_path / "net.weights").read_bytes())
    (tmp_path / "net.weights").write_bytes(content[:8])
    assert "keeps weights in another file, and that is shorter than it says" in refused(path, **SAID)
    content[:4] = np.float32(9).tobytes()
    (tmp_path / "net.weights").write_bytes(content)
    assert opened(path, **SAID).fingerprint != before
    (tmp_path / "net.weights").unlink()
    assert "keeps weights in another file, net.weights, and that is not beside it" in refused(path, **SAID)


# -- what is said of a network


def test_a_description_beside_it_and_settings_over_it(free: Path, tmp_path: Path) -> None:
    path = tmp_path / "net.onnx"
    path.write_bytes(free.read_bytes())
    describe(path, **SAID)
    assert opened(path).label_map.names == NAMES
    assert opened(path).fingerprint == opened(free, **SAID).fingerprint
    assert opened(path, size=64).preparer().input_hw((20, 30)) == (64, 64)
    assert opened(path, classes="a,b,c,d").label_map.names == ("a", "b", "c", "d")
    describe(path, **SAID, szie=3)
    with pytest.raises(ConfigError, match=r"net\.yaml does not hold together:\n  szie: unknown key"):
        opened(path)


@pytest.mark.parametrize(
    "props",
    [
        {"names": "{0: 'background', 1: 'road', 2: 'car', 3: 'tree'}"},
        {"class_names": '["background", "road", "car", "tree"]'},
        {"id2label": '{"0": "background", "1": "road", "2": "car", "3": "tree"}'},
        {"labels": "background, road, car, tree"},
    ],
)
def test_the_file_may_name_its_classes(props: dict[str, str], tmp_path: Path) -> None:
    path = graph(tmp_path / "net.onnx", props=props)
    assert opened(path, **{**SAID, "classes": None}).label_map.names == NAMES


@pytest.mark.parametrize("props", [{"names": "7"}, {"names": "__import__('os')"}, {"names": "[1, 2, 3, 4]"}])
def test_what_are_no_names_are_not_taken_for_such(props: dict[str, str], tmp_path: Path) -> None:
    path = graph(tmp_path / "net.onnx", props=props)
    assert "does not say what its 4 classes are called; name them" in refused(
        path, **{**SAID, "classes": None}
    )


def test_what_changes_a_mask_changes_the_fingerprint(free: Path) -> None:
    before = opened(free, **SAID)
    same = [{"batch_size": 3}, {"precision": "bf16"}, {"range": "0..1"}, {"channel_order": "RGB"}]
    assert {opened(free, **SAID, **each).fingerprint for each in same} == {before.fingerprint}
    other = [{"size": 64}, {"multiple": 32}, {"scores": "probabilities"}, {"mean": 0.5}, {"none_below": 0.4}]
    other += [{"channel_order": "BGR"}]
    assert len({before.fingerprint, *(opened(free, **{**SAID, **each}).fingerprint for each in other)}) == 7


def test_it_survives_pickling(free: Path) -> None:
    checkpoint = opened(free, **SAID)
    again = pickle.loads(pickle.dumps(checkpoint))
    assert again == checkpoint
    assert np.array_equal(*(segmented(each, image(64, 96))[0] for each in (checkpoint, again)))


@pytest.mark.parametrize("precision", ["auto", "fp32", "bf16", "fp16"])
def test_another_precision_than_its_own_is_said_to_change_nothing(precision: str, free: Path) -> None:
    remarks = opened(free, **SAID, precision=precision).remarks
    assert bool(remarks) == (precision in ("bf16", "fp16"))
    if remarks:
        assert f"so segmentor.precision {precision} changes nothing in it" in remarks[0]


def test_its_threads_are_those_of_the_actor(free: Path) -> None:
    for threads in (1, 2):
        options = opened(free, **SAID).load("cpu", "fp32", threads).engine.session.get_session_options()
        assert (options.intra_op_num_threads, options.inter_op_num_threads) == (threads, 1)


def test_it_is_loaded_for_use_in_this_process(free: Path, network: nn.Module) -> None:
    preparer, model = load_segmentor({"model": str(free), **SAID})
    [prediction] = model.segment([preparer(image(64, 96))])
    assert (prediction.labels_HW == recipe(network, normalised(image(64, 96)), (64, 96))).mean() >= 0.999


def test_at_a_uri_it_is_fetched_with_all_that_belongs_to_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BATCHSEG_CACHE", str(tmp_path / "cache"))
    (tmp_path / "there").mkdir()
    path = graph(
        tmp_path / "there" / "net[1].onnx", save_as_external_data=True, location="w.bin", size_threshold=0
    )
    describe(path, **SAID)
    (path.parent / "other.bin").write_bytes(b"of another")
    far, near = opened(f"file://{path}"), opened(path)
    assert far.fingerprint == near.fingerprint and far.place.name == f"file://{path}"
    again = pickle.loads(pickle.dumps(far))
    assert np.array_equal(*(segmented(each, image(64, 96))[0] for each in (again, near)))
    fetched = {each.name for each in far.place.path().parent.iterdir()}
    assert fetched == {"net[1].onnx", "net[1].yaml", "w.bin"}
    assert "there is no file file:///nowhere/net.onnx" in refused("file:///nowhere/net.onnx")
    (path.parent / "w.bin").unlink()
    assert "keeps weights in another file, w.bin" in refused(f"file://{path}")


# -- what is refused, in one sentence each


@pytest.mark.parametrize(
    ("made", "said", "words"),
    [
        ({}, {"mean": None, "std": None}, "does not say how its images are normalised"),
        ({}, {"scores": None}, "does not say what its output out is"),
        ({}, {"classes": None}, "does not say what its 4 classes are called"),
        ({}, {"classes": "a, b, c"}, "3 classes are named (a, b, c); name as many as there are"),
        ({}, {"output": "x"}, "there is no output x; there is out"),
        ({"kind": onnx.TensorProto.INT64}, {}, "is a tensor(int64), and pixels can be given as float32"),
        ({"shape": (1, 3, 64, 96), "out": (1, 4, 64, 96)}, {"size": 32}, "was exported for [64, 96]"),
        ({"shape": (1, 3, 60, 96), "out": (1, 4, 60, 96)}, {"multiple": 32}, "multiple says 32"),
        ({"shape": (1, 3, 64, "w")}, {}, "the sides of its input are [64, w]; say size"),
        ({"shape": (1, 3, 3, 3), "out": (1, 4, 3, 3)}, {}, "say layout: NCHW or NHWC"),
        ({"shape": ("b", "c", "h", "w")}, {}, "say layout: NCHW or NHWC"),
        ({"opset": 99}, {}, "is newer than the onnxruntime"),
        ({"ir": 99}, {}, "that is installed (Unsupported model IR version: 99"),
        ({"nodes": [OWN]}, {}, "has an operation that onnxruntime"),
        ({}, {"scores": "labels"}, "class ids (scores: labels) are a single map; say what it holds"),
    ],
)
def test_what_cannot_be_run_is_refused(
    made: dict[str, Any], said: dict[str, Any], words: str, tmp_path: Path
) -> None:
    assert words in refused(graph(tmp_path / "net.onnx", **made), **{**SAID, **said})


def test_shapes_that_are_none_of_images_are_refused(network: nn.Module, tmp_path: Path) -> None:
    path = passed_on(tmp_path / "net.onnx", ("b", 3, "h"))
    assert "has the shape [b, 3, h], and batches of images have four dimensions" in refused(path, **SAID)
    path = passed_on(tmp_path / "net.onnx", (1, 3, 64, 96), (3, 1, 64, 96), [1, 0, 2, 3])
    said = {**SAID, "classes": "a, b"}
    assert "has the shape [3, 1, 64, 96], and the network reads 1 image at once" in refused(path, **said)
    path = exported(Ended(network, "flat sigmoid"), tmp_path / "net.onnx")
    assert "a single map, and 4 classes are named; name background and the class" in refused(path, **SAID)
    path = exported(nn.Sequential(network, nn.AdaptiveAvgPool2d(1), nn.Flatten()), tmp_path / "net.onnx")
    assert ", 4], and maps of classes have three or four dimensions" in refused(path, **SAID)


def test_one_of_several_outputs_must_be_named(network: nn.Module, tmp_path: Path) -> None:
    class Two(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.network = network

        def forward(self, pixels_BCHW: torch.Tensor) -> Any:
            scores = self.network(pixels_BCHW)
            return -scores, scores

    path = exported(Two(), tmp_path / "net.onnx", outputs=("aux", "out"))
    assert "has the outputs aux, out; say which one to take: output: aux" in refused(path, **SAID)
    [labels] = segmented(opened(path, **SAID, output="out"), image(64, 96))
    assert (labels == recipe(network, normalised(image(64, 96)), (64, 96))).mean() >= 0.999


def test_a_network_of_several_inputs_is_refused(tmp_path: Path) -> None:
    class Two(nn.Module):
        def forward(self, pixels_BCHW: torch.Tensor, more_BCHW: torch.Tensor) -> torch.Tensor:
            return pixels_BCHW + more_BCHW

    path = exported(Two(), tmp_path / "net.onnx", (1, 3, 8, 40), (1, 3, 8, 40))
    assert "has 2 inputs (pixels, more1), and only networks of one can be fed" in refused(path, **SAID)


@pytest.mark.parametrize("content", [b"", b"no network at all", b"\x80\x04K\x01."])
def test_a_file_that_is_no_network_is_refused(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "net.onnx").write_bytes(content)
    assert "is not an ONNX network" in refused(tmp_path / "net.onnx", **SAID)


def test_weights_outside_of_its_folder_are_refused(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    path = graph(tmp_path / "in" / "net.onnx", save_as_external_data=True, location="w.bin", size_threshold=0)
    model = onnx.load(path, load_external_data=False)
    for tensor in model.graph.initializer:
        for entry in tensor.external_data:
            entry.value = "../w.bin" if entry.key == "location" else entry.value
    path.write_bytes(model.SerializeToString())
    assert "keeps weights outside of its own folder, in ../w.bin" in refused(path, **SAID)


@pytest.mark.parametrize("package", ["onnx", "onnxruntime"])
def test_a_missing_package_is_named(package: str, free: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, package, None)
    assert "pip install 'batchseg[onnx]'" in refused(free, **SAID)


def test_a_gpu_needs_the_package_for_it(free: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the package here can do, this is one for CPUs."""
    monkeypatch.setattr("onnxruntime.get_available_providers", lambda: ["CPUExecutionProvider"])
    with pytest.raises(
        ModelError, match=r"pip install onnxruntime-gpu in its place, or say segmentor\.device"
    ):
        opened(free, **SAID).load("cuda", "fp32", 1)


def test_scores_that_are_not_what_they_are_called_fail_the_image(free: Path) -> None:
    checkpoint = opened(free, **{**SAID, "scores": "probabilities"})
    with pytest.raises(ValueError, match="is called probabilities, and lies between"):
        segmented(checkpoint, image(64, 96))


def test_ids_beyond_the_classes_fail_the_image(network: nn.Module, tmp_path: Path) -> None:
    path = exported(Ended(network, "argmax"), tmp_path / "net.onnx")
    checkpoint = opened(path, mean=MEAN, std=STD, classes="a, b")
    with pytest.raises(ValueError, match=r"class ids must lie in 0 \.\. 1, and the output out has"):
        segmented(checkpoint, image(64, 96))


def test_maps_that_are_not_as_many_as_declared_fail_the_image(tmp_path: Path) -> None:
    path = passed_on(tmp_path / "net.onnx", ("b", "c", "h", "w"))
    checkpoint = opened(path, **SAID, layout="NCHW")
    with pytest.raises(ValueError, match=re.escape("is [1, 3, 64, 96] for 1 images, and 4 maps")):
        segmented(checkpoint, image(64, 96))


def test_a_size_that_it_cannot_compute_names_the_setting(tmp_path: Path) -> None:
    class Halved(nn.Module):
        """Adds what was halved and doubled to what was not, which fits for even sides alone."""

        def __init__(self) -> None:
            super().__init__()
            self.down = nn.Conv2d(3, 4, 2, stride=2)
            self.up = nn.ConvTranspose2d(4, 4, 2, stride=2)
            self.along = nn.Conv2d(3, 4, 1)

        def forward(self, pixels_BCHW: torch.Tensor) -> torch.Tensor:
            scores: torch.Tensor = self.up(self.down(pixels_BCHW)) + self.along(pixels_BCHW)
            return scores

    path = exported(Halved(), tmp_path / "net.onnx")
    with pytest.raises(
        RuntimeError, match=r"cannot compute an input of \[1, 3, 33, 48\] .*`multiple` names it"
    ):
        segmented(opened(path, **SAID), image(33, 48))
    assert segmented(opened(path, **SAID, multiple=2), image(33, 48))[0].shape == (33, 48)


def test_a_run_segments_images_by_it(free: Path, network: nn.Module, tmp_path: Path, in_tasks: None) -> None:
    import batchseg

    (tmp_path / "photos").mkdir()
    for index in range(3):
        Image.fromarray(image(40 + index, 50, index)).save(tmp_path / "photos" / f"{index}.png")
    said = {**SAID, "mean": [*MEAN], "std": [*STD], "classes": [*NAMES]}
    result = batchseg.run(tmp_path / "photos", model={"model": str(free), **said}, output=tmp_path / "out")
    assert result.exit_code == 0
    for index in range(3):
        mask = np.array(Image.open(tmp_path / "out" / "masks" / f"{index}.png"))
        picture = image(40 + index, 50, index)
        assert (mask == recipe(network, normalised(picture), picture.shape[:2])).mean() >= 0.999


def test_a_precision_that_changes_nothing_makes_no_other_masks(free: Path) -> None:
    from batchseg.config.load import read_config
    from batchseg.config.run import RunConfig
    from batchseg.pipeline.model import OpenedModel

    said = {**SAID, "mean": [*MEAN], "std": [*STD], "classes": [*NAMES], "model": str(free)}
    models = [
        OpenedModel.open(
            read_config(
                RunConfig,
                overrides={
                    "source": "photos",
                    "output": "out",
                    "labels": None,
                    "segmentor": {**said, "precision": precision},
                },
            )
        )
        for precision in ("auto", "bf16")
    ]
    assert models[0].fingerprint == models[1].fingerprint


def run_of(path: Path, folder: Path, **settings: Any) -> np.ndarray:
    """The mask that a run of one image of 70 x 90 leaves."""
    import batchseg

    (folder / "photos").mkdir()
    Image.fromarray(image(70, 90)).save(folder / "photos" / "a.png")
    result = batchseg.run(folder / "photos", model=str(path), output=folder / "out", settings=settings)
    assert result.exit_code == 0
    return np.array(Image.open(folder / "out" / "masks" / "a.png"))


@torch.no_grad()
def likely(network: nn.Module, pixels_HWC: np.ndarray, flips: tuple[tuple[int, ...], ...]) -> torch.Tensor:
    """Probabilities [C, 70, 90]: the mean of those of the mirrored inputs, mirrored back."""
    found = []
    for flip in flips:
        logits = network(normalised(pixels_HWC).flip(flip))
        whole = functional.interpolate(logits, (70, 90), mode="bilinear", align_corners=False)
        found.append(whole.softmax(1).flip(flip)[0])
    return torch.stack(found).mean(0)


ALONG, ACROSS = (3,), (2,)  # dimensions of a batch


@pytest.mark.usefixtures("in_process")
@pytest.mark.parametrize("fixed", [(), (0, 2, 3)])
@pytest.mark.parametrize(
    ("named", "flips"),
    [(["horizontal"], ((), ALONG)), (["horizontal", "vertical"], ((), ALONG, ACROSS, (2, 3)))],
    ids=["one", "both"],
)
def test_views_average_its_probabilities(
    named: list[str],
    flips: tuple[tuple[int, ...], ...],
    fixed: tuple[int, ...],
    network: nn.Module,
    tmp_path: Path,
) -> None:
    path = describe(exported(network, tmp_path / "net.onnx", fixed=fixed), **SAID)
    mask = run_of(path, tmp_path, views={"flip": named})
    prepared = opened(path).preparer()(image(70, 90)).pixels_THWC[0]
    expected = likely(network, prepared, flips).argmax(0).numpy()
    alone = likely(network, prepared, ((),)).argmax(0).numpy()
    assert (mask == expected).mean() > 0.99 > (mask == alone).mean()


def test_what_is_not_likely_is_void(network: nn.Module, tmp_path: Path, in_process: None) -> None:
    path = describe(exported(network, tmp_path / "net.onnx"), **SAID)
    mask = run_of(path, tmp_path, segmentor={"model": str(path), "none_below": 0.3})
    best, labels = likely(network, image(70, 90), ((),)).max(0)
    expected = torch.where(best < 0.3, 255, labels).numpy()
    assert 0.1 < (expected == 255).mean() < 0.9 and (mask == expected).mean() > 0.999


@pytest.mark.parametrize(("fixed", "least"), [((), 0.98), ((0, 2, 3), 0.94)])
def test_windows_are_seen_in_the_picture_s_own_size(
    fixed: tuple[int, ...], least: float, network: nn.Module, tmp_path: Path, in_process: None
) -> None:
    """It sees 7 pixels, so windows differ from the whole at their edges alone."""
    path = describe(exported(network, tmp_path / "net.onnx", fixed=fixed), **SAID)
    mask = run_of(path, tmp_path, tiling={"size": 32, "overlap": 0.25})
    expected = likely(network, image(70, 90), ((),)).argmax(0).numpy()
    assert (mask == expected).mean() > least


def test_a_member_of_an_ensemble_beside_its_copy_decides_as_it_does_alone(
    network: nn.Module, tmp_path: Path, in_process: None
) -> None:
    import batchseg

    path = describe(exported(network, tmp_path / "net.onnx"), **SAID)
    (tmp_path / "photos").mkdir()
    Image.fromarray(image(70, 90)).save(tmp_path / "photos" / "a.png")
    model = [str(path), str(path)]
    assert batchseg.run(tmp_path / "photos", model=model, output=tmp_path / "out").exit_code == 0
    mask = np.array(Image.open(tmp_path / "out" / "masks" / "a.png"))
    assert (mask == segmented(opened(path), image(70, 90))[0]).mean() >= 0.999
