"""What a start cannot do without: start Ray, load the model in one actor, segment one batch.

Prints the seconds of the batch.
"""

from __future__ import annotations

import sys
from pathlib import Path
from time import perf_counter

import ray

BATCH = 4


@ray.remote
class Segment:
    """An actor with the model."""

    def __init__(self, model: str) -> None:
        from transformers import AutoImageProcessor, AutoModelForSemanticSegmentation

        import batchseg.segmentors.llm.modeling_llmseg  # noqa: F401  registers the model's class

        self.processor = AutoImageProcessor.from_pretrained(model)
        self.network = AutoModelForSemanticSegmentation.from_pretrained(model).float().eval()

    def segment(self, files: list[str]) -> float:
        import torch
        from PIL import Image

        images = [Image.open(file).convert("RGB") for file in files]
        start = perf_counter()
        with torch.inference_mode():
            outputs = self.network(**self.processor(images, return_tensors="pt"))
        seconds = perf_counter() - start
        sizes = [(image.height, image.width) for image in images]
        self.processor.post_process_semantic_segmentation(outputs, sizes)
        return seconds


def main() -> None:
    images, model = sys.argv[1:]
    ray.init("local", include_dashboard=False, log_to_driver=False)
    files = [str(file) for file in sorted(Path(images).rglob("*.*"))[:BATCH]]
    print(ray.get(Segment.remote(model).segment.remote(files)))


if __name__ == "__main__":
    main()
