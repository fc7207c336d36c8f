"""Existing masks against ground truth: `batchseg evaluate`."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, model_validator

from batchseg.config.base import SUFFIX_RULE, Gates, Limits, Model, RayConfig
from batchseg.config.metrics import BoundarySettings, FurtherMetrics, ObjectSettings, Spacing
from batchseg.config.places import Place
from batchseg.config.source import FollowLinks, Limit, SampleSeed, SampleSize, one_choice
from batchseg.config.truth import Accepted, EvaluatedTruth, TruthSettings, infer_truth


class EvaluateConfig(Model):
    """Existing masks against ground truth, without a model: `batchseg evaluate`."""

    masks: Place = Field(description="Folder with the masks to judge.")
    truth: Annotated[EvaluatedTruth, BeforeValidator(infer_truth)] = Field(
        description="The ground truth: its folder, or a mapping with its `path` and how it is read."
    )
    output: Place = Field(description="Folder for the tables.")
    labels: Place = Field(description="ade20k, cityscapes, voc, coco-stuff, or a YAML file.")
    mask_ids: Literal["class", "truth"] = Field(
        "class",
        description="What pixel values of the masks mean: class ids, or the data set's own truth ids.",
    )
    mask_suffix: str | None = Field(
        None, pattern=SUFFIX_RULE, description="FROM=TO on a mask's stem, applied before truth_suffix."
    )
    truth_suffix: str | None = Field(
        None, pattern=SUFFIX_RULE, description="FROM=TO: a mask's stem to its truth's."
    )
    include: tuple[str, ...] = Field(
        (), description="Globs on the mask's path; it must match one. Empty: all."
    )
    exclude: tuple[str, ...] = Field((), description="Globs; a mask that matches one is left out.")
    follow_links: FollowLinks = False
    limit: Limit = None
    sample: SampleSize = None
    seed: SampleSeed = 0
    accept: Accepted = Field((), description="Guards to pass over, such as binary_truth.")
    metrics: FurtherMetrics = ()
    boundary: BoundarySettings = BoundarySettings()
    objects: ObjectSettings = ObjectSettings()
    spacing: Spacing = None
    limits: Limits = Limits()
    gates: Gates = Gates()
    ray: RayConfig = RayConfig()

    @model_validator(mode="after")
    def _first_or_random(self) -> EvaluateConfig:
        one_choice(self.limit, self.sample)
        return self

    @property
    def mask_settings(self) -> TruthSettings:
        """How the masks are read: as the truths, but for what is said of the truths' own ids."""
        return self.truth if self.mask_ids == "truth" else TruthSettings(values=self.truth.values)
