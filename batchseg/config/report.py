"""One page to look at: `batchseg report`."""

from __future__ import annotations

from pydantic import Field

from batchseg.config.base import Model, RayConfig
from batchseg.config.places import Place

PAGE = "report.html"


class ReportConfig(Model):
    """One self-contained HTML page on a results folder, or on a training: `batchseg report`."""

    results: Place = Field(description="Folder that `batchseg run`, `evaluate` or `train` wrote.")
    against: Place | None = Field(
        None,
        description="Older results to compare with, or the record of a run. Null: the last good night that "
        "is kept in the folder, if there is one.",
    )
    output: Place | None = Field(
        None, description=f"File of the page: a path or a URI. Null: {PAGE} in the results."
    )
    images: int = Field(
        6,
        ge=0,
        le=500,
        description="Images shown of each kind: the worst, the most changed, those whose truth looks wrong, "
        "the least certain, and some at random. 0: none. Many are small, for a page has at most 8 MB.",
    )
    ray: RayConfig = RayConfig()
