"""What probes and calibration cost beside a forward pass: `python -m tests.bench.probes`.

Scores of 128 x 128 cells, as SegFormer-B0 has them of 512 x 512, to 1024 x 768; one thread. The forward pass
is that of random weights, as batchseg calls it, and takes turns with the rest, so that a slow minute of the
machine meets both.
"""

from __future__ import annotations

from functools import partial

import click
import numpy as np
import torch
from transformers import SegformerConfig, SegformerForSemanticSegmentation

from batchseg.engine.heap import keep_freed_memory
from batchseg.segmentors.base import Prediction, Scores
from batchseg.segmentors.combined.decide import decide_whole
from batchseg.segmentors.combined.decision import Answer, Decision
from batchseg.segmentors.combined.fuse import Grid
from batchseg.segmentors.combined.probed import probe_whole
from batchseg.segmentors.network.pointwise import speed_up_pointwise
from batchseg.stages.calibrate import calibrate
from batchseg.stages.item import Item
from tests.bench.contest import Figures, milliseconds
from tests.bench.several import view_probabilities

SIZE = (768, 1024)
BATCH = 4
ROUNDS = 9


def scored(prediction: Prediction, truth_HW: np.ndarray, classes: int) -> None:
    """What the score stage does with the probes, rows of the table included."""
    calibrate(Item({}, prediction=prediction), truth_HW, classes)


@torch.inference_mode()
def compare(classes: int) -> str:
    """Medians and spreads, and the share of the forward pass."""
    (maps_CHW,) = view_probabilities(classes, (8, 8), [(128, 128)])
    grid = Grid("logits", maps_CHW.clamp(min=1e-6).log())
    probe = partial(probe_whole, [grid], SIZE, classes)
    deciding = [Answer(Scores("logits", grid.maps_CHW))], SIZE, Decision(classes)
    prediction = decide_whole(*deciding)
    truth_HW = np.roll(prediction.labels_HW, (5, 9), (0, 1))
    network = SegformerForSemanticSegmentation(SegformerConfig(num_labels=classes)).eval()
    speed_up_pointwise(network)
    pixels = torch.randn(BATCH, 3, 512, 512)
    passes = {"fp32": Figures(), "bf16": Figures()}
    probing, scoring = Figures(), Figures()
    for _ in range(ROUNDS):
        for precision, figures in passes.items():
            with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
                figures.add(milliseconds(network, pixels) / BATCH)
        decide_whole(*deciding)  # which reads the scores just before
        probing.add(milliseconds(probe))
        scoring.add(milliseconds(scored, prediction, truth_HW, classes))
    both = probing.median + scoring.median
    lines = [f"{classes} classes", f"  probes   {probing} ms", f"  scoring  {scoring} ms"]
    for precision, figures in passes.items():
        lines.append(f"  forward, {precision}  {figures} ms: both are {both / figures.median:.2%} of it")
    return "\n".join(lines)


@click.command(help=__doc__)
def main() -> None:
    torch.set_num_threads(1)
    keep_freed_memory()
    print(f"one thread, {ROUNDS} rounds")
    for classes in (11, 150):
        print(compare(classes), flush=True)


if __name__ == "__main__":
    main()
