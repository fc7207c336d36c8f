"""Classes that a run merges: figures are those of scikit-learn over ids that were merged by hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image
from sklearn.metrics import accuracy_score, f1_score, jaccard_score

import batchseg

MERGE = {"odd": ["one", "three", "five"], "even": ["four", "two"]}
# background, zero, odd, even, six, seven, eight, nine: of the model's 11 classes and of the truth's ids
GROUPS = np.array([0, 1, 2, 3, 2, 3, 2, 4, 5, 6, 7])


def settings(**more: object) -> dict[str, object]:
    chosen = {"device": "cpu", "precision": "fp32"}
    return {"source": {"limit": 4}, "segmentor": chosen, **more}


@pytest.mark.usefixtures("in_tasks")
def test_a_run_and_a_label_file_merge_alike(sample_data: Path, tmp_path: Path) -> None:
    labels = yaml.safe_load((sample_data.parent / "configs" / "labels" / "digits.yaml").read_text())
    (tmp_path / "merged.yaml").write_text(yaml.safe_dump({**labels, "merge": MERGE}))
    given = {"model": str(sample_data / "model"), "truth": str(sample_data / "masks")}
    images = str(sample_data / "images")
    first = batchseg.run(images, **given, output=str(tmp_path / "a"), settings=settings(merge=MERGE))
    second = batchseg.run(
        images, **given, output=str(tmp_path / "b"), labels=str(tmp_path / "merged.yaml"), settings=settings()
    )
    assert first.metrics == second.metrics
    assert first.record["model"]["classes"][2:4] == ["odd", "even"]

    truth, predicted = [], []
    for mask in sorted((tmp_path / "a" / "masks").rglob("*.png")):
        name = mask.relative_to(tmp_path / "a" / "masks")
        ids_HW = np.array(Image.open(mask))
        assert np.array_equal(ids_HW, np.array(Image.open(tmp_path / "b" / "masks" / name)))
        truth.append(GROUPS[np.array(Image.open(sample_data / "masks" / name))].ravel())
        predicted.append(ids_HW.ravel())
    true, found = np.concatenate(truth), np.concatenate(predicted)
    assert first.metrics["accuracy"] == pytest.approx(accuracy_score(true, found), abs=1e-12)
    assert first.metrics["mean_iou"] == pytest.approx(jaccard_score(true, found, average="macro"), abs=1e-12)
    assert first.metrics["f1_macro"] == pytest.approx(f1_score(true, found, average="macro"), abs=1e-12)
