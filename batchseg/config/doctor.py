"""What is looked at before anything costs time: `batchseg doctor`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from batchseg.config.base import Limits, Model
from batchseg.config.places import Place
from batchseg.config.segmentor import AnySegmentor, infer_segmentor
from batchseg.config.source import Source, infer_source


class DoctorConfig(Model):
    """What is to be looked at: `batchseg doctor`."""

    source: Annotated[Source, BeforeValidator(infer_source)]
    segmentor: Annotated[AnySegmentor | None, BeforeValidator(infer_segmentor)] = Field(
        None, description="The model whose classes the truth is held against."
    )
    labels: Place | None = Field(None, description="A label map by name, or a YAML file.")
    mask_name: Literal["stem", "full"] = Field("stem", description="As in the run's output.")
    limits: Limits = Limits()
    truths: int = Field(32, ge=0, description="Ground truths to read.")


_OF_SOURCE = ("truth", "truth_suffix", "include", "exclude", "limit")


def doctor_settings(source: str | None, plain: Mapping[str, Any]) -> dict[str, Any]:
    """Nested settings from the plain names of the command line's options."""
    of_source = {name: plain[name] for name in _OF_SOURCE if name in plain}
    others = {name: value for name, value in plain.items() if name not in (*_OF_SOURCE, "model")}
    nested = {"source": {"path": source, **of_source}, **others}
    return {**nested, "segmentor": {"model": plain["model"]}} if "model" in plain else nested
