"""What people name as a model: read as it is meant, or refused with a way out."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from tiny_checkpoints import CONFIGS, build

from batchseg.config.kinds import infer_segmentor
from batchseg.config.load import validate_segmentor
from batchseg.config.segmentor import HuggingFaceSegmentor
from batchseg.errors import ModelError
from batchseg.segmentors.base import Checkpoint
from batchseg.segmentors.huggingface.checkpoint import HuggingFaceCheckpoint
from batchseg.segmentors.registry import open_checkpoint


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build("segformer", tmp_path_factory.mktemp("segformer"))


@pytest.fixture
def folder(whole: Path, tmp_path: Path) -> Path:
    """A checkpoint that a test may spoil."""
    return Path(shutil.copytree(whole, tmp_path / "mine"))


def opened(model: Path | str) -> Checkpoint:
    return open_checkpoint(validate_segmentor(infer_segmentor(str(model))))


def refused(model: Path | str) -> str:
    with pytest.raises(ModelError) as caught:
        opened(model)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def change(folder: Path, name: str = "config.json", **values: Any) -> None:
    content = json.loads((folder / name).read_text())
    (folder / name).write_text(json.dumps({**content, **values}))


# -- names of the classes


@pytest.mark.parametrize(
    ("id2label", "ids"),
    [
        ({"1": "wall", "2": "sky", "3": "tree"}, "1, 2, 3, and the 3 outputs of the network are 0 to 2"),
        ({"0": "wall", "2": "sky"}, "0, 2, and the 2 outputs"),
        ({"0": "wall", "1": "sky", "255": "void"}, "0, 1, 255, and the 3 outputs"),
        ({"-1": "void", "0": "wall"}, "-1, 0, and the 2 outputs"),
        ({"0": "wall", "00": "sky"}, "0, 00, and the 1 outputs"),
        ({str(index): f"n{index}" for index in range(1, 8)}, "1, 2, 3, 4, 5 ..., and the 7 outputs"),
    ],
)
def test_ids_that_are_not_those_of_the_outputs_are_refused(
    id2label: dict[str, str], ids: str, folder: Path
) -> None:
    change(folder, id2label=id2label)
    assert f"id2label has the ids {ids}" in refused(folder)
    assert "in the order the model was trained in" in refused(folder)


@pytest.mark.parametrize("count", [1, 5])
def test_a_count_that_disagrees_with_the_names_is_refused(count: int, folder: Path) -> None:
    change(folder, id2label={"0": "wall", "1": "sky"}, num_labels=count)
    assert f"the {count} outputs of the network are 0 to {count - 1}" in refused(folder)


def test_a_count_that_agrees_is_fine(folder: Path) -> None:
    change(folder, id2label={"1": "sky", "0": "wall"}, num_labels=2)
    assert opened(folder).label_map.names == ("wall", "sky")


# -- channels


@pytest.mark.parametrize("count", [1, 4])
@pytest.mark.parametrize(
    "family", ["segformer", "upernet", "mask2former", "maskformer", "detr", "tipsv2_dpt"]
)
def test_a_processor_of_three_channels_does_not_serve_others(family: str, count: int, folder: Path) -> None:
    content = {"model_type": family, **json.loads(json.dumps(CONFIGS[family]))}
    if "backbone_config" in content:
        content["backbone_config"]["num_channels"] = count
    else:
        content["num_channels"] = count
    (folder / "config.json").write_text(json.dumps(content))
    assert f"reads images of {count} channels (num_channels in its config.json)" in refused(folder)
    assert f"image_mean and image_std of {count} values each" in refused(folder)


def test_channels_of_a_decoder_are_no_channels_of_images(folder: Path) -> None:
    change(folder, decoder_config={"num_channels": 4}, num_channels=3)
    assert opened(folder).label_map.num_classes == 6


# -- truths numbered from one


@pytest.mark.parametrize("name", ["do_reduce_labels", "reduce_labels"])
def test_truths_numbered_from_one_are_read_as_they_are_meant(name: str, folder: Path) -> None:
    before = opened(folder)
    content = json.loads((folder / "preprocessor_config.json").read_text())
    content.pop("do_reduce_labels", None)
    (folder / "preprocessor_config.json").write_text(json.dumps({**content, name: True}))
    checkpoint = opened(folder)
    void = checkpoint.label_map.void
    truth = np.array([[0, 1, 2, 6, 255]], np.uint8)
    assert checkpoint.label_map.encode(truth).tolist() == [[void, 0, 1, 5, void]]
    # masks are as they were: the model's own ids
    assert checkpoint.label_map.of_masks == before.label_map
    assert checkpoint.label_map.mask_fingerprint == before.label_map.mask_fingerprint
    (note,) = checkpoint.notes
    assert "do_reduce_labels" in note and "0 counts nowhere" in note and "id 1 is 'class 0'" in note


def test_the_processor_may_be_part_of_another_file(folder: Path) -> None:
    content = json.loads((folder / "preprocessor_config.json").read_text())
    (folder / "preprocessor_config.json").unlink()
    inner = {"image_processor": {**content, "do_reduce_labels": True}}
    (folder / "processor_config.json").write_text(json.dumps(inner))
    assert opened(folder).label_map.encode(np.array([[1]])).tolist() == [[0]]


def test_the_newer_name_of_the_setting_wins(folder: Path) -> None:
    change(folder, "preprocessor_config.json", do_reduce_labels=False, reduce_labels=True)
    assert opened(folder).notes == ()
    assert opened(folder).label_map.remap is None


# -- folders that are no checkpoint


def test_what_a_trainer_leaves_without_the_processor(folder: Path) -> None:
    (folder / "preprocessor_config.json").unlink()
    assert 'AutoImageProcessor.from_pretrained("BASE").save_pretrained(' in refused(folder)
    change(folder, _name_or_path="acme/base")
    assert 'AutoImageProcessor.from_pretrained("acme/base").save_pretrained(' in refused(folder)
    (folder.parent / "preprocessor_config.json").write_text("{}")
    assert f"copy {folder.parent / 'preprocessor_config.json'} into it" in refused(folder)


@pytest.mark.parametrize(
    ("inner", "wanted"),
    [
        (["model"], "model"),
        (["checkpoint-500", "checkpoint-1000", "checkpoint-90"], "checkpoint-1000"),
        (["checkpoint-500", "model"], "model"),
        (["best"], "best"),
    ],
)
def test_a_folder_around_checkpoints_names_one(
    inner: list[str], wanted: str, whole: Path, tmp_path: Path
) -> None:
    for name in inner:
        shutil.copytree(whole, tmp_path / "trained" / name)
    (tmp_path / "trained" / "runs").mkdir()
    assert refused(tmp_path / "trained").endswith(f"{tmp_path / 'trained' / wanted} has one: name that")
    opened(tmp_path / "trained" / wanted)


def test_a_folder_with_its_weights_further_down_names_them(whole: Path, folder: Path) -> None:
    shutil.copytree(whole, folder / "checkpoint-20")
    (folder / "model.safetensors").unlink()
    assert f"{folder / 'checkpoint-20'} is a checkpoint: name that" in refused(folder)


def test_pickled_weights_come_with_a_command_that_converts_them(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    weights = load_file(folder / "model.safetensors")
    torch.save(weights, folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()
    code = refused(folder).partition("python -c '")[2].removesuffix("'")
    assert code.startswith("import transformers")
    exec(code)
    again = load_file(folder / "model.safetensors")
    assert again.keys() == weights.keys()
    assert all(torch.equal(again[name], weights[name]) for name in weights)
    opened(folder)


@pytest.mark.parametrize(
    ("family", "architecture"),
    [
        ("detr", "DetrForObjectDetection"),
        ("segformer", "SegformerForImageClassification"),
        ("beit", "BeitForMaskedImageModeling"),
        ("dpt", "DPTForDepthEstimation"),
    ],
)
def test_a_model_with_another_head_is_refused_when_it_is_opened(
    family: str, architecture: str, folder: Path
) -> None:
    change(folder, model_type=family, architectures=[architecture])
    assert f"is a {architecture}, which does not segment" in refused(folder)


def test_an_adapter_alone_is_told_to_be_merged(tmp_path: Path) -> None:
    (tmp_path / "adapter_config.json").write_text("{}")
    assert "merge_and_unload().save_pretrained" in refused(tmp_path)


# -- files


@pytest.mark.parametrize("name", ["best.pth", "best.pt", "last.ckpt", "weights.safetensors", "MODEL.PTH"])
@pytest.mark.parametrize("within", [False, True])
def test_a_file_of_weights_is_told_what_it_lacks(name: str, within: bool, tmp_path: Path) -> None:
    (tmp_path / name).touch()
    sentence = refused(tmp_path if within else tmp_path / name)
    assert "is a file of weights alone" in sentence
    assert f"--set segmentor.weights={tmp_path / name}" in sentence
    assert "configs/models/README.md" in sentence


def test_an_onnx_file_in_a_folder_is_named(tmp_path: Path) -> None:
    (tmp_path / "net.onnx").touch()
    assert f"but {tmp_path / 'net.onnx'} is an ONNX network: name that" in refused(tmp_path)


@pytest.mark.parametrize("inner", ["model.onnx", "onnx/model.onnx"])
def test_a_folder_as_exporters_leave_it_names_the_network(inner: str, folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    (folder / inner).parent.mkdir(exist_ok=True)
    (folder / inner).touch()
    assert f"but {folder / inner} is an ONNX network: name that" in refused(folder)


def test_training_does_not_start_from_an_onnx_file(tmp_path: Path) -> None:
    (tmp_path / "net.onnx").touch()
    with pytest.raises(ModelError, match="is an ONNX network, which batchseg runs and does not train"):
        HuggingFaceCheckpoint.open(HuggingFaceSegmentor(model=str(tmp_path / "net.onnx")))


def test_a_file_of_code_is_told_to_name_its_class(tmp_path: Path) -> None:
    (tmp_path / "mine.py").touch()
    assert f"name a class in it, too: {tmp_path / 'mine.py'}:MyClass" in refused(tmp_path / "mine.py")


@pytest.mark.parametrize("name", ["best.pth", "net.onnx", "mine.py", "net.tflite"])
def test_a_file_that_is_not_there_is_not_looked_for_on_the_hub(name: str, tmp_path: Path) -> None:
    assert refused(tmp_path / name) == f"there is no file {tmp_path / name}"
