"""How a model decides that is told in words what to segment."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from batchseg.config.base import Model

EVEN = 0.5  # the threshold of a sigmoid that takes no side
Share = Annotated[float, Field(gt=0, lt=1)]


class Prompting(Model):
    """Of a prompted model. All but `at_once` change masks, and so the fingerprint."""

    threshold: Share = Field(
        EVEN, description="A pixel is of a class where its score is above this, and otherwise background."
    )
    thresholds: dict[str, Share] = Field(
        default_factory=dict, description="CLASS: its own threshold, such as road: 0.3."
    )
    presence: float = Field(
        EVEN,
        ge=0,
        lt=1,
        description="Where the model says that a prompt is in the image at all with less than this, its map "
        "is empty. 0: never.",
    )
    at_once: int = Field(
        8, ge=1, le=4096, description="Prompts that are drawn together: more are faster and take more memory."
    )

    def of(self, name: str) -> float:
        """The threshold of a class."""
        return self.thresholds.get(name, self.threshold)

    @property
    def has_thresholds(self) -> bool:
        """Whether one of them takes a side."""
        return {self.threshold, *self.thresholds.values()} != {EVEN}
