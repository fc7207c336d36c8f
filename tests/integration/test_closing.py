"""What a run says at its end, of the whole results folder: classes, the worst images, gates of a class."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import yaml
from command_line import command
from PIL import Image

import batchseg
from batchseg.errors import ConfigError

pytestmark = [pytest.mark.usefixtures("in_tasks")]

CLASSES = ["sky", "a. lesion, old", "mean_iou", "never"]
LONG = "x" * 90 + "/" + "y" * 90


def save(path: Path, pixels: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)


@pytest.fixture
def scene(tmp_path: Path) -> Path:
    """Masks of four classes, the last of which nowhere occurs: 0 below 60, 1 below 120, 2 above.

    Image I has its first I pixels wrong, so that its mean IoU falls with I.
    """
    for index in range(12):
        pixels = np.repeat(np.array([30, 90, 200], np.uint8), 40).reshape(12, 10)
        truth = np.repeat(np.array([0, 1, 2], np.uint8), 40)
        truth[:index] = 1
        name = f"{LONG}/{index:02}.png" if index == 11 else f"{index:02}.png"
        save(tmp_path / "images" / name, pixels)
        save(tmp_path / "truth" / name, truth.reshape(12, 10))
    (tmp_path / "labels.yaml").write_text(yaml.safe_dump({"classes": CLASSES}))
    return tmp_path


def words(scene: Path, *more: object) -> list[object]:
    job = ["run", scene / "images", "--truth", scene / "truth", "--labels", scene / "labels.yaml"]
    return [*job, "--model", "threshold", "--set", "segmentor.levels=[60, 120, 250]",
            "--output", scene / "results", *more]  # fmt: skip


def figures() -> dict[str, dict[str, float]]:
    """Counted by hand: of class 0 there are 40 predicted in each image, of which image I has I wrong."""
    wrong = sum(range(12))
    sky, lesion = 12 * 40 - wrong, 12 * 40
    return {
        "sky": {"iou": sky / (sky + wrong), "precision": sky / (sky + wrong), "recall": 1.0, "support": sky},
        "a. lesion, old": {
            "iou": lesion / (lesion + wrong),
            "precision": 1.0,
            "recall": lesion / (lesion + wrong),
            "support": lesion + wrong,
        },
    }


def test_classes_and_the_worst_images_are_those_of_the_whole_folder(scene: Path) -> None:
    first = json.loads(command(*words(scene, "--json", "--include", "*/*/11.png")).stdout)
    assert [image["id"] for image in first["worst"]] == [f"{LONG}/11.png"]
    record = json.loads(command(*words(scene, "--json")).stdout)
    again = json.loads(command(*words(scene, "--json")).stdout)
    assert (record["images"]["done_before"], again["images"]["done_before"]) == (1, 12)
    for told in (record, again):  # with nothing to do as well
        assert [image["id"] for image in told["worst"]] == [
            f"{LONG}/11.png",
            *(f"{n:02}.png" for n in range(10, 1, -1)),
        ]
        assert {image["status"] for image in told["worst"]} == {"ok"}
        sky, lesion = 29 / 40, 40 / 51  # of the image with eleven pixels wrong; the third class is right
        assert told["worst"][0]["mean_iou"] == pytest.approx((sky + lesion + 1) / 3, abs=1e-12)
        named = {row["class_name"]: row for row in told["classes"]}
        assert list(named) == CLASSES
        for name, expected in figures().items():
            assert {key: named[name][key] for key in expected} == pytest.approx(expected, abs=1e-12)
        assert (named["never"]["iou"], named["never"]["support"]) == (None, 0)
    result = batchseg.run(
        batchseg.load_config(
            overrides={
                "source": {"path": str(scene / "images"), "truth": str(scene / "truth")},
                "segmentor": {"kind": "threshold", "levels": [60, 120, 250]},
                "labels": str(scene / "labels.yaml"),
                "output": str(scene / "results"),
            }
        )
    )
    assert result.worst == [(image["mean_iou"], image["id"]) for image in record["worst"]]
    assert result.classes == record["classes"]


@pytest.mark.parametrize("again", [False, True], ids=["first", "nothing to do"])
def test_every_line_reads_at_100_columns_and_none_ends_in_blanks(scene: Path, again: bool) -> None:
    (scene / "images" / f"{'z' * 200}.png").write_bytes(b"no image")
    for _ in range(1 + again):
        result = command(*words(scene, "--max-failed", 1))
    lines = result.stderr.splitlines()
    assert result.exit_code == 0, result.output
    assert [line for line in lines if line != line.rstrip() or len(line) > 100] == []
    (lesion,) = (line for line in lines if line.startswith("a. lesion, old"))
    assert lesion.split()[3:] == ["0.8791", "1.0000", "0.8791", "0.9357", "546"]
    worst = lines[1 + next(index for index, line in enumerate(lines) if line.startswith("worst images"))]
    assert worst.startswith("xxxx")
    assert worst.split()[-2:] == ["0.8364", "ok"]
    assert "…" in worst
    assert worst.split()[0].endswith("/11.png")
    assert str(scene / "results") in "".join(line.strip() for line in lines[-3:])


def test_of_images_that_are_equally_bad_the_first_are_named(scene: Path) -> None:
    for path in (scene / "truth").rglob("*.png"):
        save(path, np.zeros((12, 10), np.uint8))
    record = json.loads(command(*words(scene, "--json")).stdout)
    assert len({image["mean_iou"] for image in record["worst"]}) == 1
    assert [image["id"] for image in record["worst"]] == [f"{n:02}.png" for n in range(10)]


def test_images_without_a_score_are_not_among_the_worst(scene: Path) -> None:
    for n in range(9):
        (scene / "truth" / f"{n:02}.png").unlink()
    record = json.loads(command(*words(scene, "--json")).stdout)
    assert [image["id"] for image in record["worst"]] == [f"{LONG}/11.png", "10.png", "09.png"]


def test_of_many_classes_the_twenty_worst_are_shown(tmp_path: Path) -> None:
    grey = np.arange(24, dtype=np.uint8).reshape(4, 6)
    truth = grey.copy()
    truth[3, 5] = 22  # classes 22 and 23: IoU 1/2 and 0
    save(tmp_path / "images" / "a.png", grey)
    save(tmp_path / "truth" / "a.png", truth)
    names = [f"{index:02} {'long ' * 30}" for index in range(24)]
    (tmp_path / "labels.yaml").write_text(yaml.safe_dump({"classes": names}))
    levels = list(range(1, 24))
    result = command(
        "run", tmp_path / "images", "--truth", tmp_path / "truth", "--labels", tmp_path / "labels.yaml",
        "--model", "threshold", "--set", f"segmentor.levels={levels}", "--output", tmp_path / "results",
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    lines = result.stderr.splitlines()
    start = next(index for index, line in enumerate(lines) if line.startswith("class "))
    assert [line[:2] for line in lines[start + 1 : start + 21]] == [
        "23",
        "22",
        *(f"{n:02}" for n in range(18)),
    ]
    assert lines[start + 21].startswith("and 4 more")
    assert max(map(len, lines)) <= 100


@pytest.mark.parametrize(
    ("gate", "code", "sentence"),
    [
        ("iou.sky=0.86", 0, ""),
        ("iou.sky=0.87", 4, "iou.sky is 0.8625; its minimum is 0.87"),
        ("dice.a. lesion, old=0.94", 4, "dice.a. lesion, old is 0.9357; its minimum is 0.94"),
        ("recall.never=0.1", 4, "recall.never is unknown: no ground truth has a pixel of never"),
        ("mean_iou=0.1", 0, ""),
    ],
)
def test_a_gate_of_one_class(scene: Path, gate: str, code: int, sentence: str) -> None:
    result = command(*words(scene, "--quiet", "--min", gate))
    assert (result.exit_code, sentence in result.stderr) == (code, True), result.output
    name, _, value = gate.partition("=")
    (scene / "job.yaml").write_text(yaml.safe_dump({"gates": {"minimum": {name: float(value)}}}))
    assert command(*words(scene, "--quiet", "--config", scene / "job.yaml")).exit_code == code
    if "old" not in name:
        assert command(*words(scene, "--quiet", "--set", f"gates.minimum.{gate}")).exit_code == code


def test_an_unknown_class_is_refused_before_anything_is_computed(scene: Path) -> None:
    result = command(*words(scene, "--min", "iou.Skye=0.5"))
    assert result.exit_code == 2
    assert (
        "there is no class 'Skye'; did you mean 'sky'? The classes are: sky, a. lesion, old" in result.stderr
    )
    assert not (scene / "results").exists()
    assert command(*words(scene, "--min", "iou.Skye=0.5", "--dry-run")).exit_code == 2
    unknown = command(*words(scene, "--min", "beauty.sky=0.5"))
    assert (unknown.exit_code, "iou.CLASS" in unknown.stderr) == (2, True)
    config = {
        "masks": str(scene / "truth"), "truth": str(scene / "truth"), "output": str(scene / "scores"),
        "labels": str(scene / "labels.yaml"), "gates": {"minimum": {"f1": {"skye": 0.5}}},
    }  # fmt: skip
    with pytest.raises(ConfigError, match="no class 'skye'; did you mean 'sky'"):
        batchseg.evaluate(batchseg.read_config(batchseg.EvaluateConfig, overrides=config))
    assert not (scene / "scores").exists()
