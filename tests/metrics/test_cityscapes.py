"""The numbers a Cityscapes user knows: those of the data set's own evaluation script."""

from __future__ import annotations

import copy

import numpy as np
import pytest
from cityscapesscripts.evaluation import evalPixelLevelSemanticLabeling as official
from PIL import Image

from batchseg.labels.label_file import load_label_map
from batchseg.metrics.confusion import ConfusionMatrix

LABEL_IDS = 34


@pytest.fixture
def label_ids():
    """Truth and prediction of four images: regions, some ignored, some wrong, `train` never in the truth."""
    rng = np.random.default_rng(7)
    pairs = []
    for _ in range(4):
        regions = rng.integers(0, LABEL_IDS, (12, 24))
        regions[regions == 31] = 0
        truth = np.kron(regions, np.ones((8, 8), int)).astype(np.uint8)
        noise = rng.integers(0, LABEL_IDS, truth.shape).astype(np.uint8)
        pairs.append((np.where(rng.random(truth.shape) < 0.7, truth, noise), truth))
    return pairs


def official_iou(pairs, folder):
    args = copy.copy(official.args)
    args.evalInstLevelScore = False
    matrix = official.generateMatrix(args)
    for number, pair in enumerate(pairs):
        paths = [str(folder / f"{number}_{side}.png") for side in ("predicted", "labelIds")]
        for path, ids in zip(paths, pair, strict=True):
            Image.fromarray(ids).save(path)
        official.evaluatePair(*paths, matrix, {}, {}, args)
    return {
        label.name: official.getIouScoreForLabel(label.id, matrix, args)
        for label in official.labels
        if not label.ignoreInEval
    }


def test_iou_is_that_of_the_official_evaluation(label_ids, tmp_path):
    label_map = load_label_map("cityscapes")

    total = ConfusionMatrix.zeros(label_map.num_classes)
    for predicted, truth in label_ids:
        maps = label_map.encode(predicted), label_map.encode(truth)
        total += ConfusionMatrix.from_maps(*maps, label_map.num_classes)

    expected = official_iou(label_ids, tmp_path)
    iou = dict(zip(label_map.names, total.per_class().iou.tolist(), strict=True))
    assert iou == pytest.approx(expected, rel=0, abs=1e-9, nan_ok=True)
    assert 0.3 < total.mean_iou < 0.9
