"""Pictures of the masks: `output.overlays` of a run, and `batchseg overlay`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, Tag

from batchseg.config.base import WHICH_RULE, Model, RayConfig
from batchseg.config.places import Place

OVERLAY_SUFFIXES = {"jpeg": ".jpg", "png": ".png"}


def overlay_names(mask: str) -> list[str]:
    """What a mask's overlay may be called, in any format; all are paths below masks/ and overlays/."""
    return [f"{overlay_stem(mask)}{suffix}" for suffix in OVERLAY_SUFFIXES.values()]


def overlay_stem(mask: str) -> str:
    """The path of a mask's overlay without its ending: of a.png it is a, but of a.tif, which may lie beside
    it, a.tif."""
    return mask if mask.endswith(".tif") else mask.rpartition(".")[0]


class Overlays(Model):
    """What pictures are made of images and masks, and of which images."""

    kind: Literal["blend", "contour", "triptych"] = Field(
        "blend",
        description="blend: the classes in colour over the image; contour: their outlines alone; triptych: "
        "image, truth and prediction side by side, with what differs marked.",
    )
    format: Literal["jpeg", "png"] = Field("jpeg", description="Of the files; PNG loses nothing.")
    longest: int = Field(
        1024, ge=16, le=16384, description="Pixels of the image's longer side; larger ones are scaled down."
    )
    opacity: float = Field(0.5, ge=0, le=1, description="Of the colours over the image; 1 hides it.")
    which: str = Field(
        "all",
        pattern=WHICH_RULE,
        description="all, as masks are written; or at the end of a run: worst N, by mean IoU or else by "
        "confidence, or sample N, at random but the same every time.",
    )

    def name_of(self, mask: str) -> str:
        """Path below overlays/ of the picture of a mask, whose path is one below masks/."""
        return f"{overlay_stem(mask)}{OVERLAY_SUFFIXES[self.format]}"

    @property
    def count(self) -> int | None:
        """How many are wanted; None for all."""
        return None if self.which == "all" else int(self.which.partition(" ")[2])


def _tag(value: Any) -> str:
    return "(settings)" if isinstance(value, Mapping | Overlays) else "(switch)"


# the tags tell which of both is meant, so that only its own problems are reported; see `load.validate`
OverlaySetting = Annotated[
    Annotated[bool, Tag("(switch)")] | Annotated[Overlays, Tag("(settings)")], Discriminator(_tag)
]


class OverlayConfig(Overlays):
    """Pictures of masks that lie there: `batchseg overlay`."""

    results: Place = Field(description="Folder that `batchseg run` wrote.")
    ids: tuple[str, ...] = Field((), description="Only these images, whatever `which` says. Empty: by it.")
    ray: RayConfig = RayConfig()
