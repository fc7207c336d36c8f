"""Metrics that are computed where they are asked for: boundaries and objects."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Protocol

from pydantic import AfterValidator, BeforeValidator, Field, field_validator

from batchseg.config.base import Model
from batchseg.config.suggest import did_you_mean

FURTHER_METRICS = ("boundary", "objects")

Pixel = Annotated[float, Field(gt=0)]
Tolerance = Annotated[float, Field(ge=0)]


def _names(value: Any) -> Any:
    """boundary,objects as on the command line."""
    return [name.strip() for name in value.split(",")] if isinstance(value, str) else value


def _known(names: tuple[str, ...]) -> tuple[str, ...]:
    for name in names:
        if name not in FURTHER_METRICS:
            meant = did_you_mean(name, FURTHER_METRICS)
            raise ValueError(f"unknown metric {name!r}{meant}; available: {', '.join(FURTHER_METRICS)}")
    return tuple(name for name in FURTHER_METRICS if name in names)


FurtherMetrics = Annotated[
    tuple[str, ...],
    BeforeValidator(_names),
    AfterValidator(_known),
    Field(
        description="Further ones: boundary (Boundary IoU, NSD and HD95 of every class), objects (connected "
        "parts of the classes: PQ, recall by size, false positives). Masks that lie there are scored anew, "
        "without the model."
    ),
]

Spacing = Annotated[
    Pixel | tuple[Pixel, Pixel] | None,
    Field(
        description="Size of a pixel for `metrics`, such as in mm: one number, or [height, width]. Null: "
        "that of georeferenced TIFFs in the units of their map; other images have none.",
    ),
]


class BoundarySettings(Model):
    """How boundaries are measured, where `metrics` has boundary."""

    width: float = Field(
        0.02,
        gt=0,
        le=0.5,
        description="Of the band of Boundary IoU, as a share of the image's diagonal; at least 1 pixel.",
    )
    tolerance: Tolerance | dict[str, Tolerance] = Field(
        2.0,
        description="Of NSD: how far boundaries may be apart and still agree. A number, or one by class; "
        "classes that are not named have 2.",
    )
    unit: Literal["pixels", "spacing"] | None = Field(
        None,
        description="Of the tolerance and of HD95. spacing: those of `spacing`, or of the map; images that "
        "have none get no NSD and no HD95. Null: spacing where `spacing` is set, else pixels.",
    )


class ObjectSettings(Model):
    """What objects are, where `metrics` has objects."""

    classes: tuple[str, ...] = Field(
        (), description="Classes whose connected parts are objects. Empty: all but a background."
    )
    sizes: tuple[Annotated[int, Field(ge=1)], ...] = Field(
        (32**2, 96**2), description="Pixels that part small from large objects in recall by size; as COCO's."
    )
    geometry: bool = Field(
        False,
        description="Also keep the outline of each object as WKB: in pixels, or on the map where the image "
        "lies on one.",
    )

    @field_validator("sizes")
    @classmethod
    def _ascending(cls, sizes: tuple[int, ...]) -> tuple[int, ...]:
        if list(sizes) != sorted({*sizes}):
            raise ValueError("must ascend, such as [1024, 9216]")
        return sizes


class Measured(Protocol):
    """A configuration that asks for them."""

    @property
    def metrics(self) -> tuple[str, ...]: ...

    @property
    def boundary(self) -> BoundarySettings: ...

    @property
    def objects(self) -> ObjectSettings: ...

    @property
    def spacing(self) -> float | tuple[float, float] | None: ...
