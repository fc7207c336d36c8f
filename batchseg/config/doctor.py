"""What is looked at before anything costs time: `batchseg doctor`."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BeforeValidator, Field

from batchseg.config.base import Limits, Model
from batchseg.config.kinds import infer_segmentor
from batchseg.config.looks import TilingSetting
from batchseg.config.places import Place
from batchseg.config.segmentor import AnySegmentor, MergeOrRelation
from batchseg.config.source import Source, infer_source
from batchseg.config.truth import Accepted, TruthReading, TruthSettings


class DoctorConfig(Model):
    """What is to be looked at: `batchseg doctor`."""

    source: Annotated[Source, BeforeValidator(infer_source)]
    segmentor: Annotated[AnySegmentor | None, BeforeValidator(infer_segmentor)] = Field(
        None, description="The model whose classes the truth is held against."
    )
    labels: Place | None = Field(None, description="A label map by name, or a YAML file.")
    merge: MergeOrRelation = Field(
        default_factory=dict, description="As for run: NAME: classes that are one; or a relation's file."
    )
    tiling: TilingSetting = None
    mask_name: Literal["stem", "full"] = Field("stem", description="As in the run's output.")
    truth: TruthReading = TruthSettings()
    accept: Accepted = Field((), description="Guards to pass over, such as binary_truth.")
    limits: Limits = Limits()
    truths: int = Field(32, ge=0, description="Ground truths to read.")
