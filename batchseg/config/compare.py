"""The configuration of a comparison, `batchseg compare`, and of a night, `jobs/nightly.py`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, field_validator

from batchseg.config.base import METRICS, PROMPT_METRICS, Model, flat_gates, gated_class
from batchseg.config.places import Place
from batchseg.config.run import RunConfig
from batchseg.config.suggest import did_you_mean

CLASS_FIGURES = ("iou", "recall", "precision", "f1")


class Comparison(Model):
    """How old and new results are held against each other, and when the new ones are too bad."""

    by: Literal["mean_iou", "accuracy"] = Field(
        "mean_iou", description="What orders the images that changed most."
    )
    listed: int = Field(
        10, ge=0, description="Images named of each kind: changed, moved, came, gone, failed."
    )
    bootstrap: int = Field(
        1000, ge=0, le=1_000_000, description="Resamplings of the images for the intervals. 0: none."
    )
    confidence: float = Field(0.95, gt=0, lt=1, description="What an interval covers.")
    seed: int = Field(0, ge=0, description="The same seed gives the same intervals.")
    max_drop: dict[str, float] = Field(
        default_factory=dict, description="METRIC: how far it may fall over the images of both."
    )
    max_class_drop: Annotated[dict[str, float], BeforeValidator(flat_gates)] = Field(
        default_factory=dict,
        description="iou, recall, precision or f1: how far it may fall in any class; or in one, such as "
        "iou.lesion, which then has its own limit.",
    )
    max_drift: float | None = Field(
        None, ge=0, le=1, description="Share of the predicted area that may change its class."
    )

    @field_validator("max_drop")
    @classmethod
    def _known_metrics(cls, drops: dict[str, float]) -> dict[str, float]:
        return _checked(drops, (*METRICS, *PROMPT_METRICS))

    @field_validator("max_class_drop")
    @classmethod
    def _known_figures(cls, drops: dict[str, float]) -> dict[str, float]:
        for name, drop in drops.items():  # one by one: several classes have the same figure
            _checked({gated_class(name)[0]: drop}, CLASS_FIGURES)
        return drops


class CompareConfig(Comparison):
    """Two results folders or run records: `batchseg compare`."""

    old: Place = Field(description="Results folder, or the record of a run (runs/ID.json).")
    new: Place = Field(description="Likewise.")


class Night(Comparison):
    """What follows a nightly run: verify, compare with the last good night, keep it if it was good."""

    verify: Literal["quick", "full"] = Field(
        "quick", description="full: decode every mask of the folder as well, old ones included."
    )
    report: bool = Field(True, description="Make report.html, a page to look at, at the end of every night.")
    keep_nights: int = Field(3, ge=1, description="Good nights whose tables are kept to compare with.")
    keep_records: int = Field(90, ge=1, description="Run records that are kept in runs/.")


class NightConfig(RunConfig):
    """A run, and what a night needs besides.

    With `candidate` a model that changed is tried beside the good results. It is promoted where the gates of
    the run and of the night pass.
    """

    night: Night = Night()

    @property
    def wants_page(self) -> bool:
        """Whether a page is made at its end."""
        return self.night.report or self.output.report


def _checked(drops: dict[str, float], known: Sequence[str]) -> dict[str, float]:
    for name, value in drops.items():
        if name not in known:
            meant = did_you_mean(name, known)
            raise ValueError(f"unknown figure {name!r}{meant}; available: {', '.join(known)}")
        if not 0 <= value <= 1:
            raise ValueError(f"{name} lies in 0 .. 1, so a drop of {value:g} decides nothing")
    return drops
