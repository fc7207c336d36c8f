"""What a few decoded images tell of a source, and what all headers do."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image
from tiff_files import tiff_of

from batchseg.cli.group import cli
from batchseg.config.base import Limits
from batchseg.config.source import FolderSource, ImageReading
from batchseg.inspect import image_sample
from batchseg.inspect.image_sample import ImageSample, sample_images
from batchseg.source.open import open_source
from batchseg.source.plan import write_listing
from batchseg.storage.location import locate


def sampled(folder: Path, count: int = 8, reading: ImageReading | None = None, **limits: int) -> ImageSample:
    source = open_source(FolderSource(path=str(folder)))
    listing = write_listing(source.tables(), locate(str(folder.parent)) / "listing.arrow", "full")
    return sample_images(listing, count, reading or ImageReading(), Limits(**limits))


def save(folder: Path, name: str, pixels: np.ndarray, **more: Any) -> None:
    folder.mkdir(exist_ok=True)
    Image.fromarray(pixels).save(folder / name, **more)


def flat(*colour: int, size: tuple[int, int] = (10, 20)) -> np.ndarray:
    return np.full((*size, 3), colour, np.uint8)


def turned(orientation: int) -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return exif


def test_the_mean_of_the_pixels(tmp_path: Path) -> None:
    images = tmp_path / "images"
    save(images, "a.png", flat(10, 20, 30))
    save(images, "b.jpg", flat(110, 110, 110, size=(400, 300)), quality=95)
    (images / "c.png").write_bytes(b"no image")
    sample = sampled(images)
    assert sample.files == 2
    assert sample.mean_rgb == pytest.approx((60, 65, 70), abs=1)
    assert (sample.wide, sample.brightest, sample.highest, sample.warnings) == (0, None, None, [])


def test_12_bits_in_16_are_noticed(tmp_path: Path) -> None:
    images = tmp_path / "images"
    save(images, "a.png", np.array([[0, 4000]], np.uint16))
    (images / "b.tif").write_bytes(tiff_of(np.full((4, 5, 3), 3000, np.uint16), planar=2))
    sample = sampled(images)
    assert (sample.wide, sample.highest) == (2, 4000)
    assert sample.brightest == pytest.approx(4000 / 65535)
    assert sample.warnings == [
        "brightest of the 16-bit images: 6% of white; if their white is 4095 say source.scale: 4095"
    ]
    scaled = sampled(images, reading=ImageReading((0, 4095)))
    assert scaled.brightest == pytest.approx(4000 / 4095)
    assert scaled.warnings == []
    assert scaled.mean_rgb == pytest.approx([(0 + 249 + 2 * 187) / 4] * 3, abs=1)
    assert "look at source.scale" in sampled(images, reading=ImageReading((0, 1000))).warnings[0]


def test_bright_16_bits_are_not(tmp_path: Path) -> None:
    save(tmp_path / "images", "a.png", np.array([[0, 60000]], np.uint16))
    assert sampled(tmp_path / "images").warnings == []


def test_as_many_as_asked_for_are_spread_and_large_ones_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(image_sample, "LARGE", 400)
    images = tmp_path / "images"
    for index in range(20):
        save(images, f"{index:02}.png", flat(*[10 * index] * 3, size=(50, 50) if index % 2 else (10, 10)))
    sample = sampled(images, 4)
    assert sample.files == 4
    assert sample.mean_rgb is not None
    assert 40 < sample.mean_rgb[0] < 150
    for index in range(0, 20, 2):
        (images / f"{index:02}.png").unlink()
    save(images, "99.png", flat(7, 7, 7, size=(30, 30)))
    assert (sampled(images, 4).files, sampled(images, 4).mean_rgb) == (1, (7, 7, 7))


@pytest.mark.parametrize("count", [0, 8])
def test_nothing_to_look_at(tmp_path: Path, count: int) -> None:
    (tmp_path / "images").mkdir()
    assert sampled(tmp_path / "images", count) == ImageSample()
    save(tmp_path / "images", "a.png", flat(1, 2, 3))
    assert sampled(tmp_path / "images", count, max_pixels=9) == ImageSample()
    assert sampled(tmp_path / "images", count).files == min(count, 1)


def test_doctor_tells_of_brightness_turned_images_and_pages(tmp_path: Path) -> None:
    images, truth = tmp_path / "images", tmp_path / "truth"
    save(images, "a.png", np.full((6, 8), 4000, np.uint16))
    save(images, "b.jpg", flat(9, 9, 9), exif=turned(6))
    save(images, "c.jpg", flat(9, 9, 9), exif=turned(3))
    save(images, "d.png", flat(9, 9, 9), exif=turned(1))
    save(images, "e.gif", flat(9, 9, 9)[..., 0], save_all=True, append_images=[Image.new("L", (20, 10), 99)])
    noise = np.random.default_rng(1).integers(0, 256, (300, 400, 3), dtype=np.uint8)
    (images / "f.tif").write_bytes(tiff_of(noise, pages=({}, {})))
    (images / "g.tif").write_bytes(tiff_of(noise, pages=({}, {254: [1]}), tags={274: 8}))
    save(truth, "b.png", np.zeros((20, 10), np.uint8))
    words = ["doctor", str(images), "--truth", str(truth)]
    told = CliRunner().invoke(cli, words)
    assert told.exit_code == 0, told.output
    assert "3 images have an EXIF orientation, 1 of them beside a truth" in told.stdout
    assert "2 images have more than one page or frame; the first is read" in told.stdout
    assert "say source.scale: 4095" in told.stdout
    assert "say --orientation stored" in told.stdout
    report = json.loads(CliRunner().invoke(cli, [*words, "--json"]).stdout)
    sizes = report["sizes"]
    assert (sizes["turned"], sizes["turned_with_truth"], sizes["paged"]) == (3, 1, 2)
    assert (report["ok"], len(report["warnings"]), report["pictures"]["wide"]) == (True, 2, 1)
    more = ["--orientation", "stored", "--set", "source.scale=4095", "--json"]
    settled = json.loads(CliRunner().invoke(cli, [*words, *more]).stdout)
    assert settled["warnings"] == []
    assert settled["pictures"]["brightest"] == pytest.approx(4000 / 4095)


def test_doctor_tells_of_turned_images_beside_a_truth_once(tmp_path: Path) -> None:
    save(tmp_path / "images", "a.jpg", flat(9, 9, 9), exif=turned(3))
    save(tmp_path / "truth", "a.png", flat(0, 0, 0)[..., 0])
    words = ["doctor", str(tmp_path / "images"), "--truth", str(tmp_path / "truth"), "--model", "threshold"]
    report = json.loads(CliRunner().invoke(cli, [*words, "--json"]).stdout)
    (warning,) = report["warnings"]
    assert warning.startswith("1 of the images with a truth are turned upright")


@pytest.mark.parametrize(
    ("colour", "is_far"),
    [
        ((10, 10, 10), True),
        ((110, 110, 110), False),
        ((250, 250, 250), True),
        ((124, 116, 200), True),  # blue alone
        ((200, 116, 104), False),  # 76 away, which is 1.3 deviations
    ],
)
def test_images_far_from_what_the_model_was_trained_on_are_said(
    colour: tuple[int, int, int], is_far: bool, tmp_path: Path, sample_data: Path
) -> None:
    """The sample model was normalised with ImageNet's mean, 124, 116, 104, and deviation, 58, 57, 57."""
    for index in range(3):
        save(tmp_path / "images", f"{index}.png", flat(*colour))
    words = ["doctor", str(tmp_path / "images"), "--model", str(sample_data / "model")]
    report = json.loads(CliRunner().invoke(cli, [*words, "--json"]).stdout)
    said = f"the mean of the images is {', '.join(map(str, colour))} of"
    assert [said in each for each in report["warnings"]] == ([True] if is_far else [])
    accepted = CliRunner().invoke(cli, [*words, "--json", "--accept", "input_range"])
    assert json.loads(accepted.stdout)["warnings"] == []


def test_images_that_the_model_sees_much_smaller_are_said_by_doctor_and_run(
    tmp_path: Path, sample_data: Path
) -> None:
    """The sample model's input is 224 x 224: 896 pixels are 4 times as many, and 1,120 are 5 times."""
    images, model = tmp_path / "images", str(sample_data / "model")
    save(images, "a.png", np.full((896, 300, 3), 110, np.uint8))
    save(images, "b.png", np.full((300, 900, 3), 110, np.uint8))
    save(images, "c.png", np.full((1120, 240, 3), 110, np.uint8))
    said = (
        "2 of 3 sampled images are shrunk more than 4 times along a side before the model sees them, the "
        "most 5 times; windows keep what is small: --tile 224 (in a file tiling: 224)"
    )
    report = json.loads(CliRunner().invoke(cli, ["doctor", str(images), "--model", model, "--json"]).stdout)
    assert report["warnings"] == [f"{said} (--accept shrunk_images)"]
    words = ["run", str(images), "--model", model, "--output", str(tmp_path / "out"), "--dry-run", "--json"]
    assert json.loads(CliRunner().invoke(cli, words).stdout)["warnings"] == {"shrunk_images": said}
    accepted = json.loads(CliRunner().invoke(cli, [*words, "--accept", "shrunk_images"]).stdout)
    assert accepted["warnings"] == {}
    in_windows = json.loads(CliRunner().invoke(cli, [*words, "--tile", "224"]).stdout)
    assert in_windows["warnings"] == {}
    without = json.loads(CliRunner().invoke(cli, ["doctor", str(images), "--json"]).stdout)
    assert without["warnings"] == [] and without["pictures"]["looked_at"] == 3


def test_how_far_a_turned_image_is_shrunk(tmp_path: Path) -> None:
    """A model that reads height 100 and width 400, and images that EXIF lays on their side."""

    class Wide:
        def resizing(self) -> Any:
            return lambda _: (100, 400)

    save(tmp_path / "images", "a.jpg", np.full((1200, 200, 3), 110, np.uint8), exif=turned(6))
    source = open_source(FolderSource(path=str(tmp_path / "images")))
    listing = write_listing(source.tables(), locate(str(tmp_path)) / "listing.arrow", "full")
    for reading, factor in ((ImageReading(), None), (ImageReading(as_stored=True), 12.0)):
        assert sample_images(listing, 8, reading, Limits(), models=[Wide()]).most_shrunk == factor
