"""The Albumentations transform that lies beside a model: its size and normalisation, read from its JSON."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from batchseg.errors import ModelError
from batchseg.segmentors.network.normalisation import Normalisation
from batchseg.segmentors.network.sizing import Sizing

TRANSFORM = "albumentations_config_eval.json"
_LEVELS = (255.0, 65535.0)  # of white, in the types that images are stored in
_IMAGENET = {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}
_FIXED = {"standard": {}, "inception": {"mean": (0.5,) * 3, "std": (0.5,) * 3}}
# what leaves numbers and size as they are, or what is done here anyhow
_HARMLESS = ("ToTensorV2", "ToTensor", "PadIfNeeded", "NoOp", "ToFloat", "ToRGB")
_SIZES = ("Resize", "SmallestMaxSize", "LongestMaxSize")
_CROPS = ("CenterCrop", "CropNonEmptyMaskIfExists", "RandomCrop")

Step = dict[str, Any]


@dataclass(frozen=True)
class SavedTransform:
    """What a transform does to an image.

    Attributes:
        normalisation: of its images.
        sizing: what it resizes to.
        left_out: sentences on what is not done here.
    """

    normalisation: Normalisation
    sizing: Sizing
    left_out: tuple[str, ...] = ()

    @classmethod
    def read(
        cls, folder: Path, name: str, channels: int, stated: Normalisation | None = None
    ) -> SavedTransform | None:
        """Of a folder; None where it has none.

        Args:
            stated: how images are normalised, whatever the transform says.

        Raises ModelError for one that cannot be done here, where that is not stated.
        """
        if not (folder / TRANSFORM).is_file():
            return None
        normalisation, sizing, left_out = stated, Sizing(), []
        is_unit = False
        for kind, step in _steps_of(folder / TRANSFORM, name):
            if kind == "Normalize":
                normalisation = stated or _normalisation(step, name, channels, is_unit)
            elif kind in _SIZES:
                sizing = _sizing(kind, step, name)
            elif kind not in _HARMLESS:
                left_out.append(_left_out(kind, name, stated))
            is_unit |= kind == "ToFloat"
        if normalisation is None:
            raise ModelError(
                f"{name}: its {TRANSFORM} does not normalise, so nothing says how its images are; set "
                "segmentor.mean and segmentor.std (0 and 1 for pixels from 0 to 1 as they are)"
            )
        return cls(normalisation, sizing, tuple(left_out))


def _steps_of(path: Path, name: str) -> list[tuple[str, Step]]:
    """The steps of a saved transform by their names, in order."""
    try:
        steps = [*_steps(json.loads(path.read_text(encoding="utf-8"))["transform"])]
        return [(str(step.get("__class_fullname__", "")).rpartition(".")[2], step) for step in steps]
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as exc:
        raise ModelError(f"{name}: cannot read its {TRANSFORM}: {exc}") from exc


def _left_out(kind: str, name: str, stated: Normalisation | None) -> str:
    """What is remarked of a step that is not done. Raises ModelError for one that changes numbers."""
    if kind in _CROPS:
        return f"{name}: its saved transform has {kind}, which is not done: images are segmented whole"
    start = f"{name}: its {TRANSFORM} has {kind or 'a step without a name'}, which is not known here"
    if stated is not None:
        return f"{start} and is not done"
    raise ModelError(
        f"{start}, so images cannot be prepared as in its training; set segmentor.mean and segmentor.std "
        "to run it without that step"
    )


def _steps(part: Step) -> list[Step]:
    """The steps of a transform and of those within it, in order."""
    inner = part.get("transforms")
    return [part] if inner is None else [step for each in inner for step in _steps(each)]


def _normalisation(step: Step, name: str, channels: int, is_unit: bool) -> Normalisation:
    kind = step.get("normalization", "standard")
    if kind not in _FIXED:
        raise ModelError(
            f"{name}: its {TRANSFORM} normalises by {kind!r}, anew for each image, which is not done here; a "
            "class of your own can (see configs/models/README.md)"
        )
    values = {**_IMAGENET, **step, **_FIXED[kind]}
    mean, std = (_each(values[key], channels) for key in ("mean", "std"))
    highest = float(step.get("max_pixel_value") or _LEVELS[0])
    if not mean or not std or (highest not in _LEVELS and highest != 1):
        raise ModelError(
            f"{name}: its {TRANSFORM} normalises by a mean of {values['mean']}, a std of {values['std']} and "
            f"a max_pixel_value of {highest:g}, and the network reads {channels} channels of 8 or 16 bits"
        )
    # pixels that were not divided before run to 255
    return Normalisation(mean, std, 255.0 if highest == 1 and not is_unit else 1.0)


def _each(values: Any, channels: int) -> tuple[float, ...]:
    listed = tuple(values) if isinstance(values, list | tuple) else (values,)
    return tuple(map(float, listed)) * (channels // len(listed)) if len(listed) in (1, channels) else ()


def _sizing(kind: str, step: Step, name: str) -> Sizing:
    keys = ("height", "width") if kind == "Resize" else ("max_size",)
    sides = [step.get(key) for key in keys]
    if not all(isinstance(side, int) and side > 0 for side in sides):
        raise ModelError(f"{name}: its {TRANSFORM} resizes by {kind} to {sides}; set segmentor.resize")
    if kind == "Resize":
        return Sizing(size=(int(sides[0] or 0), int(sides[1] or 0)))
    return Sizing(shorter=sides[0]) if kind == "SmallestMaxSize" else Sizing(longer=sides[0])
