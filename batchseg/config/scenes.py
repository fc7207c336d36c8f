"""Sample data: `batchseg scenes`."""

from __future__ import annotations

from typing import Literal

from pydantic import (
    Field,
)

from batchseg.config.base import Model
from batchseg.config.places import Place


class DigitsConfig(Model):
    """Scenes of handwritten digits with exact ground truth: `batchseg scenes digits`."""

    output: Place = Field(description="New folder for images/, masks/ and manifest.parquet.")
    count: int = Field(1000, ge=1, description="Scenes.")
    seed: int = Field(0, ge=0, description="The same seed gives the same scenes.")
    size: int = Field(224, ge=150, le=10_000, description="Width and height of a scene, in pixels.")
    source: Literal["sklearn", "mnist"] = Field("sklearn", description="Where the digits come from.")
    mnist: Place = Field(
        "~/.cache/batchseg", description="Folder with MNIST's files; they are downloaded if not there."
    )


class PhrasesConfig(Model):
    """Scenes of things and prompts that name some of them, with exact truth: `batchseg scenes phrases`."""

    output: Place = Field(description="New folder for images/, masks/ and manifest.parquet.")
    count: int = Field(1000, ge=1, description="Scenes.")
    seed: int = Field(0, ge=0, description="The same seed gives the same scenes and prompts.")
    size: int = Field(96, ge=48, le=2_000, description="Width and height of a scene, in pixels.")
    prompts: int = Field(3, ge=1, le=100, description="Prompts for each scene; each is a row.")
    words: int = Field(
        6, ge=1, le=6, description="Words for each concept that training and validation use; a digit has two."
    )
    digits: float = Field(
        0.2, ge=0, le=1, description="Share of the scenes that show handwritten digits among the things."
    )
