"""What views gain and cost: `python -m tests.bench.views`.

The sample model on its 24 images, whose truth is exact, on one thread and by turns: the mean IoU of each
choice of views, and the time in the model beside that of one view. The last line is what bringing two
mirrored answers together costs beyond the second forward pass.
"""

from __future__ import annotations

from pathlib import Path
from time import perf_counter
from typing import Any

import click
import numpy as np
import torch
from PIL import Image

from batchseg.config.looks import Views
from batchseg.config.segmentor import HuggingFaceSegmentor
from batchseg.metrics.confusion import ConfusionMatrix
from batchseg.segmentors.combined.decide import decide_whole
from batchseg.segmentors.combined.decision import Answer, Decision
from batchseg.segmentors.combined.looks import Looks, Picture
from batchseg.segmentors.huggingface.checkpoint import HuggingFaceCheckpoint
from tests.bench.contest import Figures, noise

SAMPLES = Path(__file__).parents[2] / "sample_data"
CHOICES: dict[str, dict[str, Any]] = {
    "one view": {},
    "mirrored left to right": {"flip": ["horizontal"]},
    "mirrored both ways": {"flip": ["horizontal", "vertical"]},
    "scales 0.75, 1, 1.25": {"scales": [0.75, 1, 1.25]},
    "both": {"flip": ["horizontal", "vertical"], "scales": [0.75, 1, 1.25]},
}


def samples() -> list[tuple[Any, Any]]:
    found = sorted(path for path in (SAMPLES / "images").rglob("*") if path.is_file())
    truths = [
        (SAMPLES / "masks" / path.relative_to(SAMPLES / "images")).with_suffix(".png") for path in found
    ]
    return [
        (np.asarray(Image.open(path).convert("RGB")), np.asarray(Image.open(truth)))
        for path, truth in zip(found, truths, strict=True)
    ]


@click.command(help=__doc__)
@click.option("--rounds", default=3, show_default=True)
def main(rounds: int) -> None:
    torch.set_num_threads(1)
    checkpoint = HuggingFaceCheckpoint.open(HuggingFaceSegmentor(model=str(SAMPLES / "model")))
    segmentor, classes = checkpoint.load("cpu", "fp32"), checkpoint.label_map.num_classes
    decision, pictures = Decision(classes), samples()
    looks = {
        name: Looks.of([checkpoint], decision, None, Views.model_validate(views))
        for name, views in CHOICES.items()
    }
    times = {name: Figures() for name in CHOICES}
    passes, fusing = Figures(), Figures()
    totals = {name: ConfusionMatrix.zeros(classes) for name in CHOICES}
    for _ in range(rounds):
        totals = {name: ConfusionMatrix.zeros(classes) for name in CHOICES}
        for image_HWC, truth_HW in pictures:
            size = image_HWC.shape[:2]
            for name, chosen in looks.items():
                inputs = list(chosen.inputs(Picture(image_HWC), size))
                start = perf_counter()
                scores = [segmentor.scores([look.model_input])[0] for look in inputs]
                passed = perf_counter()
                answers = [
                    Answer(each, look.member, look.flip, look.number)
                    for each, look in zip(scores, inputs, strict=True)
                ]
                labels_HW = decide_whole(answers, size, decision).labels_HW
                times[name].add(1000 * (perf_counter() - start))
                if name in ("one view", "mirrored left to right"):
                    (passes if name == "one view" else fusing).add(1000 * (perf_counter() - passed))
                known_HW = np.where(truth_HW < classes, truth_HW, classes)
                totals[name] += ConfusionMatrix.from_maps(labels_HW, known_HW, classes)
    one = times["one view"].median
    for name, figures in times.items():
        mean_iou = totals[name].summary()["mean_iou"]
        print(f"{name}: mean IoU {mean_iou:.4f}, {figures} ms an image, {figures.median / one:.2f} x")
    beyond = (fusing.median - passes.median) / (times["mirrored left to right"].median - fusing.median)
    print(
        f"deciding over two mirrored answers beyond over one: {2 * beyond:.1%} of a forward pass; {noise()}"
    )


if __name__ == "__main__":
    main()
