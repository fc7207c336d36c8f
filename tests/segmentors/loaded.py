"""A loaded model with what turns its scores into label maps, as a run without windows and views has it."""

from __future__ import annotations

from typing import Any

from batchseg.segmentors.combined.decision import Decision
from batchseg.segmentors.registry import LoadedModel


def loaded(checkpoint: Any, precision: str = "fp32") -> LoadedModel:
    """On the CPU."""
    none_below = getattr(checkpoint, "none_below", None)
    decision = Decision(checkpoint.label_map.num_classes, none_below=none_below)
    return LoadedModel(checkpoint.load("cpu", precision), decision)
