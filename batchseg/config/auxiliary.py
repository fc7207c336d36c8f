"""What a training learns beside the classes."""

from __future__ import annotations

from pydantic import Field

from batchseg.config.base import Model


class Auxiliary(Model):
    """What is learnt beside the classes, from the same ground truth: a weight in the loss for each; 0 is off.

    It is for a model whose last layer is a convolution: semantic models of transformers, and new ones with
    head closed and decoder fpn or mlp. What comes out is the model without it.
    """

    boundary: float = Field(0.0, ge=0, le=10, description="Where two classes meet, pixel by pixel.")
    presence: float = Field(0.0, ge=0, le=10, description="Which classes an image shows at all.")

    @property
    def is_on(self) -> bool:
        return bool(self.boundary or self.presence)
