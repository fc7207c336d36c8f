"""What has to be said of networks whose files do not say it: normalisation, size, classes, output."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, field_validator, model_validator

from batchseg.config.base import Model
from batchseg.config.class_names import ClassNames, split_names

_LARGEST_OF_UNIT = 2.0  # a mean or deviation of pixels that run from 0 to 1 is less


def _each_alike(value: Any) -> Any:
    """One number for all channels."""
    return (value,) if isinstance(value, int | float) and not isinstance(value, bool) else value


def _square(value: Any) -> Any:
    return (value, value) if isinstance(value, int) and not isinstance(value, bool) else value


Numbers = Annotated[tuple[float, ...], BeforeValidator(_each_alike), Field(min_length=1)]


class Normalising(Model):
    """How pixels are normalised: (pixel - mean) / std, a number a channel or one for all."""

    mean: Numbers | None = Field(None, description="Mean of each channel, or one for all, in `range`.")
    std: Numbers | None = Field(None, description="Standard deviation of each channel, likewise.")
    range: Literal["0..1", "0..255"] | None = Field(
        None, description="What black and white are before the mean is subtracted. Null: 0..1."
    )
    channel_order: Literal["RGB", "BGR"] | None = Field(
        None, description="Of the network's input; mean and std are in this order, too. Null: RGB."
    )

    @field_validator("std")
    @classmethod
    def _above_zero(cls, std: tuple[float, ...] | None) -> tuple[float, ...] | None:
        if std is not None and min(std) <= 0:
            raise ValueError("must be above 0")
        return std

    @model_validator(mode="after")
    def _in_range(self) -> Normalising:
        if (self.mean is None) != (self.std is None):
            raise ValueError("mean and std belong together; give both")
        highest = max((*(self.mean or ()), *(self.std or ())), default=0.0)
        if highest > _LARGEST_OF_UNIT and self.range != "0..255":
            raise ValueError(
                f"a mean or std of {highest:g} does not fit pixels from 0 to 1; say range: 0..255, or divide "
                "them by 255"
            )
        return self


class SmpDescription(Normalising):
    """What a model of segmentation_models_pytorch is run with. Null: what lies in its folder says it."""

    architecture: str | None = Field(
        None,
        pattern=r"^\w+$",
        description="Class of the library, such as Unet. Null: as its config.json has it.",
    )
    classes: Annotated[ClassNames | None, BeforeValidator(split_names)] = Field(
        None,
        description="Names of its classes; of one output background and the class. Null: its config.json's.",
    )
    resize: int | None = Field(
        None,
        ge=16,
        description="Shorter side of the model's input, in pixels. Null: as its saved transform resizes, "
        "else as images are.",
    )


class OnnxDescription(Normalising):
    """What is said of an ONNX network, in the settings of a job or in a YAML file beside the network."""

    classes: Annotated[ClassNames | None, BeforeValidator(split_names)] = Field(
        None,
        description="Names of its classes, in the order of its output; of a single map background and the "
        "class. Null: those in the file's metadata.",
    )
    scores: Literal["logits", "probabilities", "labels"] | None = Field(
        None, description="What the output is. Null: labels where it holds whole numbers; else it is needed."
    )
    output: str | None = Field(None, description="Name of the output that holds it, where there are several.")
    size: Annotated[tuple[int, int] | None, BeforeValidator(_square)] = Field(
        None,
        description="Height and width that images are resized to, or one number for both. Null: those the "
        "network was exported for; where it takes any, images stay as they are.",
    )
    multiple: int | None = Field(
        None,
        ge=1,
        description="What the sides of the input must be multiples of: padded, and cut again. Null: 1.",
    )
    layout: Literal["NCHW", "NHWC"] | None = Field(
        None, description="Order of the input's dimensions. Null: read from its shape."
    )

    @field_validator("size")
    @classmethod
    def _some_pixels(cls, size: tuple[int, int] | None) -> tuple[int, int] | None:
        if size is not None and min(size) < 1:
            raise ValueError("must be at least 1")
        return size
