"""`segmentor.quantise`: networks of 8 bits, judged before they are used."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from segmentors.test_onnx import SAID, exported
from segmentors.test_onnx import Network as SmallNetwork

import batchseg
from batchseg.config.kinds import infer_segmentor
from batchseg.config.load import validate_segmentor
from batchseg.errors import BatchsegError
from batchseg.segmentors.acceleration import accelerate
from batchseg.segmentors.registry import open_checkpoint
from tests.segmentors.loaded import blobs

pytestmark = pytest.mark.usefixtures("in_process")


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("images")
    for seed in range(6):
        Image.fromarray(blobs(60, 80, seed)).save(folder / f"{seed}.png")
    return folder


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return exported(SmallNetwork(), tmp_path_factory.mktemp("onnx") / "net.onnx")


def run(images: Path, output: Path, model: Path, *, recompute: bool = False, **settings: Any) -> Any:
    chosen = {"model": str(model), **settings}
    return batchseg.run(str(images), model=chosen, output=str(output), settings={"recompute": recompute})


def masks(output: Path) -> dict[str, np.ndarray]:
    root = output / "masks"
    return {str(file.relative_to(root)): np.array(Image.open(file)) for file in root.rglob("*.png")}


def agreement(one: Path, other: Path) -> float:
    ours, theirs = masks(one), masks(other)
    assert ours.keys() == theirs.keys() and ours
    equal = sum(int((mask == theirs[name]).sum()) for name, mask in ours.items())
    return equal / sum(mask.size for mask in ours.values())


def test_what_is_recorded_is_what_a_run_without_says(sample_data: Path, tmp_path: Path) -> None:
    some, model = sample_data / "images" / "day" / "a", sample_data / "model"
    run(some, tmp_path / "plain", model, precision="fp32", engine="torch")
    result = run(some, tmp_path / "int8", model, precision="fp32", quantise="int8")
    record = result.record
    assert (record["engine"], record["precision"]) == ("openvino", "int8")
    judged = record["quantised"]
    assert judged["images"] == judged["calibrated_on"] == len(masks(tmp_path / "int8"))
    assert judged["agreement"] == pytest.approx(agreement(tmp_path / "plain", tmp_path / "int8"), abs=1e-9)
    assert 0.99 <= judged["agreement"] < 1
    size = (tmp_path / "int8" / "quantised").rglob("network.bin")
    assert next(size).stat().st_size < 0.6 * (model / "model.safetensors").stat().st_size


def test_another_night_has_the_same_network(images: Path, network: Path, tmp_path: Path) -> None:
    some = tmp_path / "images"
    some.mkdir()
    shutil.copy(images / "0.png", some)
    settings: dict[str, Any] = {**SAID, "quantise": "int8", "quantise_agreement": 0.5}
    first = run(some, tmp_path / "out", network, **settings).record
    [file] = (tmp_path / "out" / "quantised").rglob("network.bin")
    before = file.read_bytes()
    for image in images.iterdir():
        if not (some / image.name).exists():
            shutil.copy(image, some)
    second = run(some, tmp_path / "out", network, **settings).record
    assert second["images"]["segmented"] == 5
    assert file.read_bytes() == before and second["quantised"] == first["quantised"]


def test_what_is_not_good_enough_is_refused_and_nothing_is_lost(
    images: Path, network: Path, tmp_path: Path
) -> None:
    output = tmp_path / "out"
    run(images, output, network, **SAID)
    before = {file: file.read_bytes() for file in (output / "images").iterdir()}
    shown = masks(output)
    with pytest.raises(BatchsegError, match=r"int8 leaves .*% of the pixels of 6 images the class") as caught:
        run(images, output, network, **SAID, recompute=True, quantise="int8", quantise_agreement=1.0)
    assert "leave quantise out" in str(caught.value)
    assert {file: file.read_bytes() for file in (output / "images").iterdir()} == before
    assert all(np.array_equal(mask, shown[name]) for name, mask in masks(output).items())
    assert not [*(output / "quantised").rglob("network.*")]


def test_without_an_image_to_judge_by_there_is_none(network: Path, tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "broken.png").write_bytes(b"no image")
    with pytest.raises(BatchsegError, match="was given none of the sampled images"):
        run(tmp_path / "images", tmp_path / "out", network, **SAID, quantise="int8")


def test_a_missing_package_is_named(
    images: Path, network: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "nncf", None)
    with pytest.raises(BatchsegError, match=r"pip install 'batchseg\[openvino\]'"):
        run(images, tmp_path / "out", network, **SAID, quantise="int8")


def test_it_is_for_runs(network: Path) -> None:
    with pytest.raises(BatchsegError, match="quantise is for a run"):
        batchseg.load_segmentor({"model": str(network), **SAID, "quantise": "int8"})


def test_a_model_without_a_network_cannot_be(images: Path, tmp_path: Path) -> None:
    from segmentors.prompted.tiny_prompted import build_prompted

    model = build_prompted("clipseg", tmp_path / "model")
    with pytest.raises(BatchsegError, match=r"a model such as .* cannot be"):
        run(images, tmp_path / "out", model, classes=["a", "b"], quantise="int8")


def test_a_network_that_is_gone_is_not_replaced_by_the_whole_one(network: Path) -> None:
    chosen = validate_segmentor(infer_segmentor({"model": str(network), **SAID, "quantise": "int8"}))
    loaded = open_checkpoint(chosen).load("cpu", "fp32", 1)
    with pytest.raises(BatchsegError, match="there is no network of 8 bits"):
        accelerate(loaded, chosen, "fingerprint", "fp32")
