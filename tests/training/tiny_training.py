"""A training of seconds: twelve small images, and a network of a few channels."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import yaml
from PIL import Image

from batchseg.config.load import read_config
from batchseg.config.train import TrainConfig

SIDE = 32
CLASSES = ["ground", "tree", "rare", "unseen"]
TINY = {"mode": "none", "widths": [8, 8, 8, 8], "decoder_width": 8, "size": SIDE}


def draw(folder: Path) -> Path:
    """Halves of two shades. `rare` is in images to learn from alone, `unseen` in none."""
    rng = np.random.default_rng(3)
    for number in range(12):
        truth = np.zeros((SIDE, SIDE), np.uint8)
        truth[:, rng.integers(8, 24) :] = 1
        if number >= 4:
            truth[:6, :6] = 2
        truth[-1] = 255
        picture = (60 + 60 * np.minimum(truth, 2) + rng.normal(0, 10, truth.shape)).clip(0, 255)
        for name, pixels in (("images", picture.astype(np.uint8)), ("masks", truth)):
            (folder / name).mkdir(exist_ok=True)
            Image.fromarray(pixels).save(folder / name / f"{number:02d}.png")
    (folder / "labels.yaml").write_text(yaml.safe_dump({"classes": CLASSES}))
    return folder


def config(folder: Path, **more: Any) -> TrainConfig:
    base: dict[str, Any] = {
        "source": {"path": str(folder / "images"), "truth": str(folder / "masks")},
        "output": str(folder / "out"),
        "labels": str(folder / "labels.yaml"),
        "model": TINY,
        "validation": ["00.png", "01.png", "02.png", "03.png"],
        "epochs": 3,
        "batch_size": 4,
        "warmup_steps": 2,
    }
    return read_config(TrainConfig, overrides={**base, **more})
