"""The segmentor of a run: one model a kind, and how a plain name tells its kind."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    field_validator,
)

from batchseg.config.base import CLASS_RULE, Model
from batchseg.config.places import Place, refuse_credentials


class SegmentorConfig(Model):
    """What every kind of segmentor has: how it is placed on the hardware. Null: chosen from the hardware."""

    device: Literal["auto", "cpu", "cuda"] = Field("auto", description="Where the model runs.")
    precision: Literal["auto", "fp32", "bf16", "fp16"] = Field(
        "auto", description="auto: bf16 where the hardware computes it natively, else fp32."
    )
    batch_size: int | None = Field(None, ge=1, le=65_536, description="Images per model call.")
    actors: int | None = Field(None, ge=1, le=10_000, description="Copies of the model.")
    gpus_per_actor: float | None = Field(
        None, gt=0, description="GPUs for each copy, at most 1; 0.5 puts two on one."
    )

    @field_validator("gpus_per_actor")
    @classmethod
    def _one_device(cls, gpus: float | None) -> float | None:
        if gpus is not None and gpus > 1:
            raise ValueError(
                "must be at most 1: a copy of the model uses one GPU, and others would idle; "
                "segmentor.actors says how many copies there are"
            )
        return gpus


class NetworkConfig(SegmentorConfig):
    """What neural networks have besides. Both settings change masks a little, and so the fingerprint."""

    compile: bool = Field(
        False,
        description="Compile the network (torch.compile): each actor and input shape once, 1 min or so.",
    )
    scaled_decode: bool = Field(
        False,
        description="Decode JPEGs at 1/2, 1/4 or 1/8 where that is still no smaller than the model's input.",
    )

    @property
    def altering(self) -> list[str]:
        """The settings in use that change masks: nothing is added to a fingerprint where there are none."""
        return [name for name in ("compile", "scaled_decode") if getattr(self, name)]


def _split_names(value: Any) -> Any:
    """One string of names between commas."""
    return [name.strip() for name in value.split(",")] if isinstance(value, str) else value


def _tell_apart(names: tuple[str, ...]) -> tuple[str, ...]:
    if not all(name.strip() for name in names) or not names:
        raise ValueError("must be names between commas, none of them empty")
    folded = [name.casefold() for name in names]
    repeated = next((name for name in names if folded.count(name.casefold()) > 1), None)
    if repeated is not None:
        raise ValueError(f"names {repeated!r} twice")
    if len(names) == 1:
        raise ValueError("a class alone would take every pixel; name what it is told from, too")
    return names


ClassNames = Annotated[tuple[str, ...], AfterValidator(_tell_apart)]


class HuggingFaceSegmentor(NetworkConfig):
    """Any semantic or universal segmentation model of transformers."""

    kind: Literal["huggingface"] = "huggingface"
    model: Place = Field(description="Local folder, URI of a folder, or hub name.")
    revision: str | None = Field(None, description="Branch, tag or commit on the hub.")
    trust_remote_code: bool = Field(False, description="Run Python code that comes with the model.")
    classes: Annotated[ClassNames | None, BeforeValidator(_split_names)] = Field(
        None, description="Other classes by name, for an LLM segmentor with a text head. Null: its own."
    )
    none_below: float | None = Field(
        None, gt=0, lt=1, description="Pixels whose best class is less probable belong to none. Null: all do."
    )


class TorchvisionSegmentor(NetworkConfig):
    """A model of torchvision.models.segmentation."""

    kind: Literal["torchvision"] = "torchvision"
    model: Place = Field(description="Builder name, such as deeplabv3_resnet50 or lraspp_mobilenet_v3_large.")
    weights: Place = Field(
        "DEFAULT", description="Name of torchvision weights, or a local state dict (.pt, .pth, .safetensors)."
    )
    resize: int = Field(520, ge=16, description="Shorter side of the model's input, in pixels.")


class ThresholdSegmentor(SegmentorConfig):
    """Brightness against fixed levels: deterministic, without torch; for dry runs and tests."""

    kind: Literal["threshold"] = "threshold"
    levels: tuple[int, ...] = Field(
        (128,), min_length=1, description="Rising grey levels, 1 to 255; class = levels reached."
    )

    @field_validator("levels")
    @classmethod
    def _rising(cls, levels: tuple[int, ...]) -> tuple[int, ...]:
        if list(levels) != sorted(set(levels)) or not all(1 <= level <= 255 for level in levels):
            raise ValueError("must rise and lie in 1 .. 255")
        return levels


class CustomSegmentor(SegmentorConfig):
    """A class of your own, named `module:Class` or `path/to/file.py:Class`."""

    kind: Literal["custom"] = "custom"
    model: str = Field(
        pattern=CLASS_RULE, description="module:Class, importable on every worker, or path/to/file.py:Class."
    )
    options: Annotated[dict[str, Any], AfterValidator(refuse_credentials)] = Field(
        default_factory=dict, description="Keyword arguments of the class."
    )


AnySegmentor = Annotated[
    HuggingFaceSegmentor | TorchvisionSegmentor | ThresholdSegmentor | CustomSegmentor,
    Field(discriminator="kind"),
]


def infer_segmentor(value: Any) -> Any:
    """A plain model name, or a mapping without `kind`: the name tells the kind."""
    data = {"model": value} if isinstance(value, str) else value
    if not isinstance(data, Mapping):
        return data
    if data.get("model") == "threshold" and data.get("kind", "threshold") == "threshold":
        return {**{key: item for key, item in data.items() if key != "model"}, "kind": "threshold"}
    if "kind" in data:
        return data
    return {"kind": _kind_of(str(data.get("model"))), **data}


def _kind_of(model: str) -> str:
    """A folder is a checkpoint of transformers, whatever it is called."""
    if re.search(CLASS_RULE, model):
        return "custom"
    is_builder = re.fullmatch(r"(deeplabv3|fcn|lraspp)_\w+", model) and not os.path.isdir(model)
    return "torchvision" if is_builder else "huggingface"
