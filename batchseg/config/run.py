"""A whole job: `batchseg run`."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import (
    BeforeValidator,
    Field,
    model_validator,
)

from batchseg.config.base import Gates, Limits, Model, RayConfig
from batchseg.config.places import Place
from batchseg.config.segmentor import AnySegmentor, infer_segmentor
from batchseg.config.source import Source, infer_source


class Output(Model):
    """The results folder."""

    path: Place = Field(description="Folder for the results: a path or a URI.")
    mask_name: Literal["stem", "full"] = Field(
        "stem",
        description="stem: a.jpg -> a.png; full: a.jpg -> a.jpg.png, where names differ only in extension.",
    )
    overlays: bool = Field(False, description="Also write overlays/: the image with its mask in colour.")


def infer_output(value: Any) -> Any:
    """A plain path."""
    return {"path": value} if isinstance(value, str) else value


class RunConfig(Model):
    """One job: `batchseg run`. `source`, `segmentor` and `output` may be given as a plain string."""

    source: Annotated[Source, BeforeValidator(infer_source)]
    segmentor: Annotated[AnySegmentor, BeforeValidator(infer_segmentor)]
    output: Annotated[Output, BeforeValidator(infer_output)]
    labels: Place | None = Field(
        None,
        description="ade20k, cityscapes, voc, coco-stuff, or a YAML file. Null: the model's own classes.",
    )
    limits: Limits = Limits()
    gates: Gates = Gates()
    ray: RayConfig = RayConfig()
    recompute: bool = Field(False, description="Compute again what another model or setting computed.")
    candidate: bool = Field(
        False,
        description="Compute another model's masks beside the good ones, in candidate/ in the results, and "
        "compare them; `batchseg promote` then puts them in place.",
    )
    prune: bool = Field(False, description="Remove rows and masks of images that the source no longer has.")
    profile: bool = Field(
        False, description="Write a trace of some images in one actor to profiles/ in the results."
    )

    @model_validator(mode="after")
    def _prune_needs_the_whole_source(self) -> RunConfig:
        if self.prune and self.source.limit is not None:
            raise ValueError("prune would remove every image beyond source.limit; leave one of them out")
        return self
