"""How a model looks at a picture: in windows, and in several views."""

from __future__ import annotations

import math
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, field_validator

from batchseg.config.base import Model


class Tiling(Model):
    """Windows of one size over a picture of any size; what they say of a pixel is averaged."""

    size: int = Field(ge=1, le=16_384, description="Side of a window, in pixels of the model's input.")
    overlap: float = Field(
        0.25, ge=0, le=0.9, description="Share of a window's side that it has in common with the next."
    )
    blend: Literal["gaussian", "constant"] = Field(
        "gaussian", description="Weights of a window's pixels: less towards its edges, or all alike."
    )
    scale: float = Field(
        1.0, gt=0, le=16, description="Pixels of the model's input for one of the picture, along a side."
    )
    part: int = Field(
        4096,
        ge=1,
        description="Pixels along a side of the parts that larger pictures are cut into: the unit of memory "
        "and of resuming. No mask depends on it.",
    )

    @property
    def window(self) -> int:
        """Side of a window, in pixels of the picture."""
        return max(1, round(self.size / self.scale))

    @property
    def step(self) -> int:
        """From the start of a window to that of the next, in pixels of the picture."""
        return max(1, int(self.window * (1 - self.overlap)))

    @property
    def altering(self) -> list[str]:
        """What of it changes a mask."""
        return [f"tiling={self.size},{self.overlap!r},{self.blend},{self.scale!r}"]


def infer_tiling(value: Any) -> Any:
    """A plain size."""
    return {"size": value} if isinstance(value, int) and not isinstance(value, bool) else value


class Views(Model):
    """The same picture mirrored and in other sizes; what the model says of each is averaged."""

    flip: tuple[Literal["horizontal", "vertical"], ...] = Field(
        (), description="Mirrored left to right, upside down; both: each, and the two together."
    )
    scales: tuple[Annotated[float, Field(gt=0, le=8)], ...] = Field(
        (1.0,), min_length=1, max_length=16, description="Sizes of the model's input, beside that of today."
    )
    mirror_sides: bool = Field(
        False, description="Mirror left to right although classes have a left or a right in their names."
    )

    @field_validator("flip", "scales")
    @classmethod
    def _once(cls, values: tuple[Any, ...]) -> tuple[Any, ...]:
        if len(set(values)) != len(values):
            raise ValueError("names a value twice")
        return values

    @property
    def flips(self) -> tuple[str, ...]:
        """Of each view: "" as it is, "h", "v", and "hv"."""
        across, down = "horizontal" in self.flip, "vertical" in self.flip
        return (
            "",
            *(["h"] if across else []),
            *(["v"] if down else []),
            *(["hv"] if across and down else []),
        )

    @property
    def count(self) -> int:
        """Forward passes for each of one view."""
        return len(self.flips) * len(self.scales)

    @property
    def altering(self) -> list[str]:
        """What of it changes a mask; nothing where there is one view, as it is."""
        if self.flips == ("",) and self.scales == (1.0,):
            return []
        return [f"views={','.join(self.flips)};{','.join(map(repr, sorted(self.scales)))}"]


def tile_sides(length: int, size: int, step: int) -> list[int]:
    """Where windows of `size` start along a side of `length` (at least `size`): every `step`, the last one
    shifted inwards so that it ends with the side. MONAI's `dense_patch_slices` has the same."""
    count = 1 if length <= size else math.ceil((length - size) / step) + 1
    return [min(index * step, max(0, length - size)) for index in range(count)]


TilingSetting = Annotated[
    Tiling | None,
    BeforeValidator(infer_tiling),
    Field(description="Windows over each picture, by their size or in full. Null: a picture at once."),
]
