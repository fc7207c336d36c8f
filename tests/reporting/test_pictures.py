"""The pictures on a page: read back from it, against the files they were made of."""

from __future__ import annotations

import base64
import io
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import batchseg
from batchseg.config.base import Limits
from batchseg.config.load import merge
from batchseg.config.source import ImageReading
from batchseg.images.overlay import Drawing
from batchseg.labels.label_map import LabelMap
from batchseg.labels.reading import Reading
from batchseg.reporting.layers import NOTHING, WRONG, encode_labels
from batchseg.reporting.pictures import Artist
from batchseg.stages.raster_mask import write_raster_mask
from batchseg.stages.viewing import Sight
from batchseg.storage.location import locate
from tests.annotation_files import coco
from tests.band_files import geotiff
from tests.image_files import two_halves
from tests.report_pages import ReadPage

pytestmark = [pytest.mark.usefixtures("in_tasks")]

COLOURS = LabelMap.from_names(["dark", "bright"]).colours
HEIGHT, WIDTH = 40, 60


def scene(seed: int) -> np.ndarray:
    return two_halves(seed, (HEIGHT, WIDTH))


def truth_of(number: int) -> np.ndarray:
    """Wrong in `number` columns; nothing is known of the first row."""
    truth = np.zeros((HEIGHT, WIDTH), np.uint8)
    truth[:, WIDTH // 2 + number :] = 1
    truth[0] = 255
    return truth


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("images/a", "truth/a"):
        (tmp_path / name).mkdir(parents=True)
    for number in range(4):
        Image.fromarray(scene(number)).save(tmp_path / f"images/a/{number}.png")
        Image.fromarray(truth_of(number)).save(tmp_path / f"truth/a/{number}.png")
    return tmp_path


def run(folder: Path, **more: Any) -> Path:
    base = {
        "source": {"path": str(folder / "images"), "truth": str(folder / "truth")},
        "segmentor": "threshold",
        "output": {"path": str(folder / "results")},
    }
    batchseg.run(batchseg.load_config(overrides=merge(base, more)))
    return folder / "results"


def report(results: Path, **more: Any) -> ReadPage:
    return ReadPage.of(batchseg.report(results, **more).path)


def pictures(page: ReadPage, image_id: str) -> dict[str, np.ndarray]:
    """RGBA of each layer, by its class."""
    found = {}
    for each in page.all("img"):
        if str(each["alt"]).endswith(f" of {image_id}"):
            head, _, data = str(each["src"]).partition(",")
            assert head in ("data:image/png;base64", "data:image/webp;base64")
            with Image.open(io.BytesIO(base64.b64decode(data))) as picture:
                assert picture.size == (int(str(each["width"])), int(str(each["height"])))
                found[str(each["class"]).split()[1]] = np.asarray(picture.convert("RGBA"))
    return found


def test_layers_show_what_the_files_hold(folder: Path) -> None:
    page = report(run(folder))
    for number in range(4):
        layers = pictures(page, f"a/{number}.png")
        assert layers.keys() == {"photo", "truth", "predicted", "difference"}
        assert np.abs(layers["photo"][..., :3].astype(int) - scene(number)).mean() < 20  # lossy, and noise
        bright = np.arange(WIDTH) >= WIDTH // 2
        wanted = np.where(bright[:, np.newaxis], COLOURS[1], COLOURS[0])
        np.testing.assert_array_equal(layers["predicted"][5, :, :3], wanted)
        assert (layers["predicted"][..., 3] == 255).all()
        truth = truth_of(number)
        np.testing.assert_array_equal(layers["truth"][1:, :, :3], np.array(COLOURS)[truth[1:]])
        wrong = (truth != bright) & (truth != 255)
        np.testing.assert_array_equal(layers["difference"][1:, :, 3] == 255, wrong[1:])


def test_a_large_image_is_made_small_and_keeps_its_classes(folder: Path) -> None:
    image = np.kron(scene(0), np.ones((20, 20, 1), np.uint8))
    Image.fromarray(image).save(folder / "images/a/0.png")
    Image.fromarray(np.kron(truth_of(0), np.ones((20, 20), np.uint8))).save(folder / "truth/a/0.png")
    layers = pictures(report(run(folder)), "a/0.png")
    assert layers["photo"].shape[:2] == (320, 480)
    assert {tuple(colour) for colour in layers["predicted"].reshape(-1, 4)[:, :3]} == set(COLOURS)


def test_a_source_that_is_gone_leaves_the_mask_alone(folder: Path) -> None:
    results = run(folder)
    (folder / "images/a/3.png").unlink()
    page = report(results)
    assert pictures(page, "a/3.png").keys() == {"predicted"}
    assert "Its truth is not shown: the source does not list the image any more." in page.text
    assert "The image cannot be shown, so the mask stands alone: there is no such file." in page.text
    shutil.rmtree(folder / "images")
    page = report(results)
    assert "predicted" in pictures(page, "a/0.png")
    assert "No truth is shown, for the source cannot be listed" in page.text


def test_a_mask_deleted_since_is_said(folder: Path) -> None:
    results = run(folder)
    (results / "masks/a/3.png").unlink()
    page = report(results)
    assert pictures(page, "a/3.png").keys() == {"photo", "truth"}
    assert "The mask cannot be shown: there is no such file." in page.text


def test_an_image_of_another_size_by_now_is_not_shown(folder: Path) -> None:
    results = run(folder)
    Image.fromarray(scene(0)[:20]).save(folder / "images/a/2.png")
    page = report(results)
    assert "photo" not in pictures(page, "a/2.png")
    assert "it is 60 x 20 pixels by now, its mask 60 x 40" in page.text


def test_masks_that_were_scored_where_they_lay(folder: Path) -> None:
    masks = run(folder) / "masks"
    (folder / "labels.yaml").write_text("classes: [dark, bright]\n")
    batchseg.evaluate(masks, truth=folder / "truth", output=folder / "scores", labels=folder / "labels.yaml")
    page = report(folder / "scores")
    assert pictures(page, "a/3.png").keys() == {"truth", "predicted", "difference"}
    assert "4 of 4 masks read; mean IoU" in page.text
    np.testing.assert_array_equal(
        pictures(page, "a/3.png")["predicted"], pictures(report(folder / "results"), "a/3.png")["predicted"]
    )


def test_older_masks_lie_beside_where_they_were_kept(folder: Path) -> None:
    old = run(folder)
    new = folder / "new"
    worse = {"segmentor": {"kind": "threshold", "levels": [20]}}
    base = {"source": {"path": str(folder / "images"), "truth": str(folder / "truth")}, "output": str(new)}
    batchseg.run(batchseg.load_config(overrides=merge(base, worse)))
    page = report(new, against=old)
    layers = pictures(page, "a/0.png")
    assert {"before", "change"} <= layers.keys()
    before = np.where((np.arange(WIDTH) >= WIDTH // 2)[:, np.newaxis], COLOURS[1], COLOURS[0])
    np.testing.assert_array_equal(layers["before"][5, :, :3], before)
    changed = scene(0).mean(axis=2).round() >= 20
    changed[:, WIDTH // 2 :] = False
    assert (layers["change"][..., 3] == 255).mean() == pytest.approx(changed.mean(), abs=0.05)
    assert "Needs a look: Mean IoU fell by" in " ".join(page.text.split())


def test_the_number_of_pictures_and_none(folder: Path) -> None:
    results = run(folder)
    assert batchseg.report(results, images=1).pictures == 2  # the worst, and one at random
    none = batchseg.report(results, images=0)
    assert (none.pictures, ReadPage.of(none.path).all("img")) == (0, [])
    assert "a/3.png" in ReadPage.of(none.path).text


def test_a_page_stays_below_its_size(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pictures become smaller first; what does not fit then is left out, and the page says so."""
    noise = np.random.default_rng(0)
    for number in range(4):
        image = noise.integers(0, 256, (500, 700, 3), dtype=np.uint8)
        Image.fromarray(image).save(folder / f"images/a/{number}.png")
        Image.fromarray(image[..., 0] // 128).save(folder / f"truth/a/{number}.png")
    results = run(folder)
    usual = batchseg.report(results)
    assert max(pictures(ReadPage.of(usual.path), "a/0.png")["predicted"].shape) < 480
    monkeypatch.setattr("batchseg.reporting.make.MOST_BYTES", usual.size_bytes * 2 // 3)
    small = batchseg.report(results)
    assert small.size_bytes <= usual.size_bytes * 2 // 3
    assert 0 < small.pictures < usual.pictures
    page = ReadPage.of(small.path)
    assert "so that the page stays below 8 MB" in page.text
    there = {f"#{given['id']}" for _, given in page.tags if "id" in given}
    assert {str(each["href"]) for each in page.all("a")} <= there  # of what is left out no link speaks


def test_merged_classes_are_shown_as_the_run_read_them(folder: Path) -> None:
    """Though the label map's file is gone, and the ids of the truth are those before merging."""
    labels = folder / "labels.yaml"
    labels.write_text("classes: [dark, bright, other]\nignore_index: 255\n")
    for number in range(4):
        truth = truth_of(number)
        truth[truth == 1] = 2
        Image.fromarray(truth).save(folder / f"truth/a/{number}.png")
    segmentor = {"model": "threshold", "levels": [128, 250]}
    results = run(folder, segmentor=segmentor, labels=str(labels), merge={"light": ["bright", "other"]})
    labels.unlink()
    page = report(results)
    layers = pictures(page, "a/0.png")
    np.testing.assert_array_equal(layers["truth"][1:, :, :3], layers["predicted"][1:, :, :3])
    assert not layers["difference"][1:, :, 3].any()


def test_a_large_raster_is_read_at_the_size_shown(tmp_path: Path) -> None:
    """As the mask, the truth and the image of one that would be too large to be held."""
    labels = LabelMap.from_names(["road", "tree", "sky"])
    left_right = np.repeat([[1, 2]], 600, axis=1).repeat(900, axis=0).astype(np.uint8)
    masks = locate(str(tmp_path)) / "masks"
    write_raster_mask(masks, "a.tif", iter([left_right]), (900, 1200), label_map=labels)
    Image.fromarray(np.full((900, 1200, 3), 77, np.uint8)).save(tmp_path / "image.tif")
    Image.fromarray(left_right * 0 + 1).save(tmp_path / "truth.tif")
    artist = Artist(Sight(Reading(labels), ImageReading()), None, Limits(max_pixels=1000))
    places = {"image": "image.tif", "mask": "masks/a.tif", "truth": "truth.tif"}
    made = artist.picture(
        {
            **{name: str(tmp_path / path) for name, path in places.items()},
            **{"id": "a", "before": None, "height": 900, "width": 1200, "share": 10**6},
        }
    )
    assert (made["height"], made["width"], made["notes"], made["classes"]) == (360, 480, [], [1, 2])
    with Image.open(io.BytesIO(made["photo"])) as photo:
        assert np.abs(np.asarray(photo).astype(int) - 77).max() <= 2
    with Image.open(io.BytesIO(made["difference"])) as difference:
        wrong = np.asarray(difference.convert("RGBA"))[..., 3] > 0
    assert wrong[:, 240:].all() and not wrong[:, :240].any()


def test_more_classes_than_a_palette_has_room_for() -> None:
    names = [f"class {number}" for number in range(400)]
    drawing = Drawing(tuple(names), LabelMap.from_names(names).colours, frozenset())
    labels = np.arange(400, dtype=np.uint16).repeat(3).reshape(30, 40)
    labels[0, :3] = 1  # so that class 0 has fewest pixels
    with Image.open(io.BytesIO(encode_labels(labels, drawing))) as picture:
        pixels = np.asarray(picture.convert("RGBA"))
    drawn = pixels[..., 3] > 0
    assert len(np.unique(labels[drawn])) == 254
    np.testing.assert_array_equal(pixels[drawn][:, :3], np.array(drawing.colours)[labels[drawn]])


def test_where_there_are_no_data_nothing_is_wrong(tmp_path: Path) -> None:
    """As in the scores, which leave these pixels out."""
    labels = LabelMap.from_names(["road", "tree", "sky"])
    mask = np.full((40, 60), 255)
    mask[:20] = 0
    (tmp_path / "image.tif").write_bytes(geotiff(np.full((40, 60, 3), 90, np.uint8), mask.astype(np.uint8)))
    ids = np.where(mask == 0, 3, 1).astype(np.uint8)  # the mask abstains there
    write_raster_mask(locate(str(tmp_path)) / "masks", "a.tif", iter([ids]), (40, 60), label_map=labels)
    Image.fromarray(np.full((40, 60), 2, np.uint8)).save(tmp_path / "truth.png")
    artist = Artist(Sight(Reading(labels), ImageReading()), None, Limits())
    places = {"image": "image.tif", "mask": "masks/a.tif", "truth": "truth.png"}
    made = artist.picture(
        {
            **{name: str(tmp_path / path) for name, path in places.items()},
            **{"id": "a", "before": None, "height": 40, "width": 60, "share": 10**6},
        }
    )
    with Image.open(io.BytesIO(made["difference"])) as difference:
        pixels = np.asarray(difference.convert("RGBA"))
    assert {tuple(each) for each in pixels[20:].reshape(-1, 4).tolist()} == {(*WRONG, 255)}
    shown = {tuple(each[:3]) for each in pixels[:20].reshape(-1, 4).tolist() if each[3]}
    assert shown == {NOTHING}


def test_annotations_of_a_labelling_tool_are_shown(folder: Path) -> None:
    """They are put where workers read them, and that is gone afterwards."""
    maps = {f"a/{number}.png": np.minimum(truth_of(number), 1) for number in range(4)}
    (folder / "truth.json").write_text(json.dumps(coco(maps, ("dark", "bright"))))
    (folder / "labels.yaml").write_text("classes: [dark, bright]\n")
    source = {"truth": str(folder / "truth.json")}
    results = run(folder, source=source, labels=str(folder / "labels.yaml"))
    layers = pictures(report(results), "a/2.png")
    bright = (layers["truth"] == (*COLOURS[1], 255)).all(-1)
    np.testing.assert_array_equal(bright, maps["a/2.png"] == 1)  # of class 0 there are no annotations
    assert not [path.name for path in results.iterdir() if path.name.startswith(".tmp")]
