"""How good a trained segmentor is on images that nothing was chosen by, and what it costs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from statistics import median
from time import perf_counter
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch
from numpy.typing import NDArray
from torch.nn import functional

from batchseg.config.segmentor import HuggingFaceSegmentor
from batchseg.config.train import TrainConfig
from batchseg.errors import SourceError
from batchseg.inspect.preflight import choose_labels
from batchseg.metrics.confusion import ConfusionMatrix
from batchseg.segmentors.base import ModelInput, Prediction
from batchseg.segmentors.combined.decide import segment_whole
from batchseg.segmentors.combined.decision import Decision
from batchseg.segmentors.huggingface.checkpoint import HuggingFaceCheckpoint
from batchseg.segmentors.huggingface.model import HuggingFaceModel
from batchseg.source.open import open_source
from batchseg.training.data import Fault, Samples, ValidationSet
from batchseg.training.objective import segmentation_loss
from batchseg.training.rows import SPLIT

TOLERANCE_PX = 2
ROUNDS, WARM_UP, BATCH = 7, 2, 8


def judge(model: str, config: TrainConfig) -> dict[str, Any]:
    """Figures over all test images of the configuration's manifest, with and without the language model.

    `boundary_f` is the F measure of edges between classes (Martin et al. 2004), within two pixels, summed
    over all images. `knocked_out` is `miou_foreground` with nothing added to the features: what of it does
    not rest on the language model.
    """
    samples = _test_samples(model, config)
    loaded = _load(model)
    network = loaded.network
    found = _measure(loaded, samples)
    with torch.no_grad():
        network.reader.outward.weight.zero_()
        network.reader.outward.bias.zero_()
    return {
        **found,
        "knocked_out": _measure(loaded, samples)["miou_foreground"],
        "parameters": sum(each.numel() for each in network.parameters()),
        "trainable": sum(each.numel() for each in network.parameters() if each.requires_grad),
    }


def costs(models: Mapping[str, str], config: TrainConfig) -> dict[str, dict[str, float]]:
    """Seconds of one training step (8 crops) and of one image's segmentation, of models that take turns.

    Medians of seven rounds, in float32, on the CPU.
    """
    loaded = {name: _load(model) for name, model in models.items()}
    sample = ValidationSet(_test_samples(next(iter(models.values())), config))[0]
    assert not isinstance(sample, Fault)
    pixels_BHWC = torch.from_numpy(np.repeat(sample.model_input.pixels_THWC, BATCH, 0))
    times: dict[str, dict[str, list[float]]] = {name: {"step_s": [], "image_s": []} for name in models}
    for _ in range(WARM_UP + ROUNDS):
        for name, model in loaded.items():
            started = perf_counter()
            logits = model.logits(pixels_BHWC)
            labels_BHW = torch.zeros(pixels_BHWC.shape[:3], dtype=torch.int64)
            segmentation_loss(logits, labels_BHW, torch.ones(logits.shape[1])).backward()  # type: ignore[no-untyped-call]
            times[name]["step_s"].append(perf_counter() - started)
            started = perf_counter()
            _segment(model, sample.model_input)
            times[name]["image_s"].append(perf_counter() - started)
    return {
        name: {what: median(values[WARM_UP:]) for what, values in each.items()}
        for name, each in times.items()
    }


@dataclass
class Edges:
    """Pixels on edges between classes, and how many of them lie near one of the other map."""

    predicted: int = 0
    predicted_near: int = 0
    true: int = 0
    true_near: int = 0

    def add(self, predicted_HW: NDArray[Any], truth_HW: NDArray[Any]) -> None:
        predicted, true = _edges(predicted_HW), _edges(truth_HW)
        self.predicted += int(predicted.sum())
        self.predicted_near += int((predicted & _widened(true)).sum())
        self.true += int(true.sum())
        self.true_near += int((true & _widened(predicted)).sum())

    @property
    def f(self) -> float:
        """2 (precision x recall) / (precision + recall)."""
        if not self.predicted_near or not self.true_near:
            return 0.0
        precision, recall = self.predicted_near / self.predicted, self.true_near / self.true
        return 2 * precision * recall / (precision + recall)


def _edges(labels_HW: NDArray[Any]) -> torch.Tensor:
    """Where the pixel to the right or below is of another class."""
    edges_HW = np.zeros(labels_HW.shape, bool)
    edges_HW[:, :-1] |= labels_HW[:, 1:] != labels_HW[:, :-1]
    edges_HW[:-1] |= labels_HW[1:] != labels_HW[:-1]
    return torch.from_numpy(edges_HW)


def _widened(edges_HW: torch.Tensor) -> torch.Tensor:
    side = 2 * TOLERANCE_PX + 1
    near = functional.max_pool2d(edges_HW[None].float(), side, stride=1, padding=TOLERANCE_PX)
    return near[0] > 0


def _measure(model: HuggingFaceModel, samples: Samples) -> dict[str, float]:
    classes = samples.label_map.num_classes
    total, edges = ConfusionMatrix.zeros(classes), Edges()
    for index in range(len(samples)):
        sample = samples.read(index)
        if isinstance(sample, Fault):
            raise SourceError(f"{sample.id}: {sample.error}; the test needs every image")
        prediction = _segment(model, sample.model_input)
        total += ConfusionMatrix.from_maps(prediction.labels_HW, sample.truth_HW, classes)
        edges.add(prediction.labels_HW, sample.truth_HW)
    figures, iou_C = total.summary(), total.per_class().iou
    return {
        "mean_iou": figures["mean_iou"] or 0.0,
        "miou_foreground": float(np.nanmean(iou_C[1:])),
        "accuracy": figures["accuracy"] or 0.0,
        "boundary_f": edges.f,
    }


def _segment(model: HuggingFaceModel, prepared: ModelInput) -> Prediction:
    (prediction,) = segment_whole(model, [prepared], Decision(model.network.config.num_labels))
    return prediction


def _test_samples(model: str, config: TrainConfig) -> Samples:
    checkpoint = HuggingFaceCheckpoint.open(HuggingFaceSegmentor(model=model))
    tables = [
        table.filter(pc.equal(table[SPLIT], "test")).select(["id", "uri", "truth"])
        for table in open_source(config.source).tables()
        if SPLIT in table.column_names
    ]
    rows = pa.concat_tables(tables) if tables else pa.table({"id": []})
    if not len(rows):
        raise SourceError(f"{config.source.path}: has no test images: its column split must say test of some")
    return Samples(rows, checkpoint.preparer(), choose_labels(config.labels, checkpoint), config.limits)


def _load(model: str) -> HuggingFaceModel:
    return HuggingFaceCheckpoint.open(HuggingFaceSegmentor(model=model)).load("cpu", "fp32")
