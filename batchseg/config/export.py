"""What is written of a results folder for other tools, and for which: `batchseg export`."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from batchseg.config.base import Model
from batchseg.config.places import Place

OF_POLYGONS = ("geojson", "geoparquet")


class ExportConfig(Model):
    """Masks of a results folder as another tool reads them: `batchseg export`."""

    results: Place = Field(description="Folder that `batchseg run` or `batchseg evaluate` wrote.")
    to: Literal["coco", "coco-panoptic", "geojson", "geoparquet", "cvat", "label-studio"] = Field(
        description="The format."
    )
    output: Place = Field(description="The file to write, or for coco-panoptic the folder.")
    where: str | None = Field(
        None,
        min_length=1,
        description="A condition in DuckDB's SQL on the columns of `images`, such as mean_iou < 0.5. "
        "Null: every image that has a mask.",
    )
    images: int | None = Field(
        None,
        ge=1,
        description="At most so many of them, the worst: by mean IoU or else by confidence. Null: all.",
    )
    simplify: float | None = Field(
        None,
        gt=0,
        description="For polygons: how far their lines may move, in pixels or units of the CRS; neighbours "
        "keep their common border. Null: along the edges of pixels.",
    )
    crs: str | None = Field(
        None,
        min_length=1,
        description="For polygons: the CRS to write them in, such as EPSG:4326. Null: that of the images.",
    )
    overwrite: bool = Field(False, description="Replace what is there.")

    @model_validator(mode="after")
    def _polygons_alone(self) -> ExportConfig:
        for name in ("simplify", "crs"):
            if getattr(self, name) is not None and self.to not in OF_POLYGONS:
                raise ValueError(f"{name} is for polygons ({', '.join(OF_POLYGONS)}), and {self.to} has none")
        return self
