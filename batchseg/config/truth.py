"""How ground truths are read, and what is passed over when they look wrong."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from batchseg.config.base import Model
from batchseg.config.places import Place

# each guard refuses or warns of figures that are likely to mean something else than they seem to
GUARDS = {
    "binary_truth": "two classes, and label files of 0 and 255 alone, of which 255 is ignored",
    "failing_truth": "most of the sampled ground truths cannot be used",
    "ignored_truth": "more than half of the ground truth is ignored",
    "absent_class": "a class without a pixel of truth, while many pixels are ignored",
    "turned_images": "images turned by EXIF beside a truth that may not be",
    "dark_images": "16-bit images that use a small part of their range",
    "input_range": "images much darker or brighter than those that the model was trained on",
    "shrunk_images": "images that the model sees more than 4 times smaller along a side",
    "one_class": "every pixel of every image is predicted as one class",
}


def _known(names: tuple[str, ...]) -> tuple[str, ...]:
    for name in names:
        if name not in GUARDS:
            raise ValueError(f"unknown guard {name!r}; available: {', '.join(GUARDS)}")
    return names


Accepted = Annotated[tuple[str, ...], AfterValidator(_known)]


class TruthSettings(Model):
    """How the pixels of label files become classes."""

    values: Literal["ids", "colours"] | None = Field(
        None,
        description="What label files hold. Null: RGB files hold colours where the label map names them and "
        "they fit a sample, all others ids.",
    )
    threshold: int | None = Field(
        None,
        ge=1,
        le=255,
        description="Two classes: grey levels from here on are class 1, those below class 0. For masks with "
        "lossy compression, such as JPEG; 128 is usual.",
    )

    @model_validator(mode="after")
    def _one_reading(self) -> TruthSettings:
        if self.threshold is not None and self.values is not None:
            raise ValueError(
                f"threshold makes classes of grey levels, so there is no choice of {self.values}; leave "
                "threshold or values out"
            )
        return self


class EvaluatedTruth(TruthSettings):
    """The ground truth of existing masks."""

    path: Place = Field(
        description="Folder with the ground truth, mirroring the masks, or a labelling tool's file."
    )


def _no_folder(value: Any) -> Any:
    if isinstance(value, str):
        raise ValueError("says how truths are read; their folder is source.truth (--truth)")
    return value


TruthReading = Annotated[TruthSettings, BeforeValidator(_no_folder)]


def infer_truth(value: Any) -> Any:
    """A plain path."""
    return {"path": value} if isinstance(value, str) else value
