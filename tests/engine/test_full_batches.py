"""Which models have their batches filled up: networks that read one size, where batches keep theirs."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

import batchseg
from batchseg.config.bands import BlackWhite
from batchseg.config.segmentor import HuggingFaceSegmentor, ThresholdSegmentor
from batchseg.engine.nodes import Nodes
from batchseg.engine.placement import place
from batchseg.pipeline import assembly
from batchseg.segmentors.base import ModelInput
from batchseg.segmentors.combined.decision import Decision
from batchseg.stages.segment import Segment


class Resizing:
    """A preparer that brings every image to one size, or to one height."""

    def __init__(self, one_size: bool) -> None:
        self.one_size = one_size

    def __call__(self, image_HWC: np.ndarray, scale: tuple[BlackWhite, ...] | None = None) -> ModelInput:
        height, width = image_HWC.shape[:2]
        rows, columns = self.input_hw((height, width))
        down, across = np.arange(rows) * height // rows, np.arange(columns) * width // columns
        return ModelInput(image_HWC[down[:, None], across][None], (height, width), {}, scale)

    def input_hw(self, image_hw: tuple[int, int]) -> tuple[int, int]:
        return (64, 64) if self.one_size else (64, 64 * image_hw[1] // image_hw[0])


@pytest.mark.parametrize(
    ("segmentor", "one_size", "largest", "filled"),
    [
        (HuggingFaceSegmentor(model="photos"), True, 4, True),
        (HuggingFaceSegmentor(model="photos"), False, 4, False),
        (HuggingFaceSegmentor(model="photos"), True, 64, False),
        (ThresholdSegmentor(), True, 4, False),
    ],
)
def test_batches_that_are_filled_up(
    segmentor: Any, one_size: bool, largest: int, filled: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(assembly, "keep_freed_memory", lambda: None)  # of a worker's process, not of this one
    job = {"source": "photos", "segmentor": "threshold", "output": "results"}
    config = batchseg.load_config(overrides=job).model_copy(update={"segmentor": segmentor})
    chosen = place(segmentor, Nodes(({"CPU": 2},)), 100)
    placement = replace(chosen, largest_batch=largest, threads=torch.get_num_threads())
    member = SimpleNamespace(
        preparer=lambda as_is=False: Resizing(one_size), load=lambda *given: None, fingerprint="model"
    )
    model: Any = SimpleNamespace(members=[member], decision=Decision(2), quantised=())
    (stage,) = assembly.segment(config, model, placement)
    assert isinstance(stage, Segment) and stage.batches.pad is filled
