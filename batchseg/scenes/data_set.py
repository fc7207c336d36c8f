"""A data set of digit scenes, with exact ground truth: `batchseg digits`."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from io import BytesIO
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from batchseg.config.scenes import DigitsConfig
from batchseg.errors import OutputError
from batchseg.images.encode import encode_png
from batchseg.labels.label_map import LabelMap
from batchseg.scenes.digits import CLASS_NAMES, Split, compose, load_mnist, load_source_digits

SPLITS: tuple[Split, ...] = ("train",) * 8 + ("validation", "test")  # in turns
SCHEMA = pa.schema([(name, pa.string()) for name in ("image", "truth", "id", "split")])


def make_digits(config: DigitsConfig, on_progress: Callable[[int], None] = lambda done: None) -> Path:
    """Write images/, masks/ and manifest.parquet, and return the manifest's path.

    Of ten scenes eight are for training, one for validation, one for the test. The digits are split first, so
    no scene of one part shows a digit of another. A scene depends on the seed and its number alone: a larger
    count adds scenes and changes none.

    Args:
        config: what to make, and where.
        on_progress: called with the number of scenes that are done.

    Raises:
        ConfigError: the source digits cannot be had.
        OutputError: the folder is not empty, or cannot be written.
    """
    load = (
        partial(load_mnist, str(Path(config.mnist).expanduser()))
        if config.source == "mnist"
        else load_source_digits
    )
    digits = {split: load(split) for split in dict.fromkeys(SPLITS)}
    folder, label_map = Path(config.output).expanduser(), LabelMap.from_names(CLASS_NAMES)
    rows = []
    try:
        _make_folders(folder)
        for number in range(config.count):
            rng, split = np.random.default_rng([config.seed, number]), SPLITS[number % len(SPLITS)]
            image_HWC, labels_HW = compose(rng, digits[split], config.size, config.size)
            row = {name: f"{name}s/{split}/scene_{number:06d}.png" for name in ("image", "mask")}
            (folder / row["image"]).write_bytes(_png(image_HWC))
            (folder / row["mask"]).write_bytes(
                encode_png(labels_HW, label_map.colours, label_map.ignore_index)
            )
            name = row["image"].removeprefix("images/")
            rows.append({"image": row["image"], "truth": row["mask"], "id": name, "split": split})
            on_progress(number + 1)
        pq.write_table(pa.Table.from_pylist(rows, SCHEMA), folder / "manifest.parquet")
    except OSError as exc:
        raise OutputError(f"{folder}: cannot be written: {exc.strerror or exc}") from exc
    return folder / "manifest.parquet"


def _make_folders(folder: Path) -> None:
    if folder.is_dir() and any(folder.iterdir()):
        raise OutputError(f"{folder}: is not empty; name a folder for the scenes alone")
    for kind in ("images", "masks"):
        for split in sorted(set(SPLITS)):
            (folder / kind / split).mkdir(parents=True)


def _png(image_HWC: np.ndarray) -> bytes:
    file = BytesIO()
    Image.fromarray(image_HWC).save(file, "PNG", compress_level=1)
    return file.getvalue()
