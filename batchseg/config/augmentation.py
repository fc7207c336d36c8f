"""How the images of a training are changed at random."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, field_validator

from batchseg.config.base import Model


class Augmentation(Model):
    """Random changes of the training images; a value that changes nothing turns one off."""

    scale: tuple[float, float] = Field(
        (0.75, 1.5),
        description="Enlarged or shrunk by a factor between these, after the model's resizing. With head "
        "prompt [1, 1] if left out, for prompts may name sizes.",
    )
    flip: tuple[Literal["horizontal", "vertical"], ...] = Field(
        (), description="Mirrored half of the time. Not where left and right, or 6 and 9, differ."
    )
    colour: float = Field(
        0.3,
        ge=0,
        le=1,
        description="Brightness, contrast and saturation change by up to this share. With head prompt 0 if "
        "left out, for prompts may name colours.",
    )

    @field_validator("scale")
    @classmethod
    def _rising(cls, scale: tuple[float, float]) -> tuple[float, float]:
        if not 0 < scale[0] <= scale[1]:
            raise ValueError("must be two factors above 0, the smaller first")
        return scale


KEEPING = {"scale": (1.0, 1.0), "colour": 0.0}  # changes nothing that a prompt may name
