"""What the benches work on, made once and kept outside the tree: `python -m tests.bench.workload`.

Photographs are stood in for by JPEGs of 1024 x 768 with shaded, noisy shapes of eleven classes and their
exact ground truth; the model is a SegFormer-B0 that learns to tell them in a few minutes, so that its label
maps have regions and borders as real ones do. Everything lies in ~/.cache/batchseg-bench, or in the folder
that BATCHSEG_BENCH names.
"""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

CACHE = Path(os.environ.get("BATCHSEG_BENCH", "~/.cache/batchseg-bench")).expanduser()
CLASSES = 11
SIZE_WH = (1024, 768)
INPUT = 512
SHAPES = 24
STEPS, BATCH, CROP = 240, 8, 256
TRAINING_SEED = 1_000_000  # far from the images that are measured


def scene(seed: int, size_wh: tuple[int, int] = SIZE_WH) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """An image, uint8 [H, W, 3], and its class ids, uint8 [H, W]; the same for the same seed."""
    rng = np.random.default_rng(seed)
    width, height = size_wh
    truth = Image.new("L", size_wh)
    draw = ImageDraw.Draw(truth)
    for label in rng.integers(0, CLASSES, SHAPES):
        x, y = rng.integers(0, width), rng.integers(0, height)
        across, down = rng.integers(width // 16, width // 4), rng.integers(height // 16, height // 4)
        box = (int(x - across), int(y - down), int(x + across), int(y + down))
        (draw.ellipse if label % 2 else draw.rectangle)(box, fill=int(label))
    truth_HW = np.asarray(truth)
    hues = np.array(
        [[label * 255 // CLASSES, 170 if label else 30, 170] for label in range(CLASSES)], np.uint8
    )
    colours = np.asarray(Image.fromarray(hues[None], "HSV").convert("RGB"))[0]
    shade_HW1 = np.asarray(Image.fromarray(rng.integers(140, 256, (4, 5), np.uint8)).resize(size_wh))[
        ..., None
    ]
    noise_HW1 = rng.integers(0, 24, (height, width, 1))
    image_HWC = (colours[truth_HW].astype(np.int32) * shade_HW1 // 255 + noise_HW1).clip(0, 255)
    return image_HWC.astype(np.uint8), truth_HW


def photographs(count: int) -> Path:
    """A folder with images/*.jpg and masks/*.png."""
    folder = CACHE / f"photographs-{count}"
    if not folder.is_dir():
        making = CACHE / f"making-{os.getpid()}"
        for below in ("images", "masks"):
            (making / below).mkdir(parents=True)
        for seed in range(count):
            image_HWC, truth_HW = scene(seed)
            Image.fromarray(image_HWC).save(making / "images" / f"{seed:05d}.jpg", quality=90)
            Image.fromarray(truth_HW).save(making / "masks" / f"{seed:05d}.png")
        making.rename(folder)
    return folder


def checkpoint() -> Path:
    """The SegFormer-B0 of eleven classes at 512 x 512, trained here if it was not before."""
    folder = CACHE / "segformer-b0"
    if not folder.is_dir():
        making = CACHE / f"making-{os.getpid()}"
        train(making)
        making.rename(folder)
    return folder


def many_classes(count: int = 150) -> Path:
    """The same model with more classes, none of which it ever sees: label maps as before, scores of more."""
    folder = CACHE / f"segformer-b0-{count}"
    if not folder.is_dir():
        import torch
        from transformers import AutoImageProcessor, SegformerForSemanticSegmentation

        small = SegformerForSemanticSegmentation.from_pretrained(checkpoint())
        config = small.config
        config.id2label = {label: f"class {label}" for label in range(count)}
        config.label2id = {name: label for label, name in config.id2label.items()}
        large, state = SegformerForSemanticSegmentation(config), small.state_dict()
        classifier = large.decode_head.classifier
        with torch.no_grad():
            classifier.weight.zero_()
            classifier.bias.fill_(-20)  # far below the scores of classes that are there
            for name in ("weight", "bias"):
                rows = state[f"decode_head.classifier.{name}"]
                getattr(classifier, name)[: len(rows)] = rows
                state[f"decode_head.classifier.{name}"] = getattr(classifier, name)
        large.load_state_dict(state)
        large.save_pretrained(folder)
        AutoImageProcessor.from_pretrained(checkpoint()).save_pretrained(folder)
    return folder


def train(folder: Path) -> None:
    """Learn the scenes from random weights and save as transformers saves."""
    import torch
    from torch.nn import functional
    from transformers import SegformerConfig, SegformerForSemanticSegmentation, SegformerImageProcessor

    torch.manual_seed(0)
    processor = SegformerImageProcessor(size={"height": INPUT, "width": INPUT})
    mean, std = (
        torch.tensor(values)[:, None, None] for values in (processor.image_mean, processor.image_std)
    )
    network = SegformerForSemanticSegmentation(SegformerConfig(num_labels=CLASSES)).train()
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 1e-3, total_steps=STEPS)
    for step in range(STEPS):
        seeds = range(TRAINING_SEED + step * BATCH, TRAINING_SEED + (step + 1) * BATCH)
        pairs = [scene(seed, (CROP, CROP)) for seed in seeds]
        pixels = torch.from_numpy(np.stack([image for image, _ in pairs])).permute(0, 3, 1, 2) / 255
        labels = torch.from_numpy(np.stack([truth for _, truth in pairs])).long()
        with torch.autocast("cpu", torch.bfloat16):
            logits = network(pixel_values=(pixels - mean) / std)["logits"]
        loss = functional.cross_entropy(functional.interpolate(logits.float(), size=(CROP, CROP)), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        if step % 20 == 19:
            print(f"  step {step + 1} of {STEPS}: loss {loss.item():.3f}", flush=True)
    network.eval().save_pretrained(folder)
    processor.save_pretrained(folder)


if __name__ == "__main__":
    print("training the checkpoint, unless it is there")
    print(checkpoint(), photographs(200))
