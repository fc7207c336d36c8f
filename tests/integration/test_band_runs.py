"""Pictures of any bands through whole runs: masks, figures, overlays, doctor, and what is refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from click.testing import CliRunner
from PIL import Image
from torch.nn import functional
from torchvision.models import get_model_builder
from torchvision.transforms.v2.functional import resize
from transformers import AutoModelForSemanticSegmentation

import batchseg
from batchseg.cli.group import cli
from batchseg.config.load import load_config
from batchseg.config.train import TrainConfig
from batchseg.errors import ConfigError, SourceError
from tests.band_files import bands_of, geotiff, levels
from tests.image_files import RGB_ALPHA, png
from tests.segmentors.tiny_checkpoints import build

SCALE = [[100, 50_000], [0, 40_000], [0, 60_000], [5000, 55_000]]
SIZE = (90, 70)

pytestmark = pytest.mark.usefixtures("in_tasks")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Callable[[int], Path]:
    known: dict[int, Path] = {}

    def of(channels: int) -> Path:
        if channels not in known:
            known[channels] = build("segformer", tmp_path_factory.mktemp("model"), channels=channels)
        return known[channels]

    return of


def write(folder: Path, name: str, data: bytes) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / name).write_bytes(data)
    return folder


def job(images: Path, model: Path | str, output: Path, **source: Any) -> Any:
    return load_config(
        overrides={
            "source": {"path": str(images), **source},
            "segmentor": {"model": str(model), **({} if model == "threshold" else {"precision": "fp32"})},
            "output": {"path": str(output)},
        }
    )


def rows(output: Path) -> dict[str, dict[str, Any]]:
    return {row["id"]: row for row in pq.read_table(output / "images").to_pylist()}


def mask(output: Path, name: str) -> np.ndarray:
    """A PNG, or a TIFF where a TIFF was read by its bands."""
    (path,) = (output / "masks").glob(f"{name.partition('.')[0]}.*")
    with Image.open(path) as picture:
        return np.array(picture)


def forward(folder: Path, scaled_HWC: np.ndarray) -> np.ndarray:
    """The network's own labels of an array of 0 to 255, resized and normalised by hand."""
    settings = json.loads((folder / "preprocessor_config.json").read_text())
    pixels = torch.from_numpy(scaled_HWC).permute(2, 0, 1)[None]
    small = functional.interpolate(pixels, (64, 64), mode="bilinear", antialias=True)
    mean, std = (torch.tensor(settings[key])[:, None, None] for key in ("image_mean", "image_std"))
    network = AutoModelForSemanticSegmentation.from_pretrained(folder).eval()
    with torch.no_grad():
        logits = network(pixel_values=(small / 255 - mean) / std).logits
    full = functional.interpolate(logits, scaled_HWC.shape[:2], mode="bilinear", align_corners=False)
    return full.argmax(1)[0].numpy()


def test_a_geotiff_of_four_bands_equals_the_networks_own_forward_pass(model: Any, tmp_path: Path) -> None:
    pixels = bands_of("uint16", 4, SIZE, seed=3)
    images = write(tmp_path / "images", "a.tif", geotiff(pixels, tiled=True, blockxsize=16, blockysize=16))
    result = batchseg.run(job(images, model(4), tmp_path / "out", scale=SCALE))
    assert result.statuses == {"ok": 1}
    expected = forward(model(4), levels(pixels, SCALE))
    assert len(np.unique(expected)) > 2
    found = mask(tmp_path / "out", "a.png")
    assert found.shape == SIZE
    assert np.mean(found == expected) >= 0.999
    again = batchseg.run(job(images, model(4), tmp_path / "out", scale=SCALE))
    assert again.record["images"]["segmented"] == 0


@pytest.mark.parametrize("kind", ["uint8", "uint16", "int16", "float32"])
def test_bands_are_chosen_for_a_model_of_three_channels(model: Any, tmp_path: Path, kind: str) -> None:
    pixels = bands_of(kind, 5, SIZE, seed=4)
    scale = [float(np.quantile(pixels, share)) for share in (0.1, 0.9)]
    images = write(tmp_path / "images", "a.tif", geotiff(pixels))
    words = ["run", str(images), "--model", str(model(3)), "--output", str(tmp_path / "out")]
    words += [
        "--bands",
        "4,2,1",
        "--set",
        f"source.scale={scale}",
        "--precision",
        "fp32",
        "--quiet",
        "--overlays",
    ]
    done = CliRunner().invoke(cli, words)
    assert done.exit_code == 0, done.output
    expected = forward(model(3), levels(pixels[..., [3, 1, 0]], [scale] * 3))
    assert np.mean(mask(tmp_path / "out", "a.png") == expected) >= 0.998
    (drawn,) = (tmp_path / "out" / "overlays").iterdir()
    with Image.open(drawn) as overlay:
        assert overlay.mode == "RGB"


def test_three_8_bit_bands_in_their_order_are_the_rgb_path(model: Any, tmp_path: Path) -> None:
    pixels = bands_of("uint8", 3, SIZE, seed=5)
    images = write(tmp_path / "images", "a.tif", geotiff(pixels))
    batchseg.run(job(images, model(3), tmp_path / "plain"))
    batchseg.run(job(images, model(3), tmp_path / "bands", bands=[1, 2, 3]))
    assert np.array_equal(mask(tmp_path / "plain", "a.png"), mask(tmp_path / "bands", "a.png"))


def test_percentiles_are_of_each_picture(model: Any, tmp_path: Path) -> None:
    images = tmp_path / "images"
    expected = {}
    for name, factor in {"a": 1.0, "b": 0.2}.items():
        pixels = (bands_of("uint16", 4, SIZE, seed=6) * factor).astype(np.uint16)
        write(images, f"{name}.tif", geotiff(pixels))
        scale = [np.percentile(pixels[..., band], (2, 98)) for band in range(4)]
        expected[name] = forward(model(4), levels(pixels, scale))
    batchseg.run(job(images, model(4), tmp_path / "out", scale={"percentiles": [2, 98]}))
    for name, labels in expected.items():
        assert np.mean(mask(tmp_path / "out", f"{name}.png") == labels) >= 0.998


def test_where_there_is_no_data_is_void_and_counts_nowhere(model: Any, tmp_path: Path) -> None:
    pixels = bands_of("uint16", 4, SIZE, seed=7)
    pixels[:20, :30] = 0
    images = write(tmp_path / "images", "a.tif", geotiff(pixels, nodata=0))
    nodata = (pixels == 0).any(-1)
    truth = np.zeros(SIZE, np.uint8)
    truth[:, 35:] = 1
    write(tmp_path / "truth", "a.png", b"")
    Image.fromarray(truth).save(tmp_path / "truth" / "a.png")
    config = job(images, model(4), tmp_path / "out", scale=SCALE, truth=str(tmp_path / "truth"))
    result = batchseg.run(config)
    found = mask(tmp_path / "out", "a.png")
    assert np.array_equal(found == 255, nodata)
    pairs = pq.read_table(tmp_path / "out" / "pixels").to_pylist()
    assert (
        sum(pair["pixels"] for pair in pairs)
        == (~nodata).sum()
        == rows(tmp_path / "out")["a.tif"]["truth_pixels"]
    )
    accuracy = np.mean(found[~nodata] == truth[~nodata])
    assert result.metrics["accuracy"] == pytest.approx(accuracy)
    assert "ignored_truth" not in result.record["warnings"]
    # another truth is scored without the model, and still does not count these pixels
    truth[60:] = 2
    Image.fromarray(truth).save(tmp_path / "truth" / "a.png")
    again = batchseg.run(config)
    assert again.record["images"]["segmented"] == 0
    assert again.metrics["accuracy"] == pytest.approx(np.mean(found[~nodata] == truth[~nodata]))
    assert rows(tmp_path / "out")["a.tif"]["truth_pixels"] == (~nodata).sum()


def test_without_truth_pixels_without_data_are_not_counted_either(model: Any, tmp_path: Path) -> None:
    pixels = bands_of("float32", 4, SIZE)
    pixels[50:] = np.nan
    images = write(tmp_path / "images", "a.tif", geotiff(pixels))
    batchseg.run(job(images, model(4), tmp_path / "out", scale=[-0.5, 1.5]))
    pairs = pq.read_table(tmp_path / "out" / "pixels").to_pylist()
    assert sum(pair["pixels"] for pair in pairs) == 50 * SIZE[1]
    assert all(pair["predicted"] is not None for pair in pairs)


@pytest.mark.parametrize(
    ("channels", "bands", "numbers"),
    [(4, [4, 3, 2], r"source.bands names 3 bands \(4, 3, 2\), and the model reads 4"), (3, [1], "reads 3")],
)
def test_bands_that_are_not_the_models_are_refused_at_open(
    model: Any, tmp_path: Path, channels: int, bands: list[int], numbers: str
) -> None:
    images = write(tmp_path / "images", "a.tif", geotiff(bands_of("uint16")))
    for start in (
        batchseg.run,
        lambda config: batchseg.doctor(images, model=model(channels), settings={"source": {"bands": bands}}),
    ):
        with pytest.raises(ConfigError, match=numbers):
            start(job(images, model(channels), tmp_path / "out", bands=bands))
    assert not (tmp_path / "out" / "masks").exists()


@pytest.mark.parametrize("scale", [[1, 2, 3], [[0, 1], [0, 2]]])
def test_a_scale_of_the_wrong_number_of_values_is_refused(model: Any, tmp_path: Path, scale: Any) -> None:
    images = write(tmp_path / "images", "a.tif", geotiff(bands_of("uint16")))
    with pytest.raises(
        ConfigError, match=r"source.scale has the black and white of \d bands, and 4 are read"
    ):
        batchseg.run(job(images, model(4), tmp_path / "out", scale=scale))
    with pytest.raises(ConfigError, match=r"source.scale"):
        job(images, model(4), tmp_path / "out", scale=scale, bands=[1, 2, 3, 4])


@pytest.mark.parametrize(
    ("pixels", "model_and_source", "words"),
    [
        (bands_of("uint16", 3), (4, {}), "the picture has 3 bands, and the model reads 4; .* source.bands"),
        (bands_of("uint8", 3), (1, {}), "the picture has 3 bands, and the model reads 1; .* source.bands"),
        (bands_of("uint16", 4), (3, {"bands": [7, 1, 1]}), "has 4 bands, and source.bands asks for band 7"),
        (bands_of("float32", 4), (4, {}), "float32 .* source.scale"),
        (np.ones((9, 9, 4), np.complex64), (4, {"scale": 1}), "complex64"),
    ],
)
def test_the_first_pictures_tell_before_the_run_starts(
    model: Any, tmp_path: Path, pixels: Any, model_and_source: tuple[int, dict[str, Any]], words: str
) -> None:
    channels, source = model_and_source
    images = write(tmp_path / "images", "a.tif", geotiff(pixels))
    config = job(images, model(channels), tmp_path / "out", **source)
    with pytest.raises(SourceError, match=words) as caught:
        batchseg.run(config)
    assert "\n" not in str(caught.value)
    report = batchseg.doctor(images, model=model(channels), settings={"source": source})
    assert report.counts == {"unsupported": 1}
    assert not report.ok


def test_a_later_picture_of_other_bands_is_a_row(model: Any, tmp_path: Path) -> None:
    images = tmp_path / "images"
    for name, channels in {"a": 4, "b": 4, "c": 3}.items():
        write(images, f"{name}.tif", geotiff(bands_of("uint16", channels, SIZE)))
    write(images, "d.tif", geotiff(bands_of("uint16", 4, SIZE), compress="deflate")[:3000])
    config = job(images, model(4), tmp_path / "out", scale=SCALE)
    result = batchseg.run(config)
    assert result.statuses == {"ok": 2, "unsupported": 1, "unreadable": 1}
    row = rows(tmp_path / "out")["c.tif"]
    assert "the picture has 3 bands, and the model reads 4" in row["error"]
    assert "source.bands" in row["error"]
    # what is left of a later night are only these
    assert batchseg.run(config).statuses == {"unsupported": 1, "unreadable": 1}


def test_pictures_of_all_formats_for_a_model_of_one_or_four_channels(model: Any, tmp_path: Path) -> None:
    images = write(tmp_path / "four", "a.png", png(bands_of("uint8", 4, SIZE), RGB_ALPHA, 8))
    batchseg.run(job(images, model(4), tmp_path / "out4"))
    expected = forward(model(4), bands_of("uint8", 4, SIZE).astype(np.float32))
    assert np.mean(mask(tmp_path / "out4", "a.png") == expected) >= 0.97  # 8 bits are resized in 8 bits
    grey = bands_of("uint8", 1, SIZE)[..., 0]
    write(tmp_path / "one", "a.png", b"")
    Image.fromarray(grey).save(tmp_path / "one" / "a.png")
    Image.fromarray(np.dstack([grey] * 3)).save(tmp_path / "one" / "b.png")
    Image.fromarray(grey).save(tmp_path / "one" / "c.jpg")
    result = batchseg.run(job(tmp_path / "one", model(1), tmp_path / "out1"))
    assert result.statuses == {"ok": 2, "unsupported": 1}
    chosen = batchseg.run(job(tmp_path / "one", model(1), tmp_path / "first", bands=1))
    assert chosen.statuses == {"ok": 3}
    assert np.array_equal(mask(tmp_path / "first", "a.png"), mask(tmp_path / "first", "b.png"))


def test_the_threshold_segmentor_reads_three_bands_of_8_bits(tmp_path: Path) -> None:
    pixels = bands_of("uint8", 3, SIZE)
    images = write(tmp_path / "images", "a.tif", geotiff(pixels))
    batchseg.run(job(images, "threshold", tmp_path / "turned", bands=[3, 2, 1]))
    luma = np.array(Image.fromarray(pixels[..., ::-1].copy()).convert("L"))
    assert np.array_equal(mask(tmp_path / "turned", "a.png"), luma >= 128)
    with pytest.raises(ConfigError, match=r"names 1 band .* the model reads 3"):
        batchseg.run(job(images, "threshold", tmp_path / "one", bands=[1]))
    wide = write(tmp_path / "wide", "a.tif", geotiff(bands_of("uint16", 3, SIZE)))
    batchseg.run(job(wide, "threshold", tmp_path / "out", bands=[1, 2, 3]))
    assert "three bands of 8 bits" in rows(tmp_path / "out")["a.tif"]["error"]


def test_a_custom_class_gets_the_bands_as_they_are(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(
        "import numpy as np\n"
        "class Mine:\n"
        "    labels = ['dark', 'bright']\n"
        "    def __init__(self, device): pass\n"
        "    def segment(self, images):\n"
        "        assert all(each.dtype == np.uint16 and each.shape[2] == 2 for each in images)\n"
        "        return [(each[..., 0] > each[..., 1]).astype(int) for each in images]\n"
    )
    pixels = bands_of("uint16", 4, SIZE)
    images = write(tmp_path / "images", "a.tif", geotiff(pixels))
    result = batchseg.run(job(images, f"{tmp_path}/mine.py:Mine", tmp_path / "out", bands=[4, 2]))
    assert result.statuses == {"ok": 1}
    assert np.array_equal(mask(tmp_path / "out", "a.png"), pixels[..., 3] > pixels[..., 1])


def test_what_reads_bands_is_said_once_where_it_is_not_installed(
    model: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    images = write(tmp_path / "images", "a.tif", geotiff(bands_of("uint16")))
    monkeypatch.setitem(__import__("sys").modules, "rasterio", None)
    with pytest.raises(ConfigError, match=r"pip install 'batchseg\[raster\]'"):
        batchseg.run(job(images, model(4), tmp_path / "out"))
    with pytest.raises(ConfigError, match="rasterio"):
        batchseg.doctor(images, settings={"source": {"bands": [1, 2, 3]}})


def test_fingerprints_change_where_bands_or_scales_do(model: Any, tmp_path: Path) -> None:
    images = write(tmp_path / "images", "a.tif", geotiff(bands_of("uint16", 4, SIZE)))

    def key(channels: int = 4, **source: Any) -> str:
        return batchseg.dry_run(job(images, model(channels), tmp_path / "out", **source))["model"][
            "fingerprint"
        ]

    some = [
        {},
        {"bands": [4, 3, 2, 1]},
        {"scale": 9},
        {"scale": [9, 9, 9, 8]},
        {"scale": {"percentiles": [2, 98]}},
    ]
    assert len({key(**each) for each in some}) == len(some)
    assert key(scale=9) == key(scale=[0, 9])


def test_doctor_tells_of_dark_bands_and_a_header_of_any_layout(model: Any, tmp_path: Path) -> None:
    images = tmp_path / "images"
    write(images, "a.tif", geotiff(bands_of("uint16", 6, SIZE) // 16, interleave="band", BIGTIFF="YES"))
    report = batchseg.doctor(images, model=model(4), settings={"source": {"bands": [6, 5, 2, 1]}})
    assert report.ok
    assert report.sizes.largest == (SIZE[1], SIZE[0], "a.tif")
    assert len(report.pictures.mean_rgb or ()) == 4
    assert any("say source.scale: 4095" in warning for warning in report.warnings)
    words = ["doctor", str(images), "--bands", "6,5,2,1", "--json"]
    told = json.loads(CliRunner().invoke(cli, words).stdout)
    assert told["ok"]
    write(images, "a.tif", geotiff(bands_of("uint16", 6, SIZE)))
    plain = batchseg.doctor(images)
    assert plain.counts == {"unsupported": 1}
    assert "source.bands" in str(plain.problems[0])


def test_a_training_reads_the_bands_that_its_model_has(sample_data: Path, tmp_path: Path, model: Any) -> None:
    config = TrainConfig(
        source={"path": str(sample_data / "images"), "truth": str(sample_data / "masks")},
        output=str(tmp_path / "out"),
        model=str(model(4)),
        accept=("failing_truth",),  # it is of other classes
    )
    with pytest.raises(SourceError, match="the picture has 3 bands, and the model reads 4"):
        batchseg.train(config)


def test_bytes_in_a_manifest_and_a_network_of_torchvision(tmp_path: Path) -> None:
    builder = "lraspp_mobilenet_v3_large"
    torch.manual_seed(0)
    network = get_model_builder(builder)(weights=None, weights_backbone=None, num_classes=4).eval()
    torch.save(network.state_dict(), tmp_path / "weights.pth")
    pixels = bands_of("uint16", 5, SIZE, seed=8)
    table = pa.table({"image_bytes": [geotiff(pixels)], "id": ["a"]})
    pq.write_table(table, tmp_path / "list.parquet")
    config = load_config(
        overrides={
            "source": {"path": str(tmp_path / "list.parquet"), "bands": "5,3,1", "scale": 50_000},
            "segmentor": {
                "model": builder,
                "weights": str(tmp_path / "weights.pth"),
                "resize": 64,
                "precision": "fp32",
            },
            "output": {"path": str(tmp_path / "out")},
        }
    )
    assert batchseg.run(config).statuses == {"ok": 1}
    scaled = torch.from_numpy(levels(pixels[..., [4, 2, 0]], [(0, 50_000)] * 3)).permute(2, 0, 1)
    small = resize(scaled, [64], antialias=True) / 255
    mean, std = (torch.tensor(each)[:, None, None] for each in ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]))
    with torch.no_grad():
        logits = network(((small - mean) / std)[None])["out"]
    full = functional.interpolate(logits, SIZE, mode="bilinear", align_corners=False)
    assert np.mean(mask(tmp_path / "out", "a.png") == full.argmax(1)[0].numpy()) >= 0.998


@pytest.mark.parametrize(("kind", "channels"), [("float32", 1), ("int16", 2), ("uint16", 4), ("uint8", 7)])
def test_overlays_show_bands_at_once_and_later(model: Any, tmp_path: Path, kind: str, channels: int) -> None:
    pixels = bands_of(kind, channels, SIZE)
    images = write(tmp_path / "images", "a.tif", geotiff(pixels))
    scale = [float(pixels.min()), float(pixels.max())]
    words = [
        "run",
        str(images),
        "--model",
        str(model(channels)),
        "--output",
        str(tmp_path / "out"),
        "--quiet",
    ]
    words += ["--set", f"source.scale={scale}", "--overlays"]
    assert CliRunner().invoke(cli, words).exit_code == 0
    (drawn,) = (tmp_path / "out" / "overlays").iterdir()
    with Image.open(drawn) as picture:
        at_once = np.array(picture).astype(int)
    drawn.unlink()
    later = CliRunner().invoke(cli, ["overlay", str(tmp_path / "out"), "--quiet"])
    assert later.exit_code == 0, later.output
    (drawn,) = (tmp_path / "out" / "overlays").iterdir()
    with Image.open(drawn) as picture:
        assert np.abs(np.array(picture).astype(int) - at_once).mean() < 1
