"""Networks over rasters in parts: the same bits as over the whole, and the same labels in any batches."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from raster_scenes import CLASSES, check_equal_cuts, make_scene, mask_of, run
from tiny_checkpoints import build

pytestmark = pytest.mark.usefixtures("in_process")


@pytest.fixture(scope="module")
def segformer(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    model = build("segformer", tmp_path_factory.mktemp("segformer"), CLASSES)
    return {"kind": "huggingface", "model": str(model)}


@pytest.mark.parametrize("batch_size", [1, 3, 8])
def test_parts_change_nothing(tmp_path: Path, segformer: dict[str, Any], batch_size: int) -> None:
    scene = make_scene(tmp_path, (120, 150))
    check_equal_cuts(scene, {}, segmentor={**segformer, "batch_size": batch_size})
    labels = mask_of(scene, "whole")
    assert len(np.unique(labels)) > 1
    run(scene, "one", {"part": 100}, segmentor={**segformer, "batch_size": 1})
    assert np.array_equal(mask_of(scene, "one"), labels)


def test_views_and_two_models(tmp_path: Path, segformer: dict[str, Any]) -> None:
    scene = make_scene(tmp_path, (90, 110))
    views = {"flip": ["horizontal"], "scales": [1.0, 1.5]}
    check_equal_cuts(scene, {}, segmentor={**segformer, "batch_size": 4}, views=views)
