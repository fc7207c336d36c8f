"""A training from what a labelling tool exports."""

from __future__ import annotations

import json
from pathlib import Path

import annotation_files as files
import numpy as np
import pytest
import yaml
from PIL import Image
from transformers import SegformerConfig, SegformerForSemanticSegmentation, SegformerImageProcessor

import batchseg
from batchseg.config.load import read_config
from batchseg.config.train import TrainConfig

NAMES = ["background", "organ", "lesion"]


@pytest.mark.usefixtures("ray_session")
@pytest.mark.slow
def test_annotations_are_learnt_from_and_stay_beside_the_training(tmp_path: Path) -> None:
    maps = {}
    for index in range(8):
        ids = np.random.default_rng(index).integers(0, 3, (4, 4), np.uint8).repeat(8, 0).repeat(8, 1)
        maps[f"{index}.png"] = ids
        (tmp_path / "images").mkdir(exist_ok=True)
        Image.fromarray(ids * np.uint8(100)).save(tmp_path / "images" / f"{index}.png")
    truth = tmp_path / "truth.json"
    truth.write_text(json.dumps(files.coco({**maps, "x.png": maps["0.png"]}, NAMES)))
    (tmp_path / "labels.yaml").write_text(yaml.safe_dump({"classes": NAMES}))
    sizes = {"hidden_sizes": [8, 8, 8, 8], "depths": [1] * 4, "decoder_hidden_size": 8, "num_labels": 3}
    config = SegformerConfig(num_attention_heads=[1] * 4, id2label=dict(enumerate(NAMES)), **sizes)
    SegformerForSemanticSegmentation(config).save_pretrained(tmp_path / "start")
    SegformerImageProcessor(size={"height": 32, "width": 32}).save_pretrained(tmp_path / "start")
    given = {
        "source": {"path": str(tmp_path / "images"), "truth": str(truth)},
        "output": str(tmp_path / "out"),
        "labels": str(tmp_path / "labels.yaml"),
        "model": str(tmp_path / "start"),
        "validation": ["7.png"],
        "epochs": 1,
        "batch_size": 4,
    }
    told: list[dict[str, object]] = []
    result = batchseg.train(read_config(TrainConfig, overrides=given), told.append)
    notes = [str(news["note"]) for news in told if "note" in news]
    assert f"{truth}: 1 annotated image is not among those of the source, such as x.png" in notes
    assert not [news for news in told if "fault" in news]
    assert result.best_epoch == 1
