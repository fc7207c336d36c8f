"""Sentences for what is named as a model and is no checkpoint of transformers: what it is, and a way out."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from batchseg.segmentors.strangers import (
    EXAMPLES,
    SUFFIXES,
    TORCH,
    strange_file,
    strange_folder,
    without_a_model,
)

_NETWORK = ".onnx"
_CODE = ".py"
_PARTS = ("config.json", "model.safetensors", "pytorch_model.bin")
_PREFERRED = "model"  # the folder in which our own training leaves its checkpoint
_INNER = ("weights", "checkpoints")  # where training programs leave files


def single_file(path: Path, name: str) -> str | None:
    """For a file, or a name that can only be that of one; None for what may be a name on the hub."""
    suffix = path.suffix.lower()
    if not path.exists():
        return f"there is no file {name}" if suffix in (*SUFFIXES, _NETWORK, _CODE) else None
    is_part = path.name in _PARTS
    if is_part and (path.parent / "config.json").is_file():
        return f"{name} is a file; name the folder that holds it"
    problem = strange_file(path, name)
    if problem is None and not is_part:
        problem = _own_file(suffix, name)
    return problem or f"{name} is a file; name the folder that holds it"


def _own_file(suffix: str, name: str) -> str | None:
    """Of kinds that are named otherwise, or that are run and not trained."""
    if suffix == _CODE:
        return f"{name} is a file of Python code; name a class in it, too: {name}:MyClass"
    if suffix == _NETWORK:
        return f"{name} is an ONNX network, which batchseg runs and does not train; name a checkpoint"
    return _of_weights(name) if suffix in TORCH else None


def far_file(uri: str) -> str | None:
    """For a URI that can only be that of a file, by its name."""
    suffix = Path(uri.partition("?")[0]).suffix.lower()
    if suffix not in SUFFIXES:
        return None
    return (
        f"{uri} is a file, and a URI names a folder with config.json and weights, or an .onnx file; fetch "
        "it, and name the file here to read what it lacks"
    )


def _of_weights(name: str) -> str:
    return (
        f"{name} is a file of weights alone, which does not say what network they are for: of torchvision, "
        "name the builder and give the file as segmentor.weights (--model deeplabv3_resnet50 --set "
        f"segmentor.weights={name}); of another, name a class of your own that loads it (see {EXAMPLES})"
    )


def no_config(folder: Path, name: str) -> str:
    """For a folder without config.json."""
    if problem := strange_folder(folder, name):
        return problem
    start = f"{name} is not a checkpoint: it has no config.json"
    if inner := _checkpoint_within(folder):
        return f"{start}; {Path(name) / inner} has one: name that"
    here = _listed(folder)
    if problem := without_a_model(here, name):
        return problem
    below = [file for inner in _INNER for file in _listed(folder / inner)]
    networks = sorted(file for file in here if file.suffix.lower() == _NETWORK)
    if networks:
        return f"{start}, but {Path(name) / networks[0].name} is an ONNX network: name that"
    for file in sorted(each for each in (*here, *below) if each.suffix.lower() in SUFFIXES):
        if advice := single_file(file, str(Path(name) / file.relative_to(folder))):
            return f"{start}, but {advice}"
    return start


def no_weights(folder: Path, name: str, wanted: str) -> str:
    """For a folder whose weights are missing, or pickled."""
    if [*folder.glob("*.bin")]:
        return (
            f"{name} has its weights only as .bin, a pickle, which can run code when it is read; convert it "
            "once, if you trust it: python -c 'import transformers as t; "
            f't.{_auto(folder)}.from_pretrained("{name}", use_safetensors=False).save_pretrained("{name}")'
            "'"
        )
    if inner := _checkpoint_within(folder):
        return f"{name} has no {wanted}; {Path(name) / inner} is a checkpoint: name that"
    if network := next(iter(sorted([*folder.glob("*.onnx"), *folder.glob("onnx/*.onnx")])), None):
        inner = str(network.relative_to(folder))
        return f"{name} has no {wanted}, but {Path(name) / inner} is an ONNX network: name that"
    return f"{name} has no {wanted}"


def _auto(folder: Path) -> str:
    """The class that made a checkpoint, by which it is loaded whole."""
    try:
        named = json.loads((folder / "config.json").read_text(encoding="utf-8"))["architectures"][0]
    except (OSError, ValueError, KeyError, TypeError, IndexError):
        return "AutoModelForSemanticSegmentation"
    return str(named)


def no_processor(folder: Path, name: str, wanted: str) -> str:
    """For a folder as a Trainer leaves it that was not given the image processor."""
    start = f"{name} has no {wanted}, so nothing tells how to prepare its images"
    near = (folder.parent, *_folders(folder))
    if found := next((place / wanted for place in near if (place / wanted).is_file()), None):
        return f"{start}; copy {found} into it, if that is of the same model"
    content = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    base = content.get("_name_or_path") or "BASE"
    which = "" if content.get("_name_or_path") else ", where BASE is the model it was fine-tuned from"
    return (
        f"{start}; add that of the model it was fine-tuned from: AutoImageProcessor.from_pretrained("
        f'"{base}").save_pretrained("{name}"){which}'
    )


def other_library(content: dict[str, Any], name: str) -> str | None:
    """For a config.json that is not of transformers; None where it is not known whose it is."""
    if "_diffusers_version" in content or "_class_name" in content:
        return f"{name} is a model of diffusers, which does not segment"
    if "architecture" in content and "num_features" in content:
        return f"{name} is a model of timm, which classifies images and does not segment"
    return None


def _checkpoint_within(folder: Path) -> str | None:
    """A folder below that is a checkpoint: our own training's, or the last of a Trainer's."""
    found = [each.name for each in _folders(folder) if (each / "config.json").is_file()]
    return max(found, key=_rank, default=None)


def _rank(name: str) -> tuple[bool, int, str]:
    number = name.rpartition("-")[2]
    return name == _PREFERRED, int(number) if number.isdigit() else -1, name


def _folders(folder: Path) -> list[Path]:
    return sorted(each for each in _listed(folder) if each.is_dir())


def _listed(folder: Path) -> list[Path]:
    try:
        return [*folder.iterdir()]
    except OSError:
        return []
