"""Models that other programs saved: each is told what it is, and nothing in it is run."""

from __future__ import annotations

import pickle
import sys
import types
import warnings
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import nn
from torchvision.models import get_model_builder

from batchseg.config.kinds import infer_segmentor
from batchseg.config.load import validate_segmentor
from batchseg.config.segmentor import TorchvisionSegmentor
from batchseg.errors import ModelError
from batchseg.segmentors.registry import open_checkpoint
from batchseg.segmentors.torchvision import CLASSIFIER
from tests.segmentors.prompted.tiny_prompted import build_prompted
from tests.segmentors.tiny_checkpoints import build

STATE = {"layer.weight": torch.zeros(2)}


def refused(model: Path | str) -> str:
    with pytest.raises(ModelError) as caught:
        open_checkpoint(validate_segmentor(infer_segmentor(str(model))))
    assert "\n" not in str(caught.value)
    return str(caught.value)


class Trap:
    """Leaves a file where it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> Any:
        return Path.touch, (self.mark,)


@pytest.fixture
def yolo(monkeypatch: pytest.MonkeyPatch) -> Iterator[type]:
    """A class of the library's, whose pickles name it."""
    module = types.ModuleType("ultralytics.nn.tasks")
    made = type("SegmentationModel", (), {"__module__": module.__name__})
    module.SegmentationModel = made  # type: ignore[attr-defined]
    for name in ("ultralytics", "ultralytics.nn"):
        monkeypatch.setitem(sys.modules, name, types.ModuleType(name))
    monkeypatch.setitem(sys.modules, module.__name__, module)
    yield made


POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n"


@pytest.mark.parametrize("name", ["net.pt", "net.onnx", "net.safetensors", "net.bin"])
def test_a_file_that_was_not_fetched(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text(POINTER)
    assert f"{name} is a pointer of Git LFS" in refused(tmp_path / name)


def test_weights_of_torchvision_that_were_not_fetched(tmp_path: Path) -> None:
    (tmp_path / "weights.pth").write_text(POINTER)
    config = TorchvisionSegmentor(model="fcn_resnet50", weights=str(tmp_path / "weights.pth"))
    with pytest.raises(ModelError, match="is a pointer of Git LFS"):
        open_checkpoint(config)


@pytest.mark.parametrize("family", ["segformer", "clipseg"])
def test_a_folder_whose_weights_were_not_fetched(family: str, tmp_path: Path) -> None:
    """As git clones a model of the hub where Git LFS is not installed."""
    folder = build_prompted(family, tmp_path) if family == "clipseg" else build(family, tmp_path)
    for name in ("model.safetensors", *(("tokenizer.json",) if family == "clipseg" else ())):
        whole = (folder / name).read_bytes()
        (folder / name).write_text(POINTER)
        assert f"{folder.name}/{name} is a pointer of Git LFS" in refused(folder)
        (folder / name).write_bytes(whole)


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("protocol", [2, 4])
def test_yolo(zipped: bool, protocol: int, yolo: type, tmp_path: Path) -> None:
    content = {"model": yolo(), "trap": Trap(tmp_path / "mark"), "train_args": {}}
    torch.save(
        content,
        tmp_path / "best.pt",
        _use_new_zipfile_serialization=zipped,
        pickle_protocol=protocol,
    )
    assert "is an Ultralytics YOLO model, a pickle that runs that library's code" in refused(
        tmp_path / "best.pt"
    )
    (tmp_path / "run" / "weights").mkdir(parents=True)
    (tmp_path / "best.pt").rename(tmp_path / "run" / "weights" / "best.pt")
    assert f"{tmp_path / 'run' / 'weights' / 'best.pt'} is an Ultralytics" in refused(tmp_path / "run")
    assert not (tmp_path / "mark").exists()


@pytest.mark.parametrize("name", ["last.ckpt", "best.pt"])
def test_lightning(name: str, tmp_path: Path) -> None:
    content = {
        "epoch": 3,
        "pytorch-lightning_version": "2.4.0",
        "state_dict": STATE,
        "trap": Trap(tmp_path / "x"),
    }
    torch.save(content, tmp_path / name)
    sentence = refused(tmp_path / name)
    assert "is a checkpoint of PyTorch Lightning" in sentence and "save_pretrained(FOLDER)" in sentence
    assert not (tmp_path / "x").exists()
    (tmp_path / "version_0" / "checkpoints").mkdir(parents=True)
    (tmp_path / name).rename(tmp_path / "version_0" / "checkpoints" / name)
    assert "is a checkpoint of PyTorch Lightning" in refused(tmp_path / "version_0")


def test_mmsegmentation(tmp_path: Path) -> None:
    content = {"meta": {"mmseg_version": "1.2", "dataset_meta": {}}, "state_dict": STATE}
    torch.save(content, tmp_path / "iter_80000.pth")
    assert "is a checkpoint of MMSegmentation; convert it to ONNX with MMDeploy" in refused(
        tmp_path / "iter_80000.pth"
    )


def test_torchscript(tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # such programs are deprecated, and people have them
        torch.jit.trace(nn.Conv2d(3, 2, 1), torch.zeros(1, 3, 4, 4)).save(str(tmp_path / "model.pt"))
    assert "is a TorchScript program" in refused(tmp_path / "model.pt")


def test_an_exported_program(tmp_path: Path) -> None:
    torch.export.save(torch.export.export(nn.Conv2d(3, 2, 1), (torch.zeros(1, 3, 4, 4),)), tmp_path / "m.pt2")
    assert "is a program of torch.export" in refused(tmp_path / "m.pt2")


def test_a_whole_module(tmp_path: Path) -> None:
    torch.save(nn.Conv2d(3, 2, 1), tmp_path / "model.pth")
    assert "is a pickle of a whole module, which can run code when it is read" in refused(
        tmp_path / "model.pth"
    )


@pytest.mark.parametrize("suffix", [".pth", ".safetensors", ".ckpt"])
@pytest.mark.parametrize("builder", CLASSIFIER)
def test_weights_of_torchvision_name_their_builder(builder: str, suffix: str, tmp_path: Path) -> None:
    with torch.device("meta"):
        names = get_model_builder(builder)(weights=None, weights_backbone=None).state_dict()
    state = {f"module.{name}": torch.zeros(1) for name in names}
    path = tmp_path / f"weights{suffix}"
    if suffix == ".safetensors":
        save_file(state, path)
    else:
        torch.save({"model": state, "epoch": 3}, path)
    assert refused(path).endswith(f"by their names: --model {builder} --set segmentor.weights={path}")


@pytest.mark.parametrize(
    ("key", "words"),
    [
        ("segmentation_head.0.weight", "save it once with its save_pretrained(FOLDER)"),
        ("decode_head.classifier.weight", "name the folder that save_pretrained saved"),
        ("my.own.weight", "which does not say what network they are for"),
    ],
)
@pytest.mark.parametrize("name", ["weights.pth", "weights.bin", "weights.safetensors", "model.safetensors"])
def test_weights_alone(key: str, words: str, name: str, tmp_path: Path) -> None:
    state = {key: torch.zeros(1)}
    (save_file if name.endswith("safetensors") else torch.save)(state, tmp_path / name)
    if key == "my.own.weight" and name == "model.safetensors":
        words = "is a file; name the folder that holds it"
    assert words in refused(tmp_path / name)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("model.h5", "is a Keras model; convert it to ONNX"),
        ("model.keras", "is a Keras model"),
        ("frozen.pb", "is a TensorFlow graph"),
        ("model.tflite", "is a TensorFlow Lite model"),
        ("model.engine", "is a TensorRT engine, which is built for one GPU"),
        ("model.xml", "is an OpenVINO network"),
        ("model.pdparams", "is a PaddlePaddle model"),
        ("model.mlmodel", "is a Core ML model"),
        ("model.pkl", "is a pickle, which can run code when it is read"),
    ],
)
@pytest.mark.parametrize("within", [False, True])
def test_formats_of_other_libraries(name: str, words: str, within: bool, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(pickle.dumps(Trap(tmp_path / "mark")))
    sentence = refused(tmp_path if within else tmp_path / name)
    assert words in sentence and "weights alone" not in sentence
    assert not (tmp_path / "mark").exists()


@pytest.mark.parametrize(
    ("files", "words"),
    [
        ([], "is an empty folder; name the one that the model was saved in"),
        (
            ["adapter_config.json", "adapter_model.safetensors"],
            "merge_and_unload().save_pretrained(NEW_FOLDER)",
        ),
        (
            ["saved_model.pb", "variables/variables.index"],
            "is a SavedModel of TensorFlow; convert it to ONNX",
        ),
        (["configs/metadata.json", "configs/inference.json", "models/model.pt"], "is a bundle of MONAI"),
        (["plans.json", "dataset.json", "fold_0/checkpoint_final.pth"], "is a model of nnU-Net"),
        (["model_index.json", "unet/config.json"], "is a pipeline of diffusers, which does not segment"),
        (["a.jpg", "b.PNG"], "holds images and no model"),
        (["notes.txt"], "is not a checkpoint: it has no config.json"),
    ],
)
def test_folders_of_other_programs(files: list[str], words: str, tmp_path: Path) -> None:
    for name in files:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("{}")
    assert words in refused(tmp_path)


@pytest.mark.parametrize(
    "content", [b"", b"\x80\x02", b"\x80\x05K", b"PK\x03\x04 torn", b"\xff" * 8 + b"{", b"{" * 9]
)
def test_a_damaged_file_is_still_one_sentence(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "best.pt").write_bytes(content)
    assert "is a file of weights alone" in refused(tmp_path / "best.pt")


def test_a_torn_archive_is_still_one_sentence(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "best.pt", "w") as archive:
        archive.writestr("best/data.pkl", b"\x80\x02X\x05")
    assert "is a file of weights alone" in refused(tmp_path / "best.pt")


@pytest.mark.parametrize("name", ["best.pt", "model.h5", "last.ckpt?region=eu"])
def test_a_file_at_a_uri(name: str) -> None:
    assert "a URI names a folder with config.json and weights, or an .onnx file" in refused(
        f"s3://bucket/{name}"
    )
