"""What the benches work on, made once and kept outside the tree: `python -m tests.bench.workload`.

Photographs are stood in for by JPEGs of 1024 x 768 with shaded, noisy shapes of eleven classes and their
exact ground truth; the model is a SegFormer-B0 that learns to tell them in a few minutes, so that its label
maps have regions and borders as real ones do. Everything lies in ~/.cache/batchseg-bench, or in the folder
that BATCHSEG_BENCH names.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

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


def convolutional() -> Path:
    """Weights of a DeepLabV3-MobileNetV3 of as many classes, random but for what its images are like."""
    file = CACHE / "deeplabv3.pt"
    if not file.is_file():
        import torch
        from torchvision.models.segmentation import deeplabv3_mobilenet_v3_large

        torch.manual_seed(0)
        made = deeplabv3_mobilenet_v3_large(weights=None, weights_backbone=None, num_classes=CLASSES)
        for module in made.modules():
            if isinstance(module, torch.nn.BatchNorm2d):
                module.momentum = None  # the plain average of the batches seen
        images = np.stack([scene(TRAINING_SEED + seed, (256, 256))[0] for seed in range(8)])
        with torch.no_grad():
            made.train()((torch.from_numpy(images).permute(0, 3, 1, 2) / 255 - 0.45) / 0.225)
        CACHE.mkdir(parents=True, exist_ok=True)
        torch.save(made.state_dict(), file)
    return file


def exported() -> Path:
    """The SegFormer-B0 as an ONNX file of one size and any batch, with its description."""
    file = CACHE / "segformer-b0.onnx"
    if not file.is_file():
        import torch
        import yaml

        axes = {name: {0: "batch"} for name in ("pixels", "logits")}
        example = torch.zeros(1, 3, INPUT, INPUT)
        torch.onnx.export(
            *(network(str(checkpoint())), (example,), str(file)),
            dynamo=False,
            opset_version=17,
            input_names=["pixels"],
            output_names=["logits"],
            dynamic_axes=axes,
        )
        said = {"mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225], "scores": "logits"}
        names = [f"LABEL_{label}" for label in range(CLASSES)]
        file.with_suffix(".yaml").write_text(yaml.safe_dump({**said, "classes": names}))
    return file


def network(model: str) -> Any:
    """From normalised pixels to logits: a checkpoint in a folder, or the convolutional network's file."""
    import torch

    class Alone(torch.nn.Module):
        def __init__(self, inner: Any, output: str) -> None:
            super().__init__()
            self.inner, self.output = inner, output

        def forward(self, pixels_BCHW: Any) -> Any:
            return self.inner(pixels_BCHW)[self.output]

    if Path(model).is_dir():
        from transformers import AutoModelForSemanticSegmentation

        return Alone(AutoModelForSemanticSegmentation.from_pretrained(model).float(), "logits").eval()
    from torchvision.models.segmentation import deeplabv3_mobilenet_v3_large

    made = deeplabv3_mobilenet_v3_large(weights=None, weights_backbone=None, num_classes=CLASSES)
    made.load_state_dict(torch.load(model, weights_only=True), strict=False)  # less the auxiliary head
    return Alone(made, "out").eval()


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
