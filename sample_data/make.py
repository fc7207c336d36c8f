"""Rebuild what lies beside this file, from fixed seeds.

python sample_data/make.py data      images/, masks/ and manifest.parquet; a second
python sample_data/make.py model     model/; about half an hour on one CPU core
python sample_data/make.py measure   the figures of the model card in README.md; a minute
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import astuple
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from PIL import Image

from batchseg.labels import LabelMap
from batchseg.metrics import ConfusionMatrix
from batchseg.training.digits import CLASS_NAMES, SourceDigits, compose, load_source_digits

HERE = Path(__file__).parent
SAMPLES = 24
SIDE_PX = (200, 520)
PNG_BELOW_PX = 60_000
INPUT_PX = 256
WARM_UP, RATE = 200, 1.5e-3

Scene = tuple[NDArray[np.uint8], NDArray[np.uint8]]


class Phase(NamedTuple):
    """One stretch of the training: scenes with sides in `side_px`, squashed to `input_px` square."""

    steps: int
    batch: int
    input_px: int
    side_px: tuple[int, int]


# Digits are first learnt where there are many to the pixel, at the same scale; then in whole scenes.
PHASES = (Phase(3600, 16, INPUT_PX // 2, (150, 260)), Phase(1200, 8, INPUT_PX, SIDE_PX))
STEPS = sum(phase.steps for phase in PHASES)


def source_digits(split: Any) -> SourceDigits:
    """Those of the test, or all others: this training stops at a fixed step, so nothing is validated."""
    parts = [load_source_digits(part) for part in (["test"] if split == "test" else ["train", "validation"])]
    return SourceDigits(*(np.concatenate(arrays) for arrays in zip(*map(astuple, parts), strict=True)))


def scenes(split: Any, seed: int, side_px: tuple[int, int] = SIDE_PX) -> Iterator[Scene]:
    """Scenes without end, portrait and landscape: images uint8 [H, W, 3], labels uint8 [H, W]."""
    rng, digits = np.random.default_rng(seed), source_digits(split)
    while True:
        height, width = rng.integers(*side_px, 2, endpoint=True)
        yield compose(rng, digits, height, width)


# --- data ---------------------------------------------------------------------------------------------


def make_data() -> None:
    """24 scenes of test digits: the darker half was taken by night, and two cameras took turns."""
    source = scenes("test", seed=20)
    taken = sorted((next(source) for _ in range(SAMPLES)), key=lambda scene: scene[0].mean(), reverse=True)
    rows = [save(number, *scene) for number, scene in enumerate(taken, start=1)]
    pq.write_table(pa.Table.from_pylist(rows), HERE / "manifest.parquet")


def save(number: int, image_HWC: NDArray[np.uint8], labels_HW: NDArray[np.uint8]) -> dict[str, str]:
    """Write one image and its mask; return their row of the manifest."""
    camera = "ba"[number % 2]
    folder = f"{'day' if number <= SAMPLES // 2 else 'night'}/{camera}"
    # The last is named like the first, in another folder: base names alone do not tell images apart.
    stem = f"{folder}/scene_{number if number < SAMPLES else 1:02d}"
    # PNG keeps the noise and is ten times the size of JPEG: only the smallest may.
    suffix = ".png" if labels_HW.size < PNG_BELOW_PX else ".jpg"
    image, truth = HERE / f"images/{stem}{suffix}", HERE / f"masks/{stem}.png"
    for path in (image, truth):
        path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(image_HWC).save(image, quality=90)
    mask = Image.fromarray(labels_HW)
    mask.putpalette([level for colour in LabelMap.from_names(CLASS_NAMES).colours for level in colour])
    mask.save(truth, optimize=True)
    return {
        "image": f"images/{stem}{suffix}",
        "truth": f"masks/{stem}.png",
        "id": f"{stem}{suffix}",
        "split": "test",
        "camera": camera,
    }


# --- model --------------------------------------------------------------------------------------------


def make_model() -> None:
    """Train a small SegFormer on scenes of training digits, every scene seen once."""
    torch.manual_seed(0)
    model = new_model()
    optimiser = torch.optim.AdamW(model.parameters(), lr=RATE, weight_decay=0.02)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, rate_at)
    for step, (pixels_BCHW, labels_BHW) in enumerate(batches(), start=1):
        with torch.autocast("cpu", torch.bfloat16):
            logits_BChw = model(pixel_values=pixels_BCHW).logits
        loss = loss_of(logits_BChw.float(), labels_BHW)
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        schedule.step()
        if step % 100 == 0:
            print(f"step {step} of {STEPS}: loss {loss.item():.3f}", flush=True)
    model.save_pretrained(HERE / "model")
    processor().save_pretrained(HERE / "model")
    measure()


def new_model() -> Any:
    """About 0.9 million parameters: thin where cells are many, wide where a cell covers half a digit."""
    from transformers import SegformerConfig, SegformerForSemanticSegmentation

    config = SegformerConfig(
        hidden_sizes=[16, 32, 96, 160],
        depths=[1, 1, 2, 2],
        num_attention_heads=[1, 2, 4, 8],
        mlp_ratios=[2, 2, 2, 2],
        decoder_hidden_size=64,
        initializer_range=0.1,  # the usual 0.02 suits widths of 500; here the signal would fade
        drop_path_rate=0.0,
        classifier_dropout_prob=0.0,
        id2label=dict(enumerate(CLASS_NAMES)),
        label2id={name: number for number, name in enumerate(CLASS_NAMES)},
    )
    return SegformerForSemanticSegmentation(config)


def processor() -> Any:
    from transformers import SegformerImageProcessor

    return SegformerImageProcessor(size={"height": INPUT_PX, "width": INPUT_PX})


def rate_at(step: int) -> float:
    """Linear warm-up, then half a cosine down to zero."""
    return min(step / WARM_UP, (1 + np.cos(np.pi * min(step / STEPS, 1))) / 2)


def batches() -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    for seed, phase in enumerate(PHASES):
        source = scenes("train", seed, phase.side_px)
        for _ in range(phase.steps):
            yield squashed([next(source) for _ in range(phase.batch)], phase.input_px)


def squashed(chosen: list[Scene], input_px: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Scenes as the model's processor prepares them, and their labels at half of that size."""
    images, labels = zip(*chosen, strict=True)
    inputs_BHWC = np.stack([resized(image, input_px, Image.Resampling.BILINEAR) for image in images])
    labels_BHW = np.stack([resized(label, input_px // 2, Image.Resampling.NEAREST) for label in labels])
    scaling = processor()
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (scaling.image_mean, scaling.image_std))
    pixels_BCHW = torch.from_numpy(inputs_BHWC).permute(0, 3, 1, 2).float() / 255
    return (pixels_BCHW - mean) / std, torch.from_numpy(labels_BHW).long()


def resized(array: NDArray[np.uint8], side_px: int, resampling: Image.Resampling) -> NDArray[np.uint8]:
    return np.asarray(Image.fromarray(array).resize((side_px, side_px), resampling))


def loss_of(logits_BChw: torch.Tensor, labels_BHW: torch.Tensor) -> torch.Tensor:
    """Cross-entropy + soft Dice over the batch, of the digits in it."""
    logits_BCHW = F.interpolate(logits_BChw, labels_BHW.shape[1:], mode="bilinear", align_corners=False)
    truth_BCHW = F.one_hot(labels_BHW, len(CLASS_NAMES)).permute(0, 3, 1, 2)
    probabilities_BCHW = logits_BCHW.softmax(1)
    both_C = (probabilities_BCHW * truth_BCHW).sum((0, 2, 3))
    truth_C = truth_BCHW.sum((0, 2, 3))
    dice_C = 2 * both_C / (probabilities_BCHW.sum((0, 2, 3)) + truth_C)
    return F.cross_entropy(logits_BCHW, labels_BHW) + 1 - dice_C[1:][truth_C[1:] > 0].mean()


# --- figures ------------------------------------------------------------------------------------------


def measure() -> None:
    """Print the figures of the samples, as stored, and of 200 new scenes of test digits."""
    rows = pq.read_table(HERE / "manifest.parquet").to_pylist()
    samples = ((pixels(row["image"]), pixels(row["truth"])) for row in rows)
    fresh = scenes("test", seed=21)
    for name, chosen in {"samples": samples, "fresh": (next(fresh) for _ in range(200))}.items():
        total = figures(chosen)
        print(name, json.dumps(total.summary()))
        print(name, "IoU", dict(zip(CLASS_NAMES, np.round(total.per_class().iou, 3).tolist(), strict=True)))


def pixels(uri: str) -> NDArray[np.uint8]:
    return np.array(Image.open(HERE / uri))


def figures(chosen: Iterable[Scene]) -> ConfusionMatrix:
    """The model as anyone would use it: its own processor before and after, at the images' own sizes."""
    from transformers import AutoImageProcessor, AutoModelForSemanticSegmentation

    prepare = AutoImageProcessor.from_pretrained(HERE / "model")
    model = AutoModelForSemanticSegmentation.from_pretrained(HERE / "model").eval()
    total = ConfusionMatrix.zeros(len(CLASS_NAMES))
    for image_HWC, labels_HW in chosen:
        with torch.inference_mode():
            output = model(**prepare(image_HWC, return_tensors="pt"))
        (predicted,) = prepare.post_process_semantic_segmentation(output, [labels_HW.shape])
        total += ConfusionMatrix.from_maps(predicted.numpy(), labels_HW, len(CLASS_NAMES))
    return total


def main() -> None:
    targets: dict[str, Callable[[], None]] = {"data": make_data, "model": make_model, "measure": measure}
    parser = argparse.ArgumentParser(description="Rebuild the sample data.")
    parser.add_argument("target", choices=targets)
    torch.set_num_threads(1)  # the same order of additions on every machine
    targets[parser.parse_args().target]()


if __name__ == "__main__":
    main()
