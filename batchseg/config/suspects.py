"""Ground truths that look wrong: `batchseg suspects`."""

from __future__ import annotations

from pydantic import Field

from batchseg.config.base import Model
from batchseg.config.places import Place


class SuspectsConfig(Model):
    """Ground truths that look wrong, because the model is sure of another class: `batchseg suspects`."""

    results: Place = Field(description="Folder that `batchseg run` wrote, with ground truth.")
    listed: int = Field(20, ge=0, description="Images named, the worst first.")
