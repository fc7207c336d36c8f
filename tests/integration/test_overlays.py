"""Overlays of whole runs: by flag, file and library, during a run and after it, read with Pillow."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner, Result
from PIL import Image

import batchseg
from batchseg.cli.group import cli
from batchseg.config.load import merge
from batchseg.labels.label_map import LabelMap
from tests.image_files import save, two_halves, with_orientation

pytestmark = [pytest.mark.usefixtures("in_tasks")]

COLOURS = LabelMap.from_names(["dark", "bright"]).colours
HEIGHT, WIDTH = 40, 200


def scene(seed: int) -> np.ndarray:
    return two_halves(seed, (HEIGHT, WIDTH))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Four images with truth, of which image n has n wrong columns."""
    for name in ("images/a", "truth/a"):
        (tmp_path / name).mkdir(parents=True)
    for index in range(4):
        Image.fromarray(scene(index)).save(tmp_path / f"images/a/{index}.png")
        truth = np.zeros((HEIGHT, WIDTH), np.uint8)
        truth[:, WIDTH // 2 + 10 * index :] = 1
        Image.fromarray(truth).save(tmp_path / f"truth/a/{index}.png")
    return tmp_path


def run(folder: Path, overlays: Any = False, **more: Any) -> batchseg.RunResult:
    base = {
        "source": {"path": str(folder / "images"), "truth": str(folder / "truth")},
        "segmentor": "threshold",
        "output": {"path": str(folder / "results"), "overlays": overlays},
    }
    return batchseg.run(batchseg.load_config(overrides=merge(base, more)))


def drawn(folder: Path) -> list[str]:
    root = folder / "results" / "overlays"
    return sorted(str(path.relative_to(root)) for path in root.rglob("*") if path.is_file())


def pixels(folder: Path, name: str) -> np.ndarray:
    with Image.open(folder / "results" / "overlays" / name) as picture:
        picture.load()
        assert picture.mode == "RGB"
        return np.asarray(picture)


def command(*words: str) -> Result:
    return CliRunner().invoke(cli, ["overlay", *words], catch_exceptions=False)


def blended(seed: int) -> np.ndarray:
    """What lies away from contours: half the image and half the colour."""
    colours = np.where(np.arange(WIDTH)[:, np.newaxis] < WIDTH // 2, COLOURS[0], COLOURS[1])
    return (scene(seed) + colours.astype(float)) / 2


AWAY = np.r_[0 : WIDTH // 2 - 4, WIDTH // 2 + 4 : WIDTH]


def test_a_run_writes_them_as_it_goes(folder: Path) -> None:
    assert run(folder, {"format": "png"}).exit_code == 0
    assert drawn(folder) == [f"a/{index}.png" for index in range(4)]
    for index in range(4):
        picture = pixels(folder, f"a/{index}.png")[:HEIGHT, :WIDTH]
        assert np.abs(picture - blended(index))[:, AWAY].max() <= 1


def test_the_flag_the_switch_and_the_mapping(folder: Path) -> None:
    words = ["run", str(folder / "images"), "--model", "threshold", "--quiet", "--output"]
    for name, more in {
        "flag": ["--overlays"],
        "set": ["--set", "output.overlays=true"],
        "mapping": ["--set", "output.overlays.kind=contour", "--set", "output.overlays.format=png"],
    }.items():
        assert CliRunner().invoke(cli, [*words, str(folder / name), *more]).exit_code == 0
        ending = ".png" if name == "mapping" else ".jpg"
        assert {path.suffix for path in (folder / name / "overlays/a").iterdir()} == {ending}


def test_jpeg_is_the_default_and_close_to_what_was_drawn(folder: Path) -> None:
    run(folder)
    report = batchseg.overlay(batchseg.OverlayConfig(results=str(folder / "results")))
    assert (report.chosen, report.written, report.problems) == (4, 4, [])
    assert drawn(folder) == [f"a/{index}.jpg" for index in range(4)]
    picture = pixels(folder, "a/0.jpg")[:HEIGHT, :WIDTH]
    assert np.abs(picture - blended(0))[:, AWAY].mean() < 8


def test_another_format_replaces_the_first(folder: Path) -> None:
    run(folder, True)
    result = command(str(folder / "results"), "a/1.png", "--format", "png", "--kind", "contour")
    assert (result.exit_code, "1 of 1 overlays" in result.output) == (0, True)
    assert drawn(folder) == ["a/0.jpg", "a/1.png", "a/2.jpg", "a/3.jpg"]
    picture = pixels(folder, "a/1.png")[:HEIGHT, :WIDTH]
    np.testing.assert_array_equal(picture[:, AWAY], scene(1)[:, AWAY])


@pytest.mark.parametrize("at_the_end", [True, False])
def test_the_worst_are_those_of_the_lowest_mean_iou(folder: Path, at_the_end: bool) -> None:
    wanted = {"which": "worst 2", "format": "png", "kind": "triptych"}
    result = run(folder, wanted if at_the_end else False)
    if at_the_end:
        assert result.record["overlays"]["written"] == 2
        assert not (folder / "results" / ".work").exists()
    else:
        made = batchseg.overlay(batchseg.OverlayConfig(results=str(folder / "results"), **wanted))
        assert made.chosen == 2
    assert drawn(folder) == ["a/2.png", "a/3.png"]
    assert pixels(folder, "a/3.png").shape[1] >= 3 * WIDTH  # with its truth


def test_what_a_night_left_is_drawn_with_its_truth_and_colours(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also from another folder than the run, whose paths are relative to where it was started."""
    labels = {"classes": ["dark", {"name": "bright", "colour": "#d62728"}]}
    (folder / "labels.yaml").write_text(json.dumps(labels))
    job = {
        "source": {"path": "images", "truth": "truth"},
        "segmentor": "threshold",
        "labels": "labels.yaml",
        "output": "results",
    }
    (folder / "job.yaml").write_text(json.dumps(job))
    monkeypatch.chdir(folder)
    assert CliRunner().invoke(cli, ["night", "job.yaml"]).exit_code == 0
    monkeypatch.chdir("/")
    settings = {"kind": "triptych", "format": "png", "opacity": 1, "ids": ["a/0.png"]}
    made = batchseg.overlay(batchseg.OverlayConfig(results=str(folder / "results"), **settings))
    assert (made.written, made.remarks) == (1, [])
    picture = pixels(folder, "a/0.png")
    assert picture.shape[1] >= 3 * WIDTH  # with its truth
    assert (picture == (0xD6, 0x27, 0x28)).all(axis=2).sum() > HEIGHT * WIDTH // 4


def test_a_choice_can_be_changed_when_nothing_is_left_to_compute(folder: Path) -> None:
    run(folder)
    assert run(folder, {"which": "worst 1"}).record["images"]["segmented"] == 0
    assert drawn(folder) == ["a/3.jpg"]


def test_a_sample_is_the_same_every_time(folder: Path) -> None:
    run(folder, {"which": "sample 2"})
    first = drawn(folder)
    assert first == ["a/1.jpg", "a/2.jpg"]  # in every process
    shutil.rmtree(folder / "results" / "overlays")
    assert command(str(folder / "results"), "--which", "sample 2", "--json").exit_code == 0
    assert drawn(folder) == first


def test_a_large_image_is_scaled_down_first(folder: Path) -> None:
    run(folder, {"longest": 50, "format": "png", "opacity": 0})
    picture = pixels(folder, "a/0.png")[:10, :50]
    means = scene(0).reshape(10, 4, 50, 4, 3).mean(axis=(1, 3))
    away = np.r_[0:21, 29:50]
    assert np.abs(picture - means)[:, away].max() <= 1


def test_failures_are_shown_with_their_status_and_go_when_they_are_mended(folder: Path) -> None:
    image = folder / "images" / "a" / "bad.jpg"
    whole = save(scene(9), "JPEG", quality=95)
    image.write_bytes(b"nothing of the kind")
    run(folder, {"kind": "triptych"})
    assert drawn(folder) == [f"a/{index}.jpg" for index in range(4)]
    # readable by now, but the results still say that it failed
    image.write_bytes(whole)
    result = command(str(folder / "results"), "--kind", "triptych", "--format", "png")
    assert result.exit_code == 0
    picture = pixels(folder, "a/bad.png")
    assert picture.shape[0] > HEIGHT  # its status and error
    assert np.abs(picture[:HEIGHT, :WIDTH].astype(int) - scene(9)).mean() < 16
    assert run(folder).exit_code == 0
    assert "a/bad.png" not in drawn(folder)


def test_an_image_that_is_gone_leaves_its_mask_and_a_sentence(folder: Path) -> None:
    run(folder)
    (folder / "images" / "a" / "1.png").unlink()
    Image.fromarray(scene(2)[:20]).save(folder / "images" / "a" / "2.png")
    result = command(str(folder / "results"), "--format", "png")
    assert result.exit_code == 0
    assert "a/1.png: The image cannot be shown: there is no such file." in result.output
    assert (
        "a/2.png: The image cannot be shown: it is 200 x 20 pixels by now, its mask 200 x 40" in result.output
    )
    picture = pixels(folder, "a/1.png")[:HEIGHT, :WIDTH]
    assert (picture[:, : WIDTH // 2 - 4] == COLOURS[0]).all()


def test_a_whole_source_that_is_gone(folder: Path) -> None:
    run(folder)
    shutil.rmtree(folder / "images")
    result = command(str(folder / "results"), "--kind", "triptych", "--json")
    report = json.loads(result.output)
    assert (result.exit_code, report["written"], report["troubled"]) == (0, 4, 4)
    assert "no such folder" in report["remarks"][0]


def test_a_mask_that_is_gone_is_named_and_the_exit_code_says_so(folder: Path) -> None:
    run(folder)
    (folder / "results" / "masks" / "a" / "2.png").unlink()
    result = command(str(folder / "results"))
    assert result.exit_code == 3
    assert "3 of 4 overlays" in result.output
    assert "a/2.png: its mask masks/a/2.png cannot be used: there is no such file" in result.output


@pytest.mark.parametrize("more", [{"recompute": True}, {"prune": True}])
def test_overlays_go_where_masks_go(folder: Path, more: dict[str, Any]) -> None:
    run(folder, {"format": "png"})
    (folder / "images" / "a" / "3.png").unlink()
    model = {"levels": [100]} if "recompute" in more else {}
    run(folder, False, **{"prune": True, **more}, segmentor=model)
    assert drawn(folder) == ([] if "recompute" in more else ["a/0.png", "a/1.png", "a/2.png"])


def test_a_corrected_truth_is_drawn_anew(folder: Path) -> None:
    run(folder, {"kind": "triptych", "format": "png"})
    before = pixels(folder, "a/3.png")
    truth = np.zeros((HEIGHT, WIDTH), np.uint8)
    truth[:, WIDTH // 2 :] = 1
    Image.fromarray(truth).save(folder / "truth" / "a" / "3.png")
    assert run(folder, {"kind": "triptych", "format": "png"}).record["images"]["scored"] == 1
    after = pixels(folder, "a/3.png")
    assert before.shape != after.shape or not np.array_equal(before, after)


def test_a_manifest_with_bytes_and_a_turned_image(tmp_path: Path) -> None:
    lying = Image.fromarray(scene(5)).transpose(Image.Transpose.ROTATE_90)
    turned = save(lying, "JPEG", exif=with_orientation(6))
    truth = np.zeros((HEIGHT, WIDTH), np.uint8)
    truth[:, WIDTH // 2 :] = 1
    rows = {"id": ["x"], "image_bytes": [turned], "truth_bytes": [save(truth, "PNG")]}
    pq.write_table(pa.table(rows), tmp_path / "set.parquet")
    places = {"source": str(tmp_path / "set.parquet"), "output": str(tmp_path / "results")}
    config = {**places, "segmentor": "threshold"}
    assert batchseg.run(batchseg.load_config(overrides=config)).exit_code == 0
    report = batchseg.overlay(
        batchseg.OverlayConfig(results=str(tmp_path / "results"), kind="triptych", format="png")
    )
    assert (report.written, report.problems) == (1, [])
    picture = pixels(tmp_path, "x.png")
    assert picture.shape[1] >= 3 * WIDTH
    top = 18  # the titles: a line of one and a half of the text
    assert np.abs(picture[top : top + HEIGHT, :WIDTH].astype(int) - scene(5)).mean() < 16


def test_void_is_hatched_in_a_run(folder: Path) -> None:
    (folder / "labels.yaml").write_text("ignore_index: 7\nclasses: [dark, bright]\n")
    run(folder, labels=str(folder / "labels.yaml"))
    mask = folder / "results" / "masks" / "a" / "0.png"
    with Image.open(mask) as picture:
        ids = np.array(picture)
    ids[:, :20] = 7
    Image.fromarray(ids).save(mask)
    assert command(str(folder / "results"), "a/0.png", "--format", "png").exit_code == 0
    patch = pixels(folder, "a/0.png")[:HEIGHT, :18].reshape(-1, 3)
    assert (patch == (200, 200, 200)).all(axis=1).any()


@pytest.mark.parametrize(
    ("words", "code", "sentence"),
    [
        (["nowhere"], 1, "holds no results of batchseg"),
        ([], 2, "results: is required"),
        (["results", "a/9.png"], 2, "the results have no image a/9.png"),
        (["results", "--which", "best 3"], 2, "must be all, worst N or sample N"),
        (["results", "--opacity", "2"], 2, "opacity"),
        (["results", "--longest", "3"], 2, "longest"),
    ],
)
def test_what_cannot_be_done_is_one_sentence(
    folder: Path, words: list[str], code: int, sentence: str
) -> None:
    run(folder)
    words = [str(folder / word) if word in ("nowhere", "results") else word for word in words]
    result = command(*words)
    assert result.exit_code == code
    assert sentence in result.output


def test_scores_of_masks_from_elsewhere_have_no_images(folder: Path) -> None:
    (folder / "labels.yaml").write_text("classes: [dark, bright]\n")
    settings = {"masks": "truth", "truth": "truth", "output": "scores", "labels": "labels.yaml"}
    batchseg.evaluate(batchseg.EvaluateConfig(**{key: str(folder / name) for key, name in settings.items()}))
    result = command(str(folder / "scores"))
    assert result.exit_code == 1
    assert "masks from elsewhere" in result.output


def test_a_file_of_settings(folder: Path) -> None:
    run(folder)
    settings = f"results: {folder / 'results'}\nkind: contour\nformat: png\nids: [a/0.png]\n"
    (folder / "overlay.yaml").write_text(settings)
    assert command("--config", str(folder / "overlay.yaml")).exit_code == 0
    assert drawn(folder) == ["a/0.png"]
