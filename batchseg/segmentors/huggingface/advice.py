"""Sentences for what is named as a model and is no checkpoint of transformers: what it is, and a way out."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

EXAMPLES = "configs/models/README.md"
_WEIGHTS = (
    ".pt",
    ".pth",
    ".ckpt",
    ".safetensors",
    ".bin",
    ".pkl",
    ".tar",
    ".h5",
    ".keras",
    ".pb",
    ".tflite",
    ".engine",
)
_NETWORK = ".onnx"
_CODE = ".py"
_PREFERRED = "model"  # the folder in which our own training leaves its checkpoint


def single_file(path: Path, name: str) -> str | None:
    """For a file, or a name that can only be that of one; None for what may be a name on the hub."""
    suffix = path.suffix.lower()
    if not path.exists():
        return f"there is no file {name}" if suffix in (*_WEIGHTS, _NETWORK, _CODE) else None
    if path.name in ("config.json", "model.safetensors", "pytorch_model.bin"):
        return f"{name} is a file; name the folder that holds it"
    if suffix == _CODE:
        return f"{name} is a file of Python code; name a class in it, too: {name}:MyClass"
    if suffix == _NETWORK:
        return (
            f"{name} is an ONNX network; the class in configs/models/onnx_runtime.py runs it, with its path "
            f"as an option (see {EXAMPLES})"
        )
    if suffix in _WEIGHTS:
        return (
            f"{name} is a file of weights alone, which does not say what network they are for: of "
            "torchvision, name the builder and give the file as segmentor.weights (--model "
            f"deeplabv3_resnet50 --set segmentor.weights={name}); of another, name a class of your own that "
            f"loads it (see {EXAMPLES})"
        )
    return f"{name} is a file; name the folder that holds the model"


def no_config(folder: Path, name: str) -> str:
    """For a folder without config.json."""
    if (folder / "adapter_config.json").is_file():
        return (
            f"{name} holds an adapter (PEFT) and not the model it was trained on; merge them once: load the "
            "model, PeftModel.from_pretrained(model, FOLDER).merge_and_unload().save_pretrained(NEW_FOLDER)"
        )
    start = f"{name} is not a checkpoint: it has no config.json"
    if inner := _checkpoint_within(folder):
        return f"{start}; {Path(name) / inner} has one: name that"
    files = sorted(file for file in _listed(folder) if file.suffix.lower() in (*_WEIGHTS, _NETWORK))
    if files and (advice := single_file(files[0], str(Path(name) / files[0].name))):
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
    if "encoder_name" in content or str(content.get("_model_class", "")).lower() in _SMP:
        return (
            f"{name} is a model of segmentation_models.pytorch; the class in configs/models/smp_model.py "
            f"runs it, with its folder as an option (see {EXAMPLES})"
        )
    if "_diffusers_version" in content or "_class_name" in content:
        return f"{name} is a model of diffusers, which does not segment"
    if "architecture" in content and "num_features" in content:
        return f"{name} is a model of timm, which classifies images and does not segment"
    return None


_SMP = ("unet", "unetplusplus", "manet", "linknet", "fpn", "pspnet", "deeplabv3", "deeplabv3plus", "pan")


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
