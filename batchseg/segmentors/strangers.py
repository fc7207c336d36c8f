"""Sentences for models that other programs saved: what they are, and how they become one that can be run."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from batchseg.segmentors.pickled import FileContent

EXAMPLES = "configs/models/README.md"
TORCH = (".pt", ".pth", ".ckpt", ".bin", ".tar", ".pt2", ".torchscript", ".safetensors")
_BY_SUFFIX = {
    **dict.fromkeys((".h5", ".hdf5", ".keras"), "a Keras model; convert it to ONNX (tf2onnx)"),
    ".pb": "a TensorFlow graph; convert it to ONNX (python -m tf2onnx.convert)",
    ".tflite": "a TensorFlow Lite model; convert it to ONNX (python -m tf2onnx.convert --tflite)",
    **dict.fromkeys(
        (".engine", ".plan", ".trt"),
        "a TensorRT engine, which is built for one GPU; take the ONNX file that it was built from",
    ),
    **dict.fromkeys((".mlmodel", ".mlpackage"), "a Core ML model; export the original network to ONNX"),
    **dict.fromkeys((".pdparams", ".pdmodel"), "a PaddlePaddle model; convert it to ONNX (paddle2onnx)"),
    ".xml": "an OpenVINO network; take the ONNX file or the checkpoint that it was converted from",
    **dict.fromkeys(
        (".pkl", ".pickle", ".joblib"),
        "a pickle, which can run code when it is read; save the network's weights, or export it to ONNX",
    ),
}
SUFFIXES = (*TORCH, *_BY_SUFFIX)
_POINTER = b"version https://git-lfs.github.com/spec/"
_NAMED = ", and name that file"
_IMAGES = (".jpg", ".jpeg", ".png", ".tif", ".tiff", ".webp", ".bmp")
_OF_TRANSFORMERS = ("segformer.", "beit.", "dpt.", "model.pixel_level_module.", "decode_head.", "mobilevit.")


def hollow_file(path: Path, name: str) -> str | None:
    """For a file that stands in for what its name says; None for any other."""
    with path.open("rb") as file:
        start = file.read(len(_POINTER))
    if start == _POINTER:
        return (
            f"{name} is a pointer of Git LFS and not the file itself; fetch that (git lfs pull) where it was "
            "cloned"
        )
    return None


def strange_file(path: Path, name: str) -> str | None:
    """For a file that is there; None where nothing is known of it."""
    if path.is_file() and (hollow := hollow_file(path, name)):
        return hollow
    if other := _BY_SUFFIX.get(path.suffix.lower()):
        return f"{name} is {other}{'' if other.endswith('from') else _NAMED}"
    if path.suffix.lower() not in TORCH:
        return None
    content = FileContent.of(path)
    found = (make(content, name) for make in (_program, _training, _module, _weights))
    return next((sentence for sentence in found if sentence), None)


def _program(content: FileContent, name: str) -> str | None:
    """Networks that were saved with their code."""
    own_class = f"or name a class of your own that loads it (see {EXAMPLES})"
    if "constants.pkl" in content.members:
        return (
            f"{name} is a TorchScript program; export the network that it was made from to ONNX "
            f"(torch.onnx.export){_NAMED}, {own_class}"
        )
    if content.members & {"models/model.json", "serialized_exported_program.json", "archive_format"}:
        return (
            f"{name} is a program of torch.export; export the network to ONNX (torch.onnx.export){_NAMED}, "
            f"{own_class}"
        )
    if content.has_module("ultralytics", "models.yolo") or content.starts("ultralytics."):
        return (
            f"{name} is an Ultralytics YOLO model, a pickle that runs that library's code when it is read; "
            "batchseg does not read it: export it with that library (format=onnx), and since it finds "
            f"instances, {own_class.removeprefix('or ')} and draws them into one label map"
        )
    return None


def _module(content: FileContent, name: str) -> str | None:
    if not content.has_module("torch.nn"):
        return None
    return (
        f"{name} is a pickle of a whole module, which can run code when it is read; save its weights "
        f"(torch.save(model.state_dict(), FILE)), or export it to ONNX{_NAMED}"
    )


def _training(content: FileContent, name: str) -> str | None:
    """What training programs keep of a network."""
    if "pytorch-lightning_version" in content.texts:
        return (
            f"{name} is a checkpoint of PyTorch Lightning; load it into your module once, and save the "
            "network in it as its library does (save_pretrained(FOLDER) of transformers or "
            "segmentation_models_pytorch), then name the folder; of torchvision, name the builder and give "
            f"the file as segmentor.weights (--model {_builder(content) or 'deeplabv3_resnet50'} --set "
            f"segmentor.weights={name})"
        )
    of_mm = {"mmseg_version", "mmengine_version", "mmcv_version", "dataset_meta", "PALETTE", "env_info"}
    if {"meta", "state_dict"} <= content.texts and content.texts & of_mm:
        return (
            f"{name} is a checkpoint of MMSegmentation; convert it to ONNX with MMDeploy (tools/deploy.py)"
            f"{_NAMED}"
        )
    return None


def _weights(content: FileContent, name: str) -> str | None:
    """Weights alone, by their names."""
    if builder := _builder(content):
        return (
            f"{name} is a file of weights alone, those of torchvision's {builder} by their names: --model "
            f"{builder} --set segmentor.weights={name}"
        )
    if content.starts("segmentation_head.", "model.segmentation_head."):
        return (
            f"{name} is a file of weights alone, of a model of segmentation_models_pytorch by their names; "
            "make the model, load them into it (load_state_dict), save it once with its "
            "save_pretrained(FOLDER), and name the folder"
        )
    if content.starts(*_OF_TRANSFORMERS):
        return (
            f"{name} is a file of weights alone, of a model of transformers by their names; name the folder "
            "that save_pretrained saved, with config.json and preprocessor_config.json"
        )
    return None


def _builder(content: FileContent) -> str | None:
    """Torchvision's builder of a network with such weights."""
    names = {each.removeprefix("module.").removeprefix("model.") for each in content.texts}
    if "classifier.low_classifier.weight" in names:
        return "lraspp_mobilenet_v3_large"
    if "classifier.4.weight" not in names:
        return None
    head = "deeplabv3" if "classifier.0.convs.0.0.weight" in names else "fcn"
    if "backbone.layer1.0.conv1.weight" not in names:
        return "deeplabv3_mobilenet_v3_large" if head == "deeplabv3" else None
    return f"{head}_resnet{101 if 'backbone.layer3.22.conv1.weight' in names else 50}"


def strange_folder(folder: Path, name: str) -> str | None:
    """For a folder without config.json; None where nothing is known of it."""
    if (folder / "adapter_config.json").is_file():
        return (
            f"{name} holds an adapter (PEFT) and not the model it was trained on; merge them once: load the "
            "model, PeftModel.from_pretrained(model, FOLDER).merge_and_unload().save_pretrained(NEW_FOLDER)"
        )
    if (folder / "saved_model.pb").is_file():
        return (
            f"{name} is a SavedModel of TensorFlow; convert it to ONNX (python -m tf2onnx.convert "
            f"--saved-model {name} --output model.onnx){_NAMED}"
        )
    if (folder / "configs" / "metadata.json").is_file() or (folder / "configs" / "inference.json").is_file():
        return (
            f"{name} is a bundle of MONAI; export its network to ONNX (python -m monai.bundle onnx_export)"
            f"{_NAMED}"
        )
    if (folder / "plans.json").is_file() and (folder / "dataset.json").is_file():
        return (
            f"{name} is a model of nnU-Net, which prepares images in a way of its own; name a class of your "
            f"own that calls its predictor (see {EXAMPLES})"
        )
    if (folder / "model_index.json").is_file():
        return f"{name} is a pipeline of diffusers, which does not segment"
    return None


def without_a_model(files: Sequence[Path], name: str) -> str | None:
    """For a folder that holds nothing that could be one."""
    if not files:
        return f"{name} is an empty folder; name the one that the model was saved in"
    if all(file.suffix.lower() in _IMAGES for file in files):
        return f"{name} holds images and no model; name the folder or the file of the model"
    return None
