"""A results folder with masks, put together without a run, and its label maps to hold exports against."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from scipy import ndimage
from written_results import write_results

from batchseg.images.encode import encode_png
from batchseg.labels.label_map import LabelMap

NAMES = ("background", "tree", "sky & <sea>", "boat")
VOID = len(NAMES)
LABELS = LabelMap.from_names(NAMES)
# ids as they come: names of files, and what is none
IDS = ("day/a.png", "day/ü 1.png", "a \"<b>&'.png", "../up.png", "line\nbreak\x01", "empty.png")


def blobs(seed: int, size: tuple[int, int] = (37, 53)) -> np.ndarray:
    """Some objects of all classes, with holes and corners; class ids [H, W]."""
    rng = np.random.default_rng(seed)
    field = ndimage.gaussian_filter(rng.normal(size=size), 2) * 9
    labels_HW = field.round().astype(int) % len(NAMES)
    labels_HW[rng.random(size) < 0.03] = 1
    labels_HW[:2, 5:9] = VOID
    return labels_HW.astype(np.uint8)


def label_maps(ids: Sequence[str] = IDS) -> dict[str, np.ndarray]:
    """One is background alone, and no two of them have one size."""
    maps = {name: blobs(seed, (37 + seed, 53 - seed)) for seed, name in enumerate(ids)}
    return {name: np.zeros((8, 9), np.uint8) if name == "empty.png" else each for name, each in maps.items()}


def write_masks(
    folder: Path,
    maps: Mapping[str, np.ndarray],
    columns: Mapping[str, Mapping[str, Any]] | None = None,
    failed: Sequence[str] = (),
) -> Path:
    """Results of these label maps, VOID being where the mask abstains; the first image is the worst."""
    (folder / "masks").mkdir(parents=True)
    given: dict[str, dict[str, Any]] = {}
    for number, (name, labels_HW) in enumerate(maps.items()):
        mask = f"masks/{number}.png"
        (folder / mask).write_bytes(encode_png(labels_HW, LABELS.colours, LABELS.ignore_index))
        height, width = labels_HW.shape
        facts = {"mask": mask, "width": width, "height": height, "uri": f"/images/{number} ü.jpg"}
        given[name] = {
            **facts,
            "mean_iou": number / 10,
            "confidence_mean": 0.5,
            **(columns or {}).get(name, {}),
        }
    rows: dict[str, Any] = {name: (each, None) for name, each in maps.items()}
    return write_results(folder, rows | dict.fromkeys(failed, "unreadable"), names=NAMES, columns=given)


def objects_of(labels_HW: np.ndarray) -> list[tuple[int, np.ndarray]]:
    """Class and mask [H, W] of each object, found by scipy."""
    found = []
    for class_id in range(1, len(NAMES)):
        numbers_HW, count = ndimage.label(labels_HW == class_id, np.ones((3, 3)))
        found += [(class_id, numbers_HW == number) for number in range(1, count + 1)]
    return sorted(found, key=lambda each: int(np.flatnonzero(each[1])[0]))


def without_void(labels_HW: np.ndarray) -> np.ndarray:
    """What a format keeps that does not tell void from the background."""
    return np.where(labels_HW == VOID, 0, labels_HW)
