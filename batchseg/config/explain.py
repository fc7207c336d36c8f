"""What the decision of a class rests on: `batchseg explain`."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, field_validator

from batchseg.config.base import Model
from batchseg.config.overlay import overlay_stem
from batchseg.config.places import Place

METHODS = ("occlusion", "gradients", "language")
Method = Literal["occlusion", "gradients", "language"]


class ExplainConfig(Model):
    """What decides for a class in images that a run has segmented: `batchseg explain`."""

    results: Place = Field(description="Folder that `batchseg run` wrote.")
    ids: tuple[str, ...] = Field((), description="Only these images, whatever `worst` says. Empty: by it.")
    worst: int = Field(
        10, ge=1, le=100_000, description="So many images: by mean IoU, without truth by confidence."
    )
    methods: tuple[Method, ...] = Field(
        (),
        description="occlusion: where a grey square lowers the probability; gradients: integrated gradients "
        "of a network, which takes captum; language: what switching the language branch of an LLM segmentor "
        "off changes, and where its attention goes. Empty: occlusion, and language where there is a branch.",
    )
    class_name: str | None = Field(
        None, min_length=1, description="The class. Null: of each mask the largest that is no background."
    )
    grid: int = Field(
        14, ge=2, le=64, description="Squares of the occlusion along a side; the model is asked for each."
    )
    device: Literal["auto", "cpu", "cuda"] = Field("auto", description="Where the model runs.")

    @field_validator("methods")
    @classmethod
    def _once(cls, methods: tuple[Method, ...]) -> tuple[Method, ...]:
        return tuple(dict.fromkeys(methods))


def explanation_name(mask: str, method: str) -> str:
    """Path below explanations/ of the picture of a mask, whose path is one below masks/."""
    return f"{overlay_stem(mask)}.{method}.png"


def explanation_names(mask: str) -> list[str]:
    """Of all methods."""
    return [explanation_name(mask, method) for method in METHODS]
