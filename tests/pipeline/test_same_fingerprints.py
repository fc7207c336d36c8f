"""Masks of earlier nights stay valid: without new settings a model's key is what it was.

The digests were computed with the version before classes could be merged and models be put together.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import batchseg
from batchseg.pipeline.model import OpenedModel

MINE = """
class Mine:
    labels = ["background", "cell"]
    fingerprint = "weights of May"

    def segment(self, images):
        return [image[..., 0] // 128 for image in images]
"""


def key(segmentor: Any, **more: Any) -> str:
    config = batchseg.load_config(overrides={"source": "x", "output": "o", "segmentor": segmentor, **more})
    return OpenedModel.open(config).fingerprint


def test_without_weights() -> None:
    assert key("threshold") == "33191e6a970104b3"
    assert key({"kind": "threshold", "levels": [50, 200]}) == "dc77082b4318648b"


def test_of_a_class_of_ones_own(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(MINE)
    assert key(f"{tmp_path}/mine.py:Mine") == "8aadd95303cc90fb"


@pytest.mark.parametrize(
    ("settings", "before"),
    [
        ({}, "53fe6d0024905e86"),
        ({"none_below": 0.5}, "39e1788b87a8631b"),
        ({"scaled_decode": True}, "33219a77d36f8efd"),
        ({"threshold": None}, "53fe6d0024905e86"),
    ],
)
def test_of_a_checkpoint(sample_data: Path, settings: dict[str, Any], before: str) -> None:
    model = {"model": str(sample_data / "model"), **settings}
    assert key(model) == before
    assert key(model, labels=str(sample_data.parent / "configs" / "labels" / "digits.yaml")) == before


def test_merged_classes_are_another_key(sample_data: Path) -> None:
    model = str(sample_data / "model")
    keys = [key(model, merge=merge) for merge in ({}, {"odd": ["one", "three"]}, {"odd": ["one", "five"]})]
    assert len({*keys}) == 3
    assert key(model, merge={"few": ["one"]}) == keys[0]  # another name alone


def test_of_label_maps() -> None:
    voc, cityscapes = (batchseg.load_label_map(name) for name in ("voc", "cityscapes"))
    assert voc.mask_fingerprint.startswith("28b409de46bf89dc")
    assert voc.single_fingerprint.startswith("82a8a000a54e7f1c")
    assert cityscapes.mask_fingerprint.startswith("02f39cefe3deaf09")
    assert cityscapes.single_fingerprint.startswith("ccada1e369a0dfbf")
