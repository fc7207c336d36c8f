"""Masks decided again from stored probabilities: `batchseg decide`."""

from __future__ import annotations

from pydantic import Field

from batchseg.config.base import Gates, Model, RayConfig
from batchseg.config.places import Place
from batchseg.config.segmentor import MergeOrRelation
from batchseg.config.truth import Accepted


class DecideConfig(Model):
    """Masks decided again from the probabilities of a run, without its model: `batchseg decide`.

    Everything else is as it was in that run.
    """

    results: Place = Field(description="Folder that `batchseg run` wrote, with output.probabilities.")
    output: Place = Field(description="Folder for the new masks and tables.")
    none_below: float | None = Field(
        None,
        ge=0,
        lt=1,
        description="Pixels whose best class is less probable belong to none; 0: all belong to one. Null: as "
        "the run had it.",
    )
    threshold: float | None = Field(
        None,
        gt=0,
        lt=1,
        description="Of two classes: foreground is where its probability is above this. Null: as the run had "
        "it.",
    )
    merge: MergeOrRelation = Field(
        default_factory=dict,
        description="NAME: classes of the masks that are one, such as vehicle: [car, bus]; their "
        "probabilities add, which takes those of all classes (output.probabilities: full). Or the file of a "
        "reviewed relation.",
    )
    labels: Place | None = Field(
        None, description="A label map by name or file. Null: what the run used, as it was then."
    )
    truth: Place | None = Field(
        None,
        description="Folder with the ground truth, mirroring the images, or a labelling tool's file. Null: "
        "that of the run.",
    )
    accept: Accepted = Field((), description="Guards to pass over besides those of the run.")
    gates: Gates = Gates()
    ray: RayConfig = RayConfig()
    recompute: bool = Field(False, description="Decide again what was decided otherwise in `output`.")
