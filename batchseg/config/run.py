"""A whole job: `batchseg run`."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import (
    BeforeValidator,
    Field,
    model_validator,
)

from batchseg.config.base import Gates, Limits, Model, RayConfig
from batchseg.config.kinds import infer_segmentor
from batchseg.config.log_to import LogSetting
from batchseg.config.looks import TilingSetting, Views
from batchseg.config.metrics import BoundarySettings, FurtherMetrics, ObjectSettings, Spacing
from batchseg.config.overlay import Overlays, OverlaySetting
from batchseg.config.places import Place
from batchseg.config.segmentor import AnySegmentor, MergeOrRelation, ThresholdSegmentor
from batchseg.config.source import ImageReading, Source, infer_source
from batchseg.config.truth import Accepted, TruthReading, TruthSettings

Tiffs = Literal["none", "of tiffs", "all"]  # which images have a mask that is a TIFF
Kept = Literal["top2", "full"]  # of the probabilities: the two best classes of each pixel, or all


class Output(Model):
    """The results folder."""

    path: Place = Field(description="Folder for the results: a path or a URI.")
    mask_name: Literal["stem", "full"] = Field(
        "stem",
        description="stem: a.jpg -> a.png; full: a.jpg -> a.jpg.png, where names differ only in extension.",
    )
    format: Literal["auto", "png", "tiff"] = Field(
        "auto",
        description="Of the masks. tiff: tiled, with the image's georeference; auto: TIFF for images that "
        "are TIFFs where tiling or source.bands is set, else PNG. Masks that lie there stay as they are.",
    )
    overlays: OverlaySetting = Field(
        False, description="Also write overlays/, the images with their masks in colour; true: as by default."
    )
    report: bool = Field(
        False, description="Also make report.html, a page to look at; see `batchseg report`."
    )
    probabilities: Kept | None = Field(
        None,
        description="Also write probabilities/: of the two best classes of every pixel, or of all, in "
        "1/255. `batchseg decide` makes other masks of them without the model. Null: none.",
    )

    @property
    def pictures(self) -> Overlays | None:
        """What overlays there shall be; None for none."""
        if isinstance(self.overlays, Overlays):
            return self.overlays
        return Overlays() if self.overlays else None


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
    merge: MergeOrRelation = Field(
        default_factory=dict,
        description="NAME: classes of the label map that are one, such as vehicle: [car, bus]; their "
        "probabilities add, and a truth of any of them means it. Or the file of a reviewed relation, which "
        "puts them into another label map; see `batchseg labels map`.",
    )
    tiling: TilingSetting = None
    views: Views = Views()
    truth: TruthReading = TruthSettings()
    accept: Accepted = Field((), description="Guards to pass over, such as binary_truth.")
    metrics: FurtherMetrics = ()
    boundary: BoundarySettings = BoundarySettings()
    objects: ObjectSettings = ObjectSettings()
    spacing: Spacing = None
    limits: Limits = Limits()
    gates: Gates = Gates()
    ray: RayConfig = RayConfig()
    log_to: LogSetting = None
    split: Literal["train", "validation"] | None = Field(
        None, description="Only the images that the model learnt from, or that judged it. Null: all."
    )
    split_file: Place | None = Field(
        None, description="The split.parquet of a training. Null: the one in the model's folder."
    )
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
        if self.prune and self.source.is_partial:
            name = "limit" if self.source.sample is None else "sample"
            raise ValueError(f"prune would remove every image beyond source.{name}; leave one of them out")
        if self.prune and self.split is not None:
            raise ValueError("prune would remove every image of the other split; leave one of them out")
        if self.split_file is not None and self.split is None:
            raise ValueError("split_file needs split: train or validation")
        return self

    @model_validator(mode="after")
    def _threshold_reads_8_bits(self) -> RunConfig:
        reading = ImageReading.of(self.source)
        if self.segmentor.kind == "threshold" and (reading.scales or reading.percentiles):
            raise ValueError(
                "source.scale: the threshold segmentor reads 8 bits as they are; leave out what scales them"
            )
        return self

    @model_validator(mode="after")
    def _thresholds_have_no_probabilities(self) -> RunConfig:
        thresholds = all(isinstance(each, ThresholdSegmentor) for each in self.segmentor.models)
        if self.output.probabilities is not None and thresholds:
            raise ValueError(
                "output.probabilities (--probabilities): the threshold segmentor answers with label maps, "
                "which have no probabilities; leave it out"
            )
        return self

    @property
    def tiffs(self) -> Tiffs:
        """Which images have a mask that is a TIFF."""
        if self.output.format != "auto":
            return "all" if self.output.format == "tiff" else "none"
        return "of tiffs" if self.source.bands is not None or self.tiling is not None else "none"
