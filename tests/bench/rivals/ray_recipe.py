"""Ray Data's documented recipe for batch inference: read_images, a pool of two actors, write_parquet."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import ray
import torch
from PIL import Image
from transformers import AutoImageProcessor, AutoModelForSemanticSegmentation

from tests.bench.rivals.job import Job, parse
from tests.bench.rivals.loop import metrics

ACTORS = 2
BATCH = 4


class Segment:
    """An actor with the model."""

    def __init__(self, job: Job) -> None:
        self.job = job
        self.processor = AutoImageProcessor.from_pretrained(job.model)
        self.network = AutoModelForSemanticSegmentation.from_pretrained(job.model).eval()

    @torch.inference_mode()
    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        images = [Image.fromarray(image) for image in batch["image"]]
        pixels = self.processor(images, return_tensors="pt")["pixel_values"]
        with torch.autocast("cpu", torch.bfloat16, enabled=self.job.precision == "bf16"):
            outputs = self.network(pixel_values=pixels)
        sizes = [(image.height, image.width) for image in images]
        found: dict[str, list[Any]] = {"image": [], "accuracy": [], "recall": [], "f1": []}
        maps = self.processor.post_process_semantic_segmentation(outputs, sizes)
        for path, labels in zip(batch["path"], maps, strict=True):
            labels_HW = labels.numpy().astype(np.uint8)
            truth_HW = self.job.read_truth(Path(path))
            for name, value in metrics(truth_HW, labels_HW, self.network.config.num_labels).items():
                found[name].append(value)
            found["image"].append(path)
            self.job.write_mask(Path(path), labels_HW)
        return {name: np.array(values) for name, values in found.items()}


def main() -> None:
    job = parse(__doc__)
    images = ray.data.read_images(str(job.images), include_paths=True)
    rows = images.map_batches(
        Segment,
        fn_constructor_args=(job,),
        batch_size=BATCH,
        compute=ray.data.ActorPoolStrategy(size=ACTORS),
        num_cpus=0.5,
    )
    rows.write_parquet(str(job.output / "metrics"))


if __name__ == "__main__":
    main()
