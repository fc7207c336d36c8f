"""Windows that a training reads of rasters: which there are, who judges, and what is read of each."""

from __future__ import annotations

import io
import json
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
import rasterio
from click.testing import CliRunner, Result
from PIL import Image
from raster_scenes import TILED, write_tiff
from rasterio.transform import Affine

import batchseg
from batchseg.cli.group import cli
from batchseg.config.load import read_config
from batchseg.config.segmentor import HuggingFaceSegmentor
from batchseg.config.source import ImageReading
from batchseg.config.train import TrainConfig
from batchseg.errors import ConfigError, SourceError
from batchseg.labels.label_map import LabelMap
from batchseg.labels.reading import Reading
from batchseg.schema import SPLIT
from batchseg.segmentors.base import ModelInput
from batchseg.segmentors.huggingface.checkpoint import HuggingFaceCheckpoint
from batchseg.training.data import Sample, ValidationSet
from batchseg.training.examples import examples_of
from batchseg.training.rows import Rows
from batchseg.training.validate import validate_epoch
from batchseg.training.window_samples import WindowReader, WindowSamples, pair_reader
from batchseg.training.windows import cut_windows, hold_out, with_margins
from tests.report_pages import ReadPage

CLASSES = LabelMap.from_names(("low", "middle", "high"))
SIDE, PART = 32, 100
BANDS = 5
SCALE = [[100, 9000]] * BANDS
MEANS = np.array([1000, 2000, 4000, 6000, 8000])


def config(folder: Path, **more: Any) -> TrainConfig:
    base = {
        "source": {"path": str(folder / "images"), "truth": str(folder / "truth"), "scale": SCALE},
        **{"output": str(folder / "out"), "model": {"mode": "none"}},
        "tiling": {"size": SIDE, "part": PART},
    }
    return read_config(TrainConfig, overrides={**base, **more})


def scene(folder: Path, name: str, size: tuple[int, int] = (150, 210), seed: int = 0, **options: Any) -> Path:
    """A raster of five bands whose brightness says the class, with void and nodata in it, and its truth."""
    rng = np.random.default_rng(seed)
    truth = rng.choice(3, (-(-size[0] // 8), -(-size[1] // 8))).astype(np.uint8)
    truth = truth.repeat(8, 0).repeat(8, 1)[: size[0], : size[1]]
    pixels = MEANS * (0.4 + 0.3 * truth[..., None]) + rng.normal(0, 60, (*size, BANDS))
    pixels = pixels.clip(1, 60_000).astype(np.uint16)
    truth[:5], pixels[20:30, 40:60] = 255, 0
    place = {**TILED, "nodata": 0, **options}
    write_tiff(folder / f"truth/{name}.tif", truth[..., None], **TILED)
    return write_tiff(folder / f"images/{name}.tif", pixels, **place)


def rows_of(folder: Path, **parts: str) -> Rows:
    table = [
        {
            "id": f"{name}.tif",
            "uri": str(folder / f"images/{name}.tif"),
            "truth": str(folder / f"truth/{name}.tif"),
            "split": part,
            "reason": None,
        }
        for name, part in parts.items()
    ]
    return Rows(pa.Table.from_pylist(table, schema=SPLIT))


def covered(rows: pa.Table, column: str, size: tuple[int, int]) -> np.ndarray:
    """How often each pixel of a picture lies in the windows."""
    times = np.zeros(size, int)
    for top, left, height, width in rows[column].to_pylist():
        times[max(0, top) : top + height, max(0, left) : left + width] += 1
    return times


def stored(path: Path, area: tuple[int, int, int, int]) -> np.ndarray:
    """[h, w, C] by rasterio alone."""
    top, left, height, width = area
    with rasterio.open(path) as file:
        return file.read(window=((top, top + height), (left, left + width))).transpose(1, 2, 0)


# --- which there are, and who judges ---


@pytest.mark.parametrize(("size", "scale"), [((150, 210), 1.0), ((128, 64), 1.0), ((40, 110), 0.5)], ids=str)
def test_each_pixel_is_counted_once(tmp_path: Path, size: tuple[int, int], scale: float) -> None:
    scene(tmp_path, "a", size)
    tiling = {"size": SIDE, "part": PART, "scale": scale}
    windows = cut_windows(config(tmp_path, tiling=tiling), rows_of(tmp_path, a="validation"))
    assert (covered(windows.validation, "counted", size) == 1).all()
    sides = {(height, width) for _, _, height, width in windows.table["window"].to_pylist()}
    assert sides == {(round(SIDE / scale),) * 2}


def test_windows_go_where_their_raster_goes(tmp_path: Path) -> None:
    for number, name in enumerate("abc"):
        scene(tmp_path, name, seed=number)
    windows = cut_windows(config(tmp_path), rows_of(tmp_path, a="train", b="validation", c="train"))
    assert {*windows.train["id"].to_pylist()} == {"a.tif", "c.tif"}
    assert {*windows.validation["id"].to_pylist()} == {"b.tif"}
    assert len(windows.table) == 3 * 5 * 7


@pytest.mark.parametrize("size", [(150, 210), (640, 640)], ids=str)
def test_of_one_raster_alone_no_pixel_is_learnt_near_one_that_judges(
    tmp_path: Path, size: tuple[int, int]
) -> None:
    scene(tmp_path, "a", size)
    settings = config(tmp_path)
    windows = cut_windows(settings, rows_of(tmp_path, a="train"))
    assert settings.tiling is not None
    parted = with_margins(hold_out(windows, settings.tiling, 0.1, 3), 0.25)
    learnt, judges = covered(parted.train, "window", size), covered(parted.validation, "window", size)
    assert 0.03 < len(parted.validation) / len(windows.table) < 0.2
    assert len(parted.train) > 0.5 * len(windows.table)
    rows, columns = np.nonzero(judges)
    near = np.zeros(size, bool)
    for row, column in zip(rows, columns, strict=True):
        near[max(0, row - 23) : row + 24, max(0, column - 23) : column + 24] = True
    assert not (near & (learnt > 0)).any()
    # the same again, and another seed has other blocks
    again = with_margins(hold_out(windows, settings.tiling, 0.1, 3), 0.25)
    assert again.table.equals(parted.table)
    assert not hold_out(windows, settings.tiling, 0.1, 4).table.equals(parted.table)


def found_of(folder: Path, rows: Rows, settings: TrainConfig) -> Rows:
    pairs = pair_reader(settings, Reading(CLASSES), ImageReading.of(settings.source, BANDS))
    cut = partial(cut_windows, settings, rows)
    return examples_of(settings, rows, cut, pairs, has_margin=True, kept=(folder, folder), anew=True)


@pytest.mark.parametrize("part", [PART, 4096])
def test_windows_in_which_nothing_counts_are_left_out_and_told(tmp_path: Path, part: int) -> None:
    """Of 35 windows the first row is ignored, and of the second row one has no data."""
    scene(tmp_path, "b", seed=1)
    image = scene(tmp_path, "a")
    with rasterio.open(image, "r+") as file:
        file.write(np.zeros((BANDS, 32, 32), np.uint16), window=((32, 64), (64, 96)))
    with rasterio.open(tmp_path / "truth/a.tif", "r+") as file:
        file.write(np.full((1, 32, 210), 255, np.uint8), window=((0, 32), (0, 210)))
    settings = config(tmp_path, tiling={"size": SIDE, "part": part})
    found = found_of(tmp_path, rows_of(tmp_path, a="train", b="validation"), settings)
    out = found.table.filter(pc.is_valid(found.table["reason"]))
    assert {*out["reason"].to_pylist()} == {"nothing in them counts (ignored, or without data)"}
    places = [(top, left) for top, left, _, _ in out["window"].to_pylist()]
    assert sorted(places) == [*((0, left) for left in (0, 32, 64, 96, 128, 160, 178)), (32, 64)]
    assert "8 windows left out, for nothing in them counts (ignored, or without data)" in found.notes
    assert pq.read_table(tmp_path / "windows.parquet").equals(found.table)


def test_classes_are_looked_up_of_windows_and_kept_for_balanced_sampling(tmp_path: Path) -> None:
    scene(tmp_path, "b", seed=1)
    scene(tmp_path, "a")
    with rasterio.open(tmp_path / "truth/a.tif") as file:
        truth = file.read(1) % 2  # of 255 makes class 1, and of 2 class 0
    truth[100:103, 90:93] = 2
    write_tiff(tmp_path / "truth/a.tif", truth[..., None], **TILED)
    rows = rows_of(tmp_path, a="train", b="validation")
    found = found_of(tmp_path, rows, config(tmp_path, sampling="balanced"))
    shown = {tuple(row["window"][:2]): row["classes"] for row in found.train.to_pylist()}
    assert [place for place, classes in shown.items() if 2 in classes] == [(88, 56)]  # with its margin
    assert all(set(classes) >= {0, 1} for classes in shown.values())
    assert found.validation["classes"].null_count == len(found.validation) == 35


def test_a_raster_that_was_to_judge_and_cannot_be_read_is_named(tmp_path: Path) -> None:
    scene(tmp_path, "a")
    scene(tmp_path, "b").write_bytes(b"II*\0nothing")
    with pytest.raises(SourceError, match=r"no window of an image for validation can be used; b.tif: "):
        found_of(tmp_path, rows_of(tmp_path, a="train", b="validation"), config(tmp_path))


# --- what is read ---


class _AsItIs:
    """A preparer that leaves pixels and their scale."""

    def __call__(self, image_HWC: np.ndarray, scale: Any = None) -> ModelInput:
        return ModelInput(image_HWC[None], image_HWC.shape[:2], {}, scale)


def samples(settings: TrainConfig, rows: pa.Table, reading: ImageReading) -> WindowSamples:
    assert settings.tiling is not None
    pairs = WindowReader(Reading(CLASSES), settings.limits, reading, settings.tiling)
    return WindowSamples(rows, _AsItIs(), pairs)


@pytest.mark.parametrize("scale", [SCALE, {"percentiles": [5, 95]}], ids=["range", "percentiles"])
def test_a_window_has_the_pixels_of_the_raster(tmp_path: Path, scale: Any) -> None:
    image = scene(tmp_path, "a")
    source = {"path": str(tmp_path / "images"), "truth": str(tmp_path / "truth"), "scale": scale}
    settings = config(tmp_path, source=source)
    rows = with_margins(cut_windows(settings, rows_of(tmp_path, a="train")), 0.25).train
    chosen = samples(settings, rows, ImageReading.of(settings.source, BANDS))
    whole = stored(image, (0, 0, 150, 210)).astype(np.float64)
    has_data = (whole != 0).all(2)
    if scale is SCALE:
        black, white = np.array(SCALE, float).T
    else:
        black, white = np.percentile(whole[has_data], [5, 95], axis=0)
    for index in range(len(chosen)):
        found = chosen.read(index)
        assert isinstance(found, Sample)
        area = tuple(rows["window"][index].as_py())
        pixels, truth = stored(image, area), stored(tmp_path / "truth/a.tif", area)[..., 0]
        empty = (pixels == 0).any(2)
        expected = 255 * ((pixels - black) / (white - black)).clip(0, 1)
        got = found.model_input.pixels_THWC[0]
        assert got.dtype == np.float32
        assert np.abs(got - expected)[~empty].max() < 2e-2
        assert np.array_equal(found.truth_HW, np.where(empty | (truth == 255), 3, truth))


def test_what_judges_sees_what_run_sees_and_counts_each_pixel_once(tmp_path: Path) -> None:
    """A raster that is narrower than a window is reflected, as `run` has it; beyond it nothing counts."""
    size = (20, 130)
    image = scene(tmp_path, "a", size)
    settings = config(tmp_path)
    rows = cut_windows(settings, rows_of(tmp_path, a="validation")).validation
    judged = ValidationSet(samples(settings, rows, ImageReading.of(settings.source, BANDS)))
    found = [judged[index] for index in range(len(judged))]
    whole, truth = stored(image, (0, 0, *size)), stored(tmp_path / "truth/a.tif", (0, 0, *size))[..., 0]
    expected = np.where((whole == 0).any(2), 255, truth)
    counts = sum(np.bincount(each.truth_HW.ravel(), minlength=4)[:3] for each in found)
    assert counts.tolist() == np.bincount(expected.ravel(), minlength=256)[:3].tolist()
    padded = np.pad(whole, ((6, 6), (0, 0), (0, 0)), mode="reflect")[:, :SIDE]
    black, white = np.array(SCALE, float).T
    shown = 255 * ((padded - black) / (white - black)).clip(0, 1)
    assert np.abs(found[0].model_input.pixels_THWC[0] - shown)[padded.all(2)].max() < 2e-2


def test_pictures_that_are_held_are_cut_likewise(tmp_path: Path) -> None:
    """A part that is larger than the picture has it decoded whole, and its windows are the same."""
    scene(tmp_path, "a")
    found = []
    for part in (PART, 4096):
        settings = config(tmp_path, tiling={"size": SIDE, "part": part, "scale": 0.5})
        rows = with_margins(cut_windows(settings, rows_of(tmp_path, a="train")), 0.25).train
        chosen = samples(settings, rows, ImageReading.of(settings.source, BANDS))
        found.append([chosen.read(index) for index in range(len(chosen))])
    for one, other in zip(*found, strict=True):
        assert one.model_input.image_hw == other.model_input.image_hw == one.truth_HW.shape
        assert np.array_equal(one.model_input.pixels_THWC, other.model_input.pixels_THWC)
        assert np.array_equal(one.truth_HW, other.truth_HW)
    # a quarter of a window on either side, but at the edges of the raster
    assert {max(each.model_input.pixels_THWC.shape[1:3]) for each in found[0]} == {40, 48}


@pytest.mark.parametrize("part", [60, 4096])
def test_colours_without_data_count_nowhere(tmp_path: Path, part: int) -> None:
    """However much of a picture is held at once."""
    rng = np.random.default_rng(8)
    truth = rng.integers(3, size=(96, 128)).astype(np.uint8)
    pixels = rng.integers(1, 256, size=(96, 128, 3)).astype(np.uint8)
    pixels[:40, :70] = 0
    write_tiff(tmp_path / "images/a.tif", pixels, **TILED, nodata=0)
    write_tiff(tmp_path / "truth/a.tif", truth[..., None], **TILED)
    source = {"path": str(tmp_path / "images"), "truth": str(tmp_path / "truth")}
    settings = config(tmp_path, source=source, tiling={"size": SIDE, "part": part})
    rows = cut_windows(settings, rows_of(tmp_path, a="validation")).validation
    pairs = pair_reader(settings, Reading(CLASSES), ImageReading.of(settings.source, 3))
    found = sum(np.bincount(pairs.read(row)[1].ravel(), minlength=4)[:3] for row in rows.to_pylist())
    assert np.array_equal(found, np.bincount(truth[(pixels > 0).all(2)], minlength=3))


@pytest.mark.parametrize("part", [PART, 4096])
def test_a_raster_whose_truth_lies_elsewhere_is_left_out(tmp_path: Path, part: int) -> None:
    for seed, name in enumerate("abc"):
        scene(tmp_path, name, seed=seed)
    truth = stored(tmp_path / "truth/b.tif", (0, 0, 150, 210))
    write_tiff(tmp_path / "truth/b.tif", truth, **TILED, transform=Affine(10, 0, 5e5 + 30, 0, -10, 5e6))
    settings = config(tmp_path, tiling={"size": SIDE, "part": part})
    found = found_of(tmp_path, rows_of(tmp_path, a="train", b="train", c="validation"), settings)
    assert {*found.train["id"].to_pylist()} == {"a.tif"}
    assert any(note.startswith("b.tif is left out: the image lies at") for note in found.notes)


# --- whole trainings ---


def command(folder: Path, *words: object) -> Result:
    source = (folder / "images", "--truth", folder / "truth", "--output", folder / "out")
    quick = ("--tile", SIDE, "--set", f"tiling.part={PART}", "--set", f"source.scale={json.dumps(SCALE)}")
    return CliRunner().invoke(cli, ["train", *map(str, (*source, *quick, *words))])


def told(result: Result) -> str:
    """What is on the screen, without its line breaks."""
    return " ".join(result.stderr.split())


@pytest.mark.usefixtures("ray_session")
def test_a_model_of_five_bands_is_trained_on_windows_and_run_on_rasters(tmp_path: Path) -> None:
    for number, name in enumerate("abc"):
        scene(tmp_path, name, (160, 224), seed=number)
    result = command(tmp_path, "--epochs", 6, "--set", "validation=0.3", "--sampling", "balanced", "--report")
    assert result.exit_code == 0, result.output
    said = told(result)
    assert "70 windows of about 32 x 32 pixels to learn from, 5 channels, 3 classes" in said
    assert "`batchseg run --tile 32` shows the model the same" in said
    record = json.loads((tmp_path / "out/train.json").read_text())
    assert record["images"] == {"train": 2, "validation": 1}
    assert record["windows"] == {"train": 70, "validation": 35}
    split = {row["id"]: row["split"] for row in pq.read_table(tmp_path / "out/split.parquet").to_pylist()}
    parts = {(row["id"], row["split"]) for row in pq.read_table(tmp_path / "out/windows.parquet").to_pylist()}
    assert parts == {*split.items()}  # none of a raster's windows is on the other side
    # means and deviations of the pixels that have data, 0 at black and 1 at white, each raster alike
    names = [name for name in split if split[name] == "train"]
    learnt = [stored(tmp_path / "images" / name, (0, 0, 160, 224)) for name in names]
    black, white = np.array(SCALE, float).T
    shares = [((each[each.all(2)] - black) / (white - black)).clip(0, 1) for each in learnt]
    processor = json.loads((tmp_path / "out/model/preprocessor_config.json").read_text())
    assert processor["image_mean"] == pytest.approx(np.mean([each.mean(0) for each in shares], 0), rel=1e-3)
    assert processor["size"] == {"height": SIDE, "width": SIDE}
    found = batchseg.run(
        batchseg.load_config(
            overrides={
                "source": {
                    "path": str(tmp_path / "images"),
                    "truth": str(tmp_path / "truth"),
                    "scale": SCALE,
                },
                "segmentor": {"model": str(tmp_path / "out/model")},
                "output": {"path": str(tmp_path / "results")},
                "tiling": {"size": SIDE, "part": PART, "overlap": 0, "blend": "constant"},
                "split": "validation",
            }
        )
    )
    assert found.statuses == {"ok": 1}
    # by windows that fit into it without overlap, the same model says the same of its raster
    judged = pq.read_table(tmp_path / "out/windows.parquet")
    judged = judged.filter(pc.equal(judged["split"], "validation"))
    checkpoint = HuggingFaceCheckpoint.open(HuggingFaceSegmentor(model=str(tmp_path / "out/model")))
    settings = config(tmp_path)
    assert settings.tiling is not None
    reader = WindowReader(
        Reading(CLASSES), settings.limits, ImageReading.of(settings.source, BANDS), settings.tiling
    )
    windows = ValidationSet(WindowSamples(judged, checkpoint.preparer(as_is=True), reader))
    model = checkpoint.load("cpu", "fp32")
    again = validate_epoch(model, (windows[index] for index in range(len(windows))), 3, 0).matrix
    assert found.metrics["mean_iou"] == pytest.approx(again.summary()["mean_iou"], abs=1e-3)
    # and before its temperature was fitted nearly the same
    history = pq.read_table(tmp_path / "out/history.parquet").to_pylist()
    best = next(row for row in history if row["epoch"] == record["best_epoch"])
    assert best["mean_iou"] == pytest.approx(found.metrics["mean_iou"], abs=0.03)
    assert best["mean_iou"] > 0.4
    shown = pq.read_table(tmp_path / "out/validation_pictures.parquet").to_pylist()
    assert len({tuple(row["window"]) for row in shown}) == 6
    for row in shown:
        area = tuple(row["window"])  # none leaves the raster: 32 goes into its sides
        pixels = stored(Path(row["uri"]), area)
        seen = 255 * ((pixels - black) / (white - black)).clip(0, 1)[..., :3]
        assert np.abs(np.asarray(Image.open(io.BytesIO(row["photo"]))) - seen).mean() < 8  # it is a JPEG
        truth = stored(tmp_path / "truth" / row["id"], area)[..., 0]
        assert (np.asarray(Image.open(io.BytesIO(row["truth"]))) == np.where(pixels.all(2), truth, 255)).all()
    page = ReadPage.of(str(tmp_path / "out/report.html"))
    assert [str(given["class"]).split()[1] for given in page.all("img")].count("photo") == 6
    assert f"{row['id']} (window at row {area[0]}, column {area[1]})" in page.text


@pytest.mark.usefixtures("ray_session")
def test_one_raster_alone_is_parted_and_a_stopped_training_keeps_its_parts(tmp_path: Path) -> None:
    scene(tmp_path, "a", (300, 300))
    result = command(tmp_path, "--epochs", 1, "--set", "patience=1")
    assert result.exit_code == 0, result.output
    said = told(result)
    assert "a.tif is the only image, so blocks of its windows judge" in said
    windows = pq.read_table(tmp_path / "out/windows.parquet")
    parts = windows["split"].to_pylist()
    assert 0 < parts.count("validation") < parts.count("train")
    assert {*windows["reason"].to_pylist()} == {None, "they lie next to what judges"}


@pytest.mark.slow
@pytest.mark.usefixtures("ray_session")
def test_folds_predict_rasters_by_the_same_windows(tmp_path: Path) -> None:
    for number, name in enumerate("abcd"):
        scene(tmp_path, name, (110, 70), seed=number)
    result = command(tmp_path, "--epochs", 1, "--folds", 2, "--set", "validation=0.5")
    assert result.exit_code == 0, result.output
    record = json.loads((tmp_path / "out/results/run.json").read_text())
    assert record["config"]["tiling"]["size"] == SIDE
    assert pq.read_table(tmp_path / "out/results/images")["status"].to_pylist() == ["ok"] * 4


# --- what cannot be ---


def test_a_truth_of_another_size_or_place_is_named(tmp_path: Path) -> None:
    scene(tmp_path, "a")
    pattern = np.arange(150 * 210, dtype=np.uint8).reshape(150, 210, 1) % 3
    write_tiff(tmp_path / "truth/a.tif", pattern[:, :200], **TILED)
    result = command(tmp_path)
    assert result.exit_code == 1
    assert "the image is 210 x 150 pixels, its truth 200 x 150" in told(result)
    scene(tmp_path, "b", seed=1)
    moved = {**TILED, "transform": Affine(10, 0, 5e5 + 30, 0, -10, 5e6)}
    write_tiff(tmp_path / "truth/a.tif", pattern, **moved)
    result = command(tmp_path, "--set", "validation=0.5")
    assert result.exit_code == 1
    said = told(result)
    assert "a.tif: the image lies at" in said and "rio warp --like" in said


def test_windows_larger_than_every_raster_are_refused(tmp_path: Path) -> None:
    scene(tmp_path, "a", (150, 210))
    scene(tmp_path, "b", (90, 110), seed=1)
    result = command(tmp_path, "--tile", 256, "--set", "validation=0.5")
    assert result.exit_code == 1
    said = told(result)
    assert "windows of 256 x 256 pixels are larger than every image, the largest of which is 210" in said


def test_a_raster_without_truth_in_it_is_refused_or_named(tmp_path: Path) -> None:
    scene(tmp_path, "a")
    write_tiff(tmp_path / "truth/a.tif", np.full((150, 210, 1), 255, np.uint8), **TILED)
    result = command(tmp_path, "--set", f"labels={_labels(tmp_path)}", "--set", "accept=[ignored_truth]")
    assert result.exit_code == 1
    assert "a.tif: all of its ground truth is ignored or without data" in told(result)


def _labels(folder: Path) -> Path:
    (folder / "labels.yaml").write_text("classes:\n  - low\n  - middle\n  - high\n")
    return folder / "labels.yaml"


def test_one_raster_of_too_few_windows_is_refused(tmp_path: Path) -> None:
    scene(tmp_path, "a", (64, 64))
    result = command(tmp_path, "--set", "tiling.part=50")
    assert result.exit_code == 1
    assert "a.tif is the only image, and has 4 windows" in told(result)


@pytest.mark.parametrize(
    ("changed", "sentence"),
    [
        ({"tiling": 100}, "tiling.size .--tile. is 100, .* take 96"),
        ({"model": {"mode": "none", "size": 64}}, "tiling.size .--tile. is 32 and model.size 64"),
        (
            {"model": {"head": "prompt", "language_model": "bert", "mode": "none"}},
            "learns from whole pictures",
        ),
    ],
    ids=["multiple", "size", "prompts"],
)
def test_settings_that_do_not_fit_windows_are_refused(
    tmp_path: Path, changed: dict[str, Any], sentence: str
) -> None:
    with pytest.raises(ConfigError, match=sentence):
        config(tmp_path, **changed)
