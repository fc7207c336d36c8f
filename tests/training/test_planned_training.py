"""`batchseg train` with nothing but source, truth and output: what comes of it, and what it refuses."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from band_files import geotiff
from click.testing import CliRunner, Result
from PIL import Image

import batchseg
from batchseg.cli.group import cli
from batchseg.errors import SourceError

SIDE = 48
MEANS = np.array([1000, 2000, 4000, 6000, 9000])


def command(folder: Path, *words: object) -> Result:
    source = (folder / "images", "--truth", folder / "masks", "--output", folder / "out")
    return CliRunner().invoke(cli, ["train", *map(str, (*source, *words))])


def pairs(folder: Path, count: int, bands: int | None = None) -> None:
    """A disc and a square on a background: RGB, or uint16 of so many bands."""
    rng = np.random.default_rng(1)
    for number in range(count):
        rows, columns = np.mgrid[:SIDE, :SIDE]
        truth = np.zeros((SIDE, SIDE), np.uint8)
        top, left = rng.integers(2, 20, 2)
        truth[top : top + 16, left : left + 12] = 1
        truth[(rows - 36) ** 2 + (columns - rng.integers(26, 38)) ** 2 < 64] = 2
        shades = np.arange(3)[truth][..., None]
        for name in ("images", "masks"):
            (folder / name).mkdir(exist_ok=True)
        Image.fromarray(truth).save(folder / f"masks/{number}.png")
        if bands is None:
            picture = (60 + 60 * shades + rng.normal(0, 5, (SIDE, SIDE, 3))).clip(0, 255)
            Image.fromarray(picture.astype(np.uint8)).save(folder / f"images/{number}.png")
        else:
            picture = MEANS[:bands] * (1 + 0.3 * shades) + rng.normal(0, 100, (SIDE, SIDE, bands))
            (folder / f"images/{number}.tif").write_bytes(geotiff(picture.clip(0).astype(np.uint16)))


def read(folder: Path, name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "out" / name).read_text())
    return found


@pytest.mark.usefixtures("ray_session")
def test_five_bands_make_a_model_of_five_bands(tmp_path: Path) -> None:
    """Nothing is said but epochs: the classes are the ids, and the bands are normalised by the data."""
    pairs(tmp_path, 10, bands=5)
    result = command(tmp_path, "--epochs", 4, "--set", "validate_every=4")
    assert result.exit_code == 0, result.output
    said = result.stderr.replace("\n", " ")
    assert "planned for 9 images of about 48 x 48 pixels to learn from, 5 channels, 3 classes" in said
    record, model = read(tmp_path, "train.json"), read(tmp_path, "model/config.json")
    assert record["plan"]["data"]["channels"] == 5 and record["plan"]["data"]["images"] == 9
    assert record["config"]["epochs"] == record["epochs"] == 4
    assert record["config"]["model"]["size"] == model.get("size", 64) == 64
    assert model["num_channels"] == 5 and [*model["id2label"].values()] == ["class_0", "class_1", "class_2"]
    images = [
        np.stack([np.asarray(band) for band in _bands(path)]) / 65535
        for path in sorted((tmp_path / "images").iterdir())
        if path.stem in _learnt(tmp_path)
    ]
    processor = read(tmp_path, "model/preprocessor_config.json")
    means = np.mean([image.mean((1, 2)) for image in images], axis=0)
    squares = np.mean([(image**2).mean((1, 2)) for image in images], axis=0)
    assert processor["image_mean"] == pytest.approx(means.tolist(), rel=1e-4)
    deviations = np.maximum(np.sqrt(squares - means**2), 0)
    assert processor["image_std"] == pytest.approx(np.hypot(deviations, 0).tolist(), rel=1e-2)
    found = batchseg.run(
        tmp_path / "images",
        model=tmp_path / "out/model",
        truth=tmp_path / "masks",
        output=tmp_path / "results",
    )
    assert found.statuses == {"ok": 10} and found.metrics["mean_iou"] is not None


def _bands(path: Path) -> Any:
    import rasterio
    from rasterio.errors import NotGeoreferencedWarning

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        dataset = rasterio.open(path)
    with dataset:
        return dataset.read()


def _learnt(folder: Path) -> set[str]:
    import pyarrow.parquet as pq

    rows = pq.read_table(folder / "out" / "split.parquet").to_pylist()
    return {Path(row["id"]).stem for row in rows if row["split"] == "train"}


@pytest.mark.usefixtures("ray_session")
def test_too_few_minutes_are_refused_and_more_go_on(tmp_path: Path) -> None:
    pairs(tmp_path, 30)
    words = ("--batch-size", 2, "--set", "validation=0.2")
    result = command(tmp_path, *words, "--minutes", 0.001)
    assert result.exit_code == 1
    (line,) = (line for line in result.stderr.splitlines() if line.startswith("batchseg: "))
    assert "minutes is 0.001, and one epoch" in line and "give at least" in line
    assert read(tmp_path, "train.json")["status"] == "started"
    split = (tmp_path / "out" / "split.parquet").read_bytes()
    refused = command(tmp_path, "--batch-size", 3, "--minutes", 0.001)
    assert "batch_size: 2 -> 3" in refused.stderr
    # more minutes are no other training
    again = command(tmp_path, *words, "--minutes", 0.002)
    assert "minutes is 0.002, and one epoch" in again.stderr
    assert (tmp_path / "out" / "split.parquet").read_bytes() == split
    assert "minutes: 0.001 -> None" in command(tmp_path, *words).stderr.replace("0.002", "0.001")


@pytest.mark.slow
@pytest.mark.usefixtures("ray_session")
def test_a_training_that_is_bounded_by_time_ends_with_a_model(tmp_path: Path) -> None:
    pairs(tmp_path, 20)
    result = command(tmp_path, "--minutes", 1.5)
    assert result.exit_code == 0, result.output
    record = read(tmp_path, "train.json")
    assert record["status"] == "finished" and record["config"]["minutes"] == 1.5
    assert record["metrics"]["mean_iou"] > 0.5
    assert json.loads(command(tmp_path, "--minutes", 1.5, "--json").stdout) == record
    assert "minutes: 1.5 -> 2" in command(tmp_path, "--minutes", 2).stderr


def test_floats_without_a_range_say_what_to_do(tmp_path: Path) -> None:
    pairs(tmp_path, 4)
    for path in (tmp_path / "images").iterdir():
        pixels = np.random.default_rng(0).random((SIDE, SIDE, 5)).astype(np.float32)
        path.with_suffix(".tif").write_bytes(geotiff(pixels))
        path.unlink()
    with pytest.raises(SourceError, match=r"pixels of type float32 have no range .* source\.scale"):
        batchseg.train(
            batchseg.TrainConfig(
                source={"path": str(tmp_path / "images"), "truth": str(tmp_path / "masks")},
                output=str(tmp_path / "out"),
            )
        )


@pytest.mark.parametrize(
    ("words", "code", "sentence"),
    [
        (("--minutes", 0), 2, "minutes"),
        (("--minutes", "nan"), 2, "minutes"),
        (("--bands", "1,9"), 1, "the picture has 3 bands, and source.bands asks for band 9"),
        (("--set", "model.backbone=resnet50", "--set", "model.mode=none", "--bands", "1,2"), 2, "reads RGB"),
        (("--set", "model.mode=none", "--set", "model.head=text"), 2, "head text needs a language_model"),
    ],
    ids=str,
)
def test_what_cannot_be_planned_says_so(
    tmp_path: Path, words: tuple[object, ...], code: int, sentence: str
) -> None:
    pairs(tmp_path, 6)
    result = command(tmp_path, *words)
    assert result.exit_code == code, result.output
    assert sentence in result.stderr and "Traceback" not in result.stderr
    assert not (tmp_path / "out" / "train.json").exists()
