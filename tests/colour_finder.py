"""A model that is told which colour to find: deterministic, so that every figure can be computed by hand.

It finds what has the named colour, misses the first column of green things, and takes the upper left corner
for blue where nothing is blue. Prompts of more than twelve words are too long for it.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

from batchseg.config.bands import BlackWhite
from batchseg.labels.label_map import LabelMap
from batchseg.segmentors.base import ModelInput, PromptMode, Scores

COLOURS = {"red": (200, 20, 30), "green": (20, 200, 30), "blue": (20, 30, 200)}
HW = (18, 26)
LABELS = LabelMap.from_names(("background", "foreground"))


@dataclass(frozen=True)
class FinderCheckpoint:
    """Told row by row, or by one list."""

    prompted: PromptMode | None = "rows"
    label_map: LabelMap = LABELS
    fingerprint: str = "f1"
    channels: int | None = 3
    notes: tuple[str, ...] = ()
    stride: int = 1
    most_words: int = 12

    def prompt_fault(self, prompt: str) -> str | None:
        words = len(prompt.split())
        problem = f"the prompt has {words} words, and the model reads {self.most_words}"
        return problem if words > self.most_words else None

    def preparer(self, as_is: bool = False) -> FinderPreparer:
        return FinderPreparer()

    def load(self, device: str, precision: str, threads: int | None = None) -> Finder:
        return Finder()


class FinderPreparer:
    def __call__(self, image_HWC: NDArray[Any], scale: tuple[BlackWhite, ...] | None = None) -> ModelInput:
        return ModelInput(image_HWC[None], image_HWC.shape[:2], {})


class Finder:
    def scores(self, inputs: Sequence[ModelInput]) -> list[Scores]:
        return [self._of(each.pixels_THWC[0], str(each.prompt)) for each in inputs]

    def _of(self, image_HWC: NDArray[Any], prompt: str) -> Scores:
        found_HW = found(image_HWC, prompt)
        foreground = torch.from_numpy(np.where(found_HW, 0.9, 0.1).astype(np.float32))
        maps = torch.stack([1 - foreground, foreground])
        return Scores("probabilities", maps, presence=1.0 if found_HW.any() else 0.25)


def there(image_HWC: NDArray[Any], prompt: str) -> NDArray[np.bool_]:
    """Where an image has the first colour that a prompt names."""
    colour = next((each for each in prompt.lower().split() if each in COLOURS), None)
    return np.all(image_HWC == COLOURS.get(str(colour), (1, 1, 1)), axis=-1)


def found(image_HWC: NDArray[Any], prompt: str) -> NDArray[np.bool_]:
    """What the model makes of it."""
    found_HW = there(image_HWC, prompt)
    if "green" in prompt and found_HW.any():
        found_HW[:, found_HW.any(axis=0).argmax()] = False
    if "blue" in prompt and not found_HW.any():
        found_HW[:2, :3] = True
    return found_HW


def scene(seed: int, *colours: str) -> NDArray[np.uint8]:
    """Boxes of these colours, side by side, on grey."""
    rng = np.random.default_rng(seed)
    image_HWC = np.full((*HW, 3), 128, np.uint8)
    for place, colour in enumerate(colours):
        top, height, width = rng.integers(2, 7), rng.integers(4, 9), rng.integers(3, 7)
        left = 2 + 8 * place
        image_HWC[top : top + height, left : left + width] = COLOURS[colour]
    return image_HWC


def write_scenes(folder: Path, rows: Sequence[tuple[str, str | None]], **columns: Sequence[Any]) -> Path:
    """Three images, a truth for each row with a prompt, and their manifest."""
    images = {"a.png": scene(1, "red", "green"), "b.png": scene(2, "green"), "c.png": scene(3, "red", "blue")}
    folder.mkdir(parents=True, exist_ok=True)
    truths = [f"truth_{number}.png" for number in range(len(rows))]
    for name, image_HWC in images.items():
        _save(folder / name, image_HWC)
    for truth, (name, prompt) in zip(truths, rows, strict=True):
        _save(folder / truth, there(images[name], prompt or "").astype(np.uint8))
    table = {"image": [name for name, _ in rows], "prompt": pa.array([each for _, each in rows], pa.string())}
    return write_manifest(folder, {**table, "truth": truths, **columns})


def _save(place: Path, pixels: NDArray[np.uint8]) -> None:
    """One that is there as it is to be keeps its time of change."""
    if not place.exists() or not np.array_equal(np.asarray(Image.open(place)), pixels):
        Image.fromarray(pixels).save(place)


def write_manifest(folder: Path, columns: dict[str, Any]) -> Path:
    pq.write_table(pa.table(columns), folder / "list.parquet")
    return folder / "list.parquet"


def use_finder(patch: pytest.MonkeyPatch, checkpoint: FinderCheckpoint | None = None) -> None:
    """Whatever model is named, this one is opened; in this process alone."""
    from batchseg.inspect import doctor
    from batchseg.pipeline import model

    opened = checkpoint or FinderCheckpoint()
    for module in (model, doctor):
        patch.setattr(module, "open_checkpoint", lambda *_: opened)


def record_of(results: Path) -> dict[str, Any]:
    record: dict[str, Any] = json.loads((results / "run.json").read_text())
    return record
