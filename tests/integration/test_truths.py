"""Ground truths as people have them: read as they are meant, or refused with a sentence; never guessed."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from click.testing import CliRunner
from image_files import tiff
from numpy.typing import NDArray
from PIL import Image
from sklearn.metrics import f1_score

import batchseg
from batchseg.cli.group import cli
from batchseg.errors import LabelMapError, SourceError

pytestmark = [pytest.mark.usefixtures("in_tasks")]

IMAGES, SIZE = 6, (20, 30)
BLACK_WHITE = {"classes": [{"name": "ground", "colour": "#000000"}, {"name": "roof", "colour": "#ffffff"}]}
Pixels = NDArray[np.uint8]


def truth_of(index: int) -> Pixels:
    """0 and 1, both in every picture."""
    truth_HW = np.random.default_rng(index).integers(0, 2, SIZE, dtype=np.uint8)
    truth_HW[0, :2] = 0, 1
    return truth_HW


def image_of(index: int) -> Pixels:
    """What the threshold model sees as the truth, but for a tenth of the pixels."""
    wrong = np.random.default_rng(100 + index).random(SIZE) < 0.1
    return np.where(wrong, 1 - truth_of(index), truth_of(index)) * np.uint8(200)


def encoded(pixels: Any, kind: str = "PNG", **options: Any) -> bytes:
    file = io.BytesIO()
    picture = pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels)
    picture.save(file, kind, **options)
    return file.getvalue()


def scene(folder: Path, encode: Callable[[int, Pixels], bytes]) -> Path:
    """Images and truths in one manifest, which takes any encoding of the truth."""
    rows = [
        {
            "id": str(index),
            "image_bytes": encoded(image_of(index)),
            "truth_bytes": encode(index, truth_of(index)),
        }
        for index in range(IMAGES)
    ]
    pq.write_table(pa.Table.from_pylist(rows), folder / "manifest.parquet")
    return folder


def rows_of(folder: Path) -> list[dict[str, Any]]:
    return duckdb.sql(f"select * from '{folder}/out/images/*.parquet'").to_arrow_table().to_pylist()


def labels(folder: Path, content: dict[str, Any]) -> str:
    (folder / "labels.yaml").write_text(yaml.safe_dump(content))
    return str(folder / "labels.yaml")


def job(folder: Path, **more: Any) -> batchseg.RunConfig:
    parts = {
        "source": str(folder / "manifest.parquet"),
        "segmentor": "threshold",
        "output": str(folder / "out"),
    }
    return batchseg.load_config(overrides={**parts, **more})


def run(folder: Path, **more: Any) -> batchseg.RunResult:
    return batchseg.run(job(folder, **more))


def assert_scored_right(folder: Path, result: batchseg.RunResult, without: tuple[int, ...] = ()) -> None:
    """F1 of every image and of all, by scikit-learn."""
    images = [index for index in range(IMAGES) if index not in without]
    truths = [truth_of(index).ravel() for index in images]
    found = [(image_of(index) >= 128).astype(np.uint8).ravel() for index in images]
    rows = {row["id"]: row for row in rows_of(folder)}
    for index, truth, predicted in zip(images, truths, found, strict=True):
        row = rows[str(index)]
        assert row["truth_status"] == "ok", row["error"]
        assert row["f1_macro"] == pytest.approx(f1_score(truth, predicted, average="macro"), abs=1e-12)
    expected = f1_score(np.concatenate(truths), np.concatenate(found), average="macro")
    assert result.metrics["f1_macro"] == pytest.approx(expected, abs=1e-12)


def rgb(truth_HW: Pixels, colours: list[tuple[int, int, int]]) -> Pixels:
    return np.array(colours, np.uint8)[truth_HW]


def test_grey_of_0_and_255_for_two_classes_is_refused_with_the_way_out(tmp_path: Path) -> None:
    scene(tmp_path, lambda _, truth: encoded(truth * 255))

    with pytest.raises(
        LabelMapError, match=r"hold 0 and 255 alone.*`truth_ids: \[255\]`.*--accept binary_truth"
    ):
        run(tmp_path)

    assert not (tmp_path / "out" / "masks").exists()
    lesion = {"classes": [{"name": "ground", "truth_ids": [0]}, {"name": "roof", "truth_ids": [255]}]}
    assert_scored_right(tmp_path, run(tmp_path, labels=labels(tmp_path, lesion)))


COLOURED = {
    "rgb": lambda truth: np.dstack([truth * 255] * 3),
    "rgba": lambda truth: np.dstack([truth * 255] * 3 + [np.full(SIZE, 255, np.uint8)]),
    "grey alpha": lambda truth: Image.merge(
        "LA", [Image.fromarray(truth * 255), Image.new("L", SIZE[::-1], 9)]
    ),
    "16 bits": lambda truth: truth.astype(np.uint16) * 255,
}


@pytest.mark.parametrize("name", COLOURED)
def test_so_it_is_in_other_files_whose_channels_are_ids(tmp_path: Path, name: str) -> None:
    scene(tmp_path, lambda _, truth: encoded(COLOURED[name](truth)))
    with pytest.raises(LabelMapError, match=r"hold 0 and 255 alone"):
        run(tmp_path)


def test_grey_of_0_and_255_beside_files_by_colour_is_refused(tmp_path: Path) -> None:
    scene(tmp_path, lambda index, truth: encoded(truth * 255 if index % 2 else np.dstack([truth * 255] * 3)))
    path = labels(tmp_path, BLACK_WHITE)
    with pytest.raises(LabelMapError, match=r"hold 0 and 255 alone"):
        run(tmp_path, labels=path)
    assert_scored_right(tmp_path, run(tmp_path, labels=path, truth={"values": "colours"}))


def test_objects_of_255_that_no_sample_met_are_said_after_the_run(tmp_path: Path) -> None:
    """The sample of 16 is spread from the first to the last of 40, and so misses the second."""
    table = [
        {
            "id": f"{index:02}",
            "image_bytes": encoded(image_of(index)),
            "truth_bytes": encoded(truth_of(index) * 255 if index == 1 else np.zeros(SIZE, np.uint8)),
        }
        for index in range(40)
    ]
    pq.write_table(pa.Table.from_pylist(table), tmp_path / "manifest.parquet")

    result = run(tmp_path)

    ignored = int(truth_of(1).sum())
    assert result.warnings.keys() == {"binary_truth"}
    assert f"no pixel of the ground truth is 'bright', and {ignored:,} are" in result.warnings["binary_truth"]
    assert run(tmp_path, accept=["binary_truth"]).warnings == {}


def test_a_guard_that_is_accepted_is_recorded(tmp_path: Path) -> None:
    scene(tmp_path, lambda _, truth: encoded(truth * 255))

    result = run(tmp_path, accept=["binary_truth"])

    assert result.record["config"]["accept"] == ["binary_truth"]
    assert {"absent_class"} <= result.warnings.keys() <= {"absent_class", "ignored_truth"}
    assert json.loads((tmp_path / "out" / "run.json").read_text())["warnings"] == result.warnings


def test_white_in_rgb_is_the_class_that_is_white(tmp_path: Path) -> None:
    scene(tmp_path, lambda _, truth: encoded(np.dstack([truth * 255] * 3)))
    result = run(tmp_path, labels=labels(tmp_path, BLACK_WHITE))
    assert_scored_right(tmp_path, result)
    assert result.record["truth_read"] == "RGB by colour"


@pytest.mark.parametrize("grey", [(255, 255, 255), (128, 128, 128), (1, 1, 1)])
def test_a_tile_of_one_grey_is_read_as_all_others_are(tmp_path: Path, grey: tuple[int, int, int]) -> None:
    """Its first channel alone would be an id, and another one."""
    colours = [(0, 90, 0), grey]
    tiles = {2: np.ones(SIZE, np.uint8)}
    scene(tmp_path, lambda index, truth: encoded(rgb(tiles.get(index, truth), colours)))
    named = {"classes": [{"name": "ground", "colour": [0, 90, 0]}, {"name": "roof", "colour": list(grey)}]}

    result = run(tmp_path, labels=labels(tmp_path, named))

    row = next(row for row in rows_of(tmp_path) if row["id"] == "2")
    predicted = (image_of(2) >= 128).mean()
    assert row["accuracy"] == pytest.approx(predicted) and row["truth_status"] == "ok"
    assert result.warnings == {}


def quantised(truth_HW: Pixels, colours: list[tuple[int, int, int]], order: list[int]) -> bytes:
    """A palette file whose indices are not in the order of the classes."""
    picture = Image.fromarray(np.argsort(order).astype(np.uint8)[truth_HW], "P")
    picture.putpalette([value for index in order for value in colours[index]])
    return encoded(picture)


def test_a_palette_in_another_order_than_the_classes_is_not_guessed(tmp_path: Path) -> None:
    colours = [(0, 0, 0), (255, 255, 255)]
    scene(tmp_path, lambda _, truth: quantised(truth, colours, [1, 0]))
    path = labels(tmp_path, BLACK_WHITE)

    with pytest.raises(SourceError, match="its palette has the colour of 'roof' at index 0"):
        run(tmp_path, labels=path)

    assert_scored_right(tmp_path, run(tmp_path, labels=path, truth={"values": "colours"}))


@pytest.mark.parametrize("values", [None, "ids", "colours"])
def test_a_palette_in_the_order_of_the_classes_is_read_either_way(tmp_path: Path, values: str | None) -> None:
    colours = [(0, 0, 0), (255, 255, 255)]
    scene(tmp_path, lambda _, truth: quantised(truth, colours, [0, 1]))
    result = run(tmp_path, labels=labels(tmp_path, BLACK_WHITE), truth={"values": values})
    assert_scored_right(tmp_path, result)


def test_void_colours_and_several_colours_a_class(tmp_path: Path) -> None:
    """As in CamVid: a colour that counts nowhere, and two colours of one class."""
    colours = [(0, 0, 0), (255, 0, 0), (0, 0, 255), (10, 20, 30)]

    def encode(index: int, truth: Pixels) -> bytes:
        drawn = truth.copy()
        drawn[::2][truth[::2] == 1] = 2
        drawn[-1] = 3
        return encoded(rgb(drawn, colours))

    scene(tmp_path, encode)
    camvid = {
        "ignored_colours": ["#0a141e"],
        "classes": [
            {"name": "ground", "colour": "#000000"},
            {"name": "roof", "colour": ["#ff0000", [0, 0, 255]]},
        ],
    }

    result = run(tmp_path, labels=labels(tmp_path, camvid))

    truths = [truth_of(index)[:-1].ravel() for index in range(IMAGES)]
    found = [(image_of(index)[:-1] >= 128).astype(int).ravel() for index in range(IMAGES)]
    expected = f1_score(np.concatenate(truths), np.concatenate(found), average="macro")
    assert result.metrics["f1_macro"] == pytest.approx(expected, abs=1e-12)
    assert result.record["truth_pixels"] == IMAGES * (SIZE[0] - 1) * SIZE[1]


def test_jpeg_truth_needs_a_threshold_and_says_what_lay_between(tmp_path: Path) -> None:
    def encode(index: int, truth: Pixels) -> bytes:
        blocks = np.kron(truth[:3, :4], np.ones((8, 8), np.uint8))[: SIZE[0], : SIZE[1]]
        return encoded(blocks * 255, "JPEG", quality=40)

    scene(tmp_path, encode)
    with pytest.raises(SourceError, match=r"JPEG compression changes pixel values.*truth.threshold: 128"):
        run(tmp_path)

    result = run(tmp_path, truth={"threshold": 128})

    decoded = [np.array(Image.open(io.BytesIO(encode(index, truth_of(index))))) for index in range(IMAGES)]
    found = np.concatenate([(image_of(index) >= 128).astype(int).ravel() for index in range(IMAGES)])
    truths = np.concatenate([(grey >= 128).astype(int).ravel() for grey in decoded])
    assert result.metrics["f1_macro"] == pytest.approx(f1_score(truths, found, average="macro"), abs=1e-12)
    between = sum(int(((grey > 32) & (grey < 223)).sum()) for grey in decoded)
    assert result.record["truth_between"] == between


def test_a_threshold_needs_two_classes(tmp_path: Path) -> None:
    scene(tmp_path, lambda _, truth: encoded(truth))
    with pytest.raises(LabelMapError, match=r"truth.threshold makes two classes, and the label map has 3"):
        run(tmp_path, segmentor={"kind": "threshold", "levels": [100, 200]}, truth={"threshold": 9})


def alpha_alone(_: int, truth: Pixels) -> bytes:
    red = np.dstack([np.full(SIZE, value, np.uint8) for value in (255, 0, 0)])
    return encoded(np.dstack([red, truth * 255]))


def pages(_: int, truth: Pixels) -> bytes:
    first, second = (Image.fromarray((truth == value).astype(np.uint8)) for value in (0, 1))
    return encoded(first, "TIFF", save_all=True, append_images=[second])


def exif_image(folder: Path, orientation: int, truth: Callable[[Pixels], Pixels]) -> Path:
    """JPEG photos that a camera turned, beside truths in PNG."""
    for index in range(IMAGES):
        exif = Image.Exif()
        exif[0x0112] = orientation
        for name, data in (
            ("images", encoded(image_of(index), "JPEG", exif=exif, quality=95)),
            ("truth", encoded(truth(truth_of(index)))),
        ):
            (folder / name).mkdir(exist_ok=True)
            (folder / name / f"{index}.{'jpg' if name == 'images' else 'png'}").write_bytes(data)
    return folder


def half(_: int, truth: Pixels) -> bytes:
    return encoded(truth[::2, ::2])


def turned(_: int, truth: Pixels) -> bytes:
    return encoded(np.ascontiguousarray(truth.T))


UNUSABLE = {
    "alpha": (alpha_alone, "unreadable", "only its transparency"),
    "pages": (pages, "unreadable", "it has 2 pages"),
    "half": (half, "mismatch", "its truth 15 x 10"),
    "turned": (turned, "mismatch", "its EXIF orientation may turn it"),
}


@pytest.mark.parametrize("name", UNUSABLE)
def test_truths_that_cannot_be_used_are_refused_where_most_are_so(tmp_path: Path, name: str) -> None:
    encode, status, words = UNUSABLE[name]
    scene(tmp_path, encode)
    with pytest.raises(SourceError, match=rf"6 of 6 sampled ground truths cannot be used.*{words}"):
        run(tmp_path)
    assert not (tmp_path / "out" / "masks").exists()
    assert run(tmp_path, accept=["failing_truth"]).statuses == {f"truth_{status}": IMAGES}


@pytest.mark.parametrize("name", UNUSABLE)
def test_a_few_of_them_are_rows_with_a_status(tmp_path: Path, name: str) -> None:
    encode, status, words = UNUSABLE[name]
    scene(tmp_path, lambda index, truth: encode(index, truth) if index == 3 else encoded(truth))

    result = run(tmp_path)

    row = next(row for row in rows_of(tmp_path) if row["id"] == "3")
    assert (row["status"], row["truth_status"]) == ("ok", status) and words in row["error"]
    assert_scored_right(tmp_path, result, without=(3,))


def test_a_constant_factor_between_truths_and_images_is_named(tmp_path: Path) -> None:
    scene(tmp_path, half)
    with pytest.raises(SourceError, match=r"each is 0.5 times as large as its image"):
        run(tmp_path)


def test_tiff_whose_white_is_0_is_taken_as_stored(tmp_path: Path) -> None:
    """In every depth there is: 0 and 1 fit into each."""
    scene(tmp_path, lambda index, truth: tiff(truth, (1, 2, 4, 8)[index % 4], photometric=0))
    assert_scored_right(tmp_path, run(tmp_path))


def test_rgb_files_beyond_the_sample_are_not_guessed(tmp_path: Path) -> None:
    """The label map names colours, so they might be either."""
    scene(tmp_path, lambda _, truth: encoded(truth))
    path = labels(tmp_path, BLACK_WHITE)
    run(tmp_path, labels=path)
    table = pq.read_table(tmp_path / "manifest.parquet").to_pylist()
    more = [{**table[index % IMAGES], "id": f"more {index}"} for index in range(40)]
    more[1]["truth_bytes"] = encoded(np.dstack([truth_of(1)] * 3))
    pq.write_table(pa.Table.from_pylist([*table, *more]), tmp_path / "manifest.parquet")

    result = run(tmp_path, labels=path)

    row = next(row for row in rows_of(tmp_path) if row["id"] == "more 1")
    assert row["truth_status"] == "unreadable" and "truth.values" in row["error"]
    assert result.statuses == {"ok": 39, "truth_unreadable": 1}
    settled = run(tmp_path, labels=path, truth={"values": "ids"})
    assert settled.statuses == {"ok": IMAGES + 40} and settled.segmented == 0


def test_an_unquoted_colour_is_a_comment_and_said_so(tmp_path: Path) -> None:
    (tmp_path / "labels.yaml").write_text("classes:\n  - name: a\n    colour: #d62728\n  - b\n")
    with pytest.raises(LabelMapError, match="colour: is empty: in YAML a # begins a comment"):
        batchseg.load_label_map(str(tmp_path / "labels.yaml"))


@pytest.mark.parametrize(
    "text",
    [
        "classes:\n  - {name: a, colour: #d62728}\n  - b\n",
        "classes:\n  - name: a\n    colour: [#d62728, #000000]\n  - b\n",
        "classes:\n  - name: a\n    colour:\n      - #d62728\n  - b\n",
        "classes: [a, b]\nignored_colours: #000000\n",
        "classes: [a, b]\nignored_colours:\n  - #000000\n",
        "classes: [a, b]\nignored_colours: [#000000]\n",
    ],
)
def test_so_it_is_wherever_a_colour_may_stand(tmp_path: Path, text: str) -> None:
    (tmp_path / "labels.yaml").write_text(text)
    with pytest.raises(LabelMapError, match="in YAML a # begins a comment, so put the colour in quotes"):
        batchseg.load_label_map(str(tmp_path / "labels.yaml"))


@pytest.mark.parametrize("colour", [0xD62728, 12.5, {"r": 1}])
def test_what_is_no_colour_is_told_what_one_is(tmp_path: Path, colour: Any) -> None:
    path = labels(tmp_path, {"classes": [{"name": "a", "colour": colour}, "b"]})
    with pytest.raises(LabelMapError, match=r"must be \[r, g, b\] or '#rrggbb'"):
        batchseg.load_label_map(path)


def test_one_ignored_colour_needs_no_list(tmp_path: Path) -> None:
    one, several = (
        batchseg.load_label_map(labels(tmp_path, {"classes": ["a", "b"], "ignored_colours": given}))
        for given in ("#0a141e", ["#0a141e"])
    )
    assert one == several and one.read_colours == {(10, 20, 30): 255}


def test_predictions_of_one_class_are_said(tmp_path: Path) -> None:
    scene(tmp_path, lambda _, truth: encoded(truth))
    result = run(tmp_path, segmentor={"kind": "threshold", "levels": [255]})
    assert result.exit_code == 0 and list(result.warnings) == ["one_class"]
    assert "every pixel of all 6 images is predicted as" in result.warnings["one_class"]
    assert (
        run(tmp_path, accept=["one_class"], segmentor={"kind": "threshold", "levels": [255]}).warnings == {}
    )


def test_truth_that_is_mostly_ignored_is_said_on_the_screen(tmp_path: Path) -> None:
    def encode(_: int, truth: Pixels) -> bytes:
        truth = truth.copy()
        truth[:15] = 255
        return encoded(truth)

    scene(tmp_path, encode)
    words = [str(tmp_path / "manifest.parquet"), "--model", "threshold", "--output", str(tmp_path / "out")]

    shown = CliRunner().invoke(cli, ["run", *words])
    assert shown.exit_code == 0
    assert shown.stderr.count("warning: 75% of the") == 1 and "--accept ignored_truth" in shown.stderr
    quiet = CliRunner().invoke(cli, ["run", *words, "--accept", "ignored_truth"])
    assert quiet.exit_code == 0 and "warning" not in quiet.stderr


def test_an_unknown_guard_is_wrong_usage(tmp_path: Path) -> None:
    shown = CliRunner().invoke(cli, ["run", str(tmp_path), "--model", "threshold", "--accept", "everything"])
    assert shown.exit_code == 2 and "unknown guard 'everything'; available: binary_truth" in shown.stderr


def test_doctor_and_dry_run_say_the_same(tmp_path: Path) -> None:
    scene(tmp_path, lambda _, truth: encoded(truth * 255))
    words = [str(tmp_path / "manifest.parquet"), "--model", "threshold"]
    looked = CliRunner().invoke(cli, ["doctor", *words, "--json"])
    report = json.loads(looked.stdout)
    assert looked.exit_code == 1 and report["counts"] == {"binary_truth": 1}
    tried = CliRunner().invoke(cli, ["run", *words, "--output", str(tmp_path / "out"), "--dry-run"])
    assert tried.exit_code == 2 and "truth_ids: [255]" in tried.stderr
    accepted = CliRunner().invoke(cli, ["doctor", *words, "--json", "--accept", "binary_truth"])
    assert accepted.exit_code == 0


def folder_of(folder: Path, masks: Callable[[Pixels], Pixels]) -> Path:
    folder.mkdir()
    for index in range(IMAGES):
        Image.fromarray(masks(truth_of(index))).save(folder / f"{index}.png")
    return folder


def test_evaluate_does_not_take_255_for_abstaining(tmp_path: Path) -> None:
    """Masks equal to their truth once scored 0.69."""
    masks, truth = (folder_of(tmp_path / name, lambda ids: ids * 255) for name in ("masks", "truth"))
    lesion = {"classes": [{"name": "ground", "truth_ids": [0]}, {"name": "roof", "truth_ids": [255]}]}
    words = [str(masks), str(truth), "--labels", labels(tmp_path, lesion), "--output", str(tmp_path / "out")]

    refused = CliRunner().invoke(cli, ["evaluate", *words])
    scored = CliRunner().invoke(cli, ["evaluate", *words, "--mask-ids", "truth", "--json"])

    assert refused.exit_code == 2 and "the masks hold 0 and 255 alone" in refused.stderr
    assert "--mask-ids truth" in refused.stderr
    assert scored.exit_code == 0 and json.loads(scored.stdout)["metrics"]["f1_macro"] == 1.0


def test_evaluate_says_that_few_masks_abstain_where_they_found_something(tmp_path: Path) -> None:
    for name, factor in (("masks", 255), ("truth", 1)):
        (tmp_path / name).mkdir()
        for index in range(40):
            pixels = truth_of(index) if index == 1 else np.zeros(SIZE, np.uint8)
            Image.fromarray(pixels * np.uint8(factor)).save(tmp_path / name / f"{index:02}.png")
    two = labels(tmp_path, {"classes": ["ground", "roof"]})
    words = [
        str(tmp_path / "masks"),
        str(tmp_path / "truth"),
        "--labels",
        two,
        "--output",
        str(tmp_path / "out"),
    ]
    shown = CliRunner().invoke(cli, ["evaluate", *words, "--json"])
    assert shown.exit_code == 0
    assert "no pixel of the masks is 'roof'" in json.loads(shown.stdout)["warnings"]["binary_truth"]


def test_evaluate_reads_lossy_masks_of_both_sides_by_a_threshold(tmp_path: Path) -> None:
    masks, truth = (folder_of(tmp_path / name, lambda ids: ids * 240 + 5) for name in ("masks", "truth"))
    two = labels(tmp_path, {"classes": ["ground", "roof"]})
    words = [
        str(masks),
        str(truth),
        "--labels",
        two,
        "--output",
        str(tmp_path / "out"),
        "--mask-ids",
        "truth",
    ]
    scored = CliRunner().invoke(cli, ["evaluate", *words, "--truth-threshold", "128", "--json"])
    assert scored.exit_code == 0 and json.loads(scored.stdout)["metrics"]["f1_macro"] == 1.0


@pytest.mark.parametrize("orientation", [3, 6])
def test_truths_drawn_on_the_pixels_as_stored(tmp_path: Path, orientation: int) -> None:
    exif_image(tmp_path, orientation, lambda ids: ids)
    source = {"path": str(tmp_path / "images"), "truth": str(tmp_path / "truth")}
    if orientation == 6:
        with pytest.raises(SourceError, match=r"its EXIF orientation is 6.*source.orientation: stored"):
            run(tmp_path, source=source)
    else:
        assert list(run(tmp_path, source=source).warnings) == ["turned_images"]
    source["orientation"] = "stored"
    result = run(tmp_path, source=source, recompute=True)
    truths = np.concatenate([truth_of(index).ravel() for index in range(IMAGES)])
    stored = [np.array(Image.open(tmp_path / "images" / f"{index}.jpg")) for index in range(IMAGES)]
    found = np.concatenate([(image >= 128).astype(int).ravel() for image in stored])
    assert result.metrics["f1_macro"] == pytest.approx(f1_score(truths, found, average="macro"), abs=1e-12)
    assert result.warnings == {}


def test_truths_turned_with_their_images_raise_no_doubt(tmp_path: Path) -> None:
    exif_image(tmp_path, 6, lambda ids: np.ascontiguousarray(np.rot90(ids, -1)))
    result = run(tmp_path, source={"path": str(tmp_path / "images"), "truth": str(tmp_path / "truth")})
    assert result.statuses == {"ok": IMAGES} and result.warnings == {}


def test_dark_16_bit_images_are_said(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    for index in range(4):
        Image.fromarray(image_of(index).astype(np.uint16) * 20).save(tmp_path / "images" / f"{index}.png")
    result = run(tmp_path, source=str(tmp_path / "images"))
    assert "source.scale: 4095" in result.warnings["dark_images"]
    for index in range(4, 8):
        Image.fromarray(image_of(index)).save(tmp_path / "images" / f"{index}.png")
    assert (
        batchseg.dry_run(job(tmp_path, source=str(tmp_path / "images")))["warnings"] == {}
    )  # of what is to be done
    assert run(tmp_path, source=str(tmp_path / "images")).warnings == {}
    mended = run(tmp_path, source={"path": str(tmp_path / "images"), "scale": 4095}, recompute=True)
    assert mended.warnings == {}
