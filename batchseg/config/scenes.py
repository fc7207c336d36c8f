"""Sample data: `batchseg digits`."""

from __future__ import annotations

from typing import Literal

from pydantic import (
    Field,
)

from batchseg.config.base import Model
from batchseg.config.places import Place


class DigitsConfig(Model):
    """Scenes of handwritten digits with exact ground truth: `batchseg digits`."""

    output: Place = Field(description="New folder for images/, masks/ and manifest.parquet.")
    count: int = Field(1000, ge=1, description="Scenes.")
    seed: int = Field(0, ge=0, description="The same seed gives the same scenes.")
    size: int = Field(224, ge=150, le=10_000, description="Width and height of a scene, in pixels.")
    source: Literal["sklearn", "mnist"] = Field("sklearn", description="Where the digits come from.")
    mnist: Place = Field(
        "~/.cache/batchseg", description="Folder with MNIST's files; they are downloaded if not there."
    )
