"""What most people write first: `pipeline("image-segmentation")`, and scikit-learn for the metrics."""

from __future__ import annotations

import numpy as np
from PIL import Image
from sklearn.metrics import accuracy_score, f1_score, recall_score
from transformers import pipeline

from tests.bench.rivals.job import parse


def main() -> None:
    job = parse(__doc__)
    segment = pipeline("image-segmentation", model=str(job.model))
    ids = segment.model.config.label2id
    rows = []
    for file in job.files:
        image = Image.open(file)
        labels_HW = np.zeros((image.height, image.width), np.uint8)
        for found in segment(image, subtask="semantic"):
            labels_HW[np.asarray(found["mask"]) > 0] = ids[found["label"]]
        truth_N, labels_N = job.read_truth(file).ravel(), labels_HW.ravel()
        rows.append(
            {
                "image": file.name,
                "accuracy": accuracy_score(truth_N, labels_N),
                "recall": recall_score(truth_N, labels_N, average="weighted", zero_division=0),
                "f1": f1_score(truth_N, labels_N, average="weighted", zero_division=0),
            }
        )
        job.write_mask(file, labels_HW)
    job.write_table(rows)


if __name__ == "__main__":
    main()
