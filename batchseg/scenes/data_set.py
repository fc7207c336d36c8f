"""Data sets of scenes with exact ground truth: `batchseg scenes`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from batchseg.config.scenes import DigitsConfig, PhrasesConfig
from batchseg.errors import OutputError
from batchseg.images.encode import encode_png
from batchseg.labels.label_map import LabelMap
from batchseg.scenes.digits import CLASS_NAMES, Split, compose, load_mnist, load_source_digits
from batchseg.scenes.phrases import ATTRIBUTES, NOVELTIES, Novelty, PhraseMaker

Rows = Iterator[dict[str, Any]]

SPLITS: tuple[Split, ...] = ("train",) * 8 + ("validation", "test")  # in turns
SCHEMA = pa.schema([(name, pa.string()) for name in ("image", "truth", "id", "split")])
PROMPTS = pa.schema(
    [
        *(SCHEMA.field(name) for name in ("image", "truth", "id")),
        ("prompt", pa.string()),
        SCHEMA.field("split"),
        ("novel", pa.string()),
        ("present", pa.bool_()),
        *((name, pa.string()) for name in ATTRIBUTES),
    ]
)
MEANT = ("background", "foreground")


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
    label_map = LabelMap.from_names(CLASS_NAMES)

    def scene(folder: Path, number: int) -> Rows:
        rng, split = np.random.default_rng([config.seed, number]), SPLITS[number % len(SPLITS)]
        image_HWC, labels_HW = compose(rng, digits[split], config.size, config.size)
        row = {name: f"{name}s/{split}/scene_{number:06d}.png" for name in ("image", "mask")}
        (folder / row["image"]).write_bytes(_png(image_HWC))
        (folder / row["mask"]).write_bytes(encode_png(labels_HW, label_map.colours, label_map.ignore_index))
        name = row["image"].removeprefix("images/")
        yield {"image": row["image"], "truth": row["mask"], "id": name, "split": split}

    return _write(config, scene, SCHEMA, on_progress)


def make_phrases(config: PhrasesConfig, on_progress: Callable[[int], None] = lambda done: None) -> Path:
    """Write images/, masks/ and manifest.parquet, and return the manifest's path.

    A scene of things has several rows: a prompt, and a mask with 1 where something is that it means. Scenes
    are parted as those of digits are. A scene and its prompts depend on the settings and its number alone: a
    larger count adds scenes and changes none.

    Train and validation know some words of each concept, some templates and most combinations of colour and
    shape. The test has rows with nothing new to whoever learnt from them, with new words alone, with a new
    template, and with a new combination; the column `novel` says which.

    Args:
        config: what to make, and where.
        on_progress: called with the number of scenes that are done.

    Raises:
        ConfigError: the source digits cannot be had.
        OutputError: the folder is not empty, or cannot be written.
    """
    splits = dict.fromkeys(SPLITS) if config.digits else ()
    maker = PhraseMaker(config.words, config.digits, {split: load_source_digits(split) for split in splits})
    label_map = LabelMap.from_names(MEANT)

    def scene(folder: Path, number: int) -> Rows:
        rng, split, novelty = np.random.default_rng([config.seed, number]), *_part_of(number)
        drawn, name = maker.scene(rng, split, novelty, config.size), f"{split}/scene_{number:06d}"
        image = f"images/{name}.png"
        (folder / image).write_bytes(_png(drawn.image_HWC))
        for place in range(config.prompts):
            asked, truth = maker.ask(rng, drawn, novelty), f"masks/{name}_{place}.png"
            mask_HW = drawn.mask(asked.named)
            (folder / truth).write_bytes(encode_png(mask_HW, label_map.colours, label_map.ignore_index))
            yield {
                **{"image": image, "truth": truth, "id": f"{name}_{place}", "prompt": asked.prompt},
                **{"split": split, "novel": novelty, "present": bool(mask_HW.any())},
                **{concept: asked.named.get(concept) for concept in ATTRIBUTES},
            }

    return _write(config, scene, PROMPTS, on_progress)


def _part_of(number: int) -> tuple[Split, Novelty]:
    """The split of a scene, and what is new in it: for the test each novelty in turn."""
    turn, place = divmod(number, len(SPLITS))
    split = SPLITS[place]
    return split, NOVELTIES[turn % len(NOVELTIES)] if split == "test" else "none"


def _write(
    config: DigitsConfig | PhrasesConfig,
    scene: Callable[[Path, int], Rows],
    schema: pa.Schema,
    on_progress: Callable[[int], None],
) -> Path:
    """The folder and its manifest. Raises OutputError.

    Args:
        scene: writes the files of one scene, and yields its rows.
    """
    folder = Path(config.output).expanduser()
    rows: list[dict[str, Any]] = []
    try:
        _make_folders(folder)
        for number in range(config.count):
            rows += scene(folder, number)
            on_progress(number + 1)
        pq.write_table(pa.Table.from_pylist(rows, schema), folder / "manifest.parquet")
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
