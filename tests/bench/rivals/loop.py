"""What a careful engineer writes: a DataLoader with a worker, batches of 4, and one bincount an image."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from transformers import AutoImageProcessor, AutoModelForSemanticSegmentation

from tests.bench.rivals.job import Job, parse

BATCH = 4


class Images(Dataset[Any]):
    """Decoded and prepared images with their truth."""

    def __init__(self, job: Job) -> None:
        self.job, self.files = job, job.files
        self.processor = AutoImageProcessor.from_pretrained(job.model)

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> tuple[Path, tuple[int, int], Tensor, NDArray[np.uint8]]:
        file = self.files[index]
        image = Image.open(file).convert("RGB")
        pixels = self.processor(image, return_tensors="pt")["pixel_values"][0]
        return file, (image.height, image.width), pixels, self.job.read_truth(file)


def together(samples: list[Any]) -> tuple[Any, ...]:
    files, sizes, pixels, truths = zip(*samples, strict=True)
    return files, sizes, torch.stack(pixels), truths


def metrics(truth_HW: NDArray[np.uint8], labels_HW: NDArray[np.uint8], classes: int) -> dict[str, object]:
    """Accuracy, and recall and F1 weighted by support, from one bincount."""
    pairs_N = truth_HW.ravel().astype(np.int64) * classes + labels_HW.ravel()
    matrix = np.bincount(pairs_N, minlength=classes**2).reshape(classes, classes)
    correct, support, predicted = matrix.diagonal(), matrix.sum(1), matrix.sum(0)
    recall = correct / np.maximum(support, 1)
    f1 = 2 * correct / np.maximum(support + predicted, 1)
    total = support.sum()
    return {
        "accuracy": correct.sum() / total,
        "recall": (recall * support).sum() / total,
        "f1": (f1 * support).sum() / total,
    }


@torch.inference_mode()
def main() -> None:
    job = parse(__doc__)
    images = Images(job)
    network = AutoModelForSemanticSegmentation.from_pretrained(job.model).eval()
    rows = []
    for files, sizes, pixels, truths in DataLoader(images, BATCH, num_workers=1, collate_fn=together):
        with torch.autocast("cpu", torch.bfloat16, enabled=job.precision == "bf16"):
            outputs = network(pixel_values=pixels)
        maps = images.processor.post_process_semantic_segmentation(outputs, list(sizes))
        for file, labels, truth_HW in zip(files, maps, truths, strict=True):
            labels_HW = labels.numpy().astype(np.uint8)
            rows.append({"image": file.name, **metrics(truth_HW, labels_HW, network.config.num_labels)})
            job.write_mask(file, labels_HW)
    job.write_table(rows)


if __name__ == "__main__":
    main()
