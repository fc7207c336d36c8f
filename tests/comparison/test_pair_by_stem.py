"""Images whose ids differ in the extension alone: what `evaluate` calls a.png is a.jpg in a run."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import yaml
from click.testing import CliRunner
from PIL import Image
from written_results import NAMES, Maps, write_results

import batchseg
from batchseg.cli.group import cli
from batchseg.config.compare import CompareConfig


def maps(label: int, truth: int | None = 0) -> Maps:
    predicted = np.full((2, 3), label, np.uint8)
    return predicted, None if truth is None else np.full((2, 3), truth, np.uint8)


def report(old: Path, new: Path, **settings: object) -> batchseg.CompareReport:
    return batchseg.compare(CompareConfig(old=str(old), new=str(new), bootstrap=0, **settings))


def test_by_id_first_then_by_stem_where_one_of_each_side_has_it(tmp_path: Path) -> None:
    old = {
        "a.png": maps(0),
        "x/b.png": maps(0),
        "c.png": maps(0),
        "only_old.png": maps(0),
        "same.png": maps(0),
    }
    new = {"a.jpg": maps(1), "x/b.tif": maps(0), "b.jpg": maps(0), "c.jpg": maps(1), "c.tiff": maps(1)}
    new |= {"same.png": maps(0), "same.jpg": maps(0), ".png": maps(0)}
    found = report(
        write_results(tmp_path / "old", old),
        write_results(tmp_path / "new", new, columns={name: {"source_version": "2"} for name in new}),
    )
    assert (found.both, found.by_stem, found.ambiguous) == (3, 2, 3)
    assert (found.gone.examples, found.came.examples) == (
        ["c.png", "only_old.png"],
        [".png", "b.jpg", "c.jpg", "c.tiff", "same.jpg"],
    )
    assert "paired by stem: 2; their ids differ in the extension alone" in found.notes
    assert any("several images have the same stem: 3" in note for note in found.notes)
    # same.png alone is another version of a file; a mask and its image have none in common
    assert "images of both whose file changed: 1" in found.notes
    assert found.metrics["accuracy"].old == 1.0
    assert found.metrics["accuracy"].new == pytest.approx(2 / 3)


def test_nothing_is_said_where_all_pair_by_id(tmp_path: Path) -> None:
    images = {"a.png": maps(0), "a.jpg": maps(1)}
    found = report(write_results(tmp_path / "old", images), write_results(tmp_path / "new", images))
    assert (found.both, found.by_stem, found.ambiguous) == (2, 0, 0)
    assert not any("stem" in note for note in found.notes)


@pytest.mark.usefixtures("in_tasks")
def test_scores_of_masks_against_a_run(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for index in range(4):
        pixels = rng.integers(0, 256, (6, 8, 3), np.uint8)
        truth = rng.integers(0, 2, (6, 8), np.uint8)
        for folder, name, picture in (
            ("images", "png" if index == 3 else "jpg", pixels),  # that one's mask has its very name
            ("truth", "png", truth),
            ("masks", "png", truth),
        ):
            path = tmp_path / folder / "day" / f"{index}.{name}"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(picture).save(path)
    (tmp_path / "labels.yaml").write_text(yaml.safe_dump({"classes": ["dark", "bright"]}))
    common = ["--labels", str(tmp_path / "labels.yaml"), "--quiet"]
    for words in (
        ["evaluate", str(tmp_path / "masks"), str(tmp_path / "truth"), "--output", str(tmp_path / "scores")],
        ["run", str(tmp_path / "images"), "--truth", str(tmp_path / "truth"), "--model", "threshold",
         "--output", str(tmp_path / "results")],
    ):  # fmt: skip
        assert CliRunner().invoke(cli, [*words, *common]).exit_code == 0
    words = ["compare", str(tmp_path / "scores"), str(tmp_path / "results")]
    shown = CliRunner().invoke(cli, words)
    assert "paired by stem: 3" in " ".join(shown.stdout.split())
    assert "file changed" not in shown.stdout  # a mask is no other version of its image
    assert [line for line in shown.stdout.splitlines() if line != line.rstrip() or len(line) > 100] == []
    told = json.loads(CliRunner().invoke(cli, [*words, "--json"]).stdout)
    assert (told["both"], told["scored"], told["by_stem"]) == (4, 4, 3)
    assert told["metrics"]["accuracy"]["old"] == 1.0
    truths = [np.array(Image.open(tmp_path / "truth" / "day" / f"{index}.png")) for index in range(4)]
    masks = [
        np.array(Image.open(tmp_path / "results" / "masks" / "day" / f"{index}.png")) for index in range(4)
    ]
    assert told["metrics"]["accuracy"]["new"] == pytest.approx(np.mean(np.array(truths) == np.array(masks)))


def test_a_drop_of_one_class_has_a_limit_of_its_own(tmp_path: Path) -> None:
    road, tree = NAMES[:2]
    before = write_results(tmp_path / "old", {"a": maps(0, 0), "b": maps(1, 1)})
    after = write_results(tmp_path / "new", {"a": maps(0, 0), "b": maps(0, 1)})
    one = report(before, after, max_class_drop={f"iou.{tree}": 0.9})
    assert one.gates == [f"iou of {tree} fell from 1.0000 to 0.0000; its max_class_drop is 0.9"]
    allowed = report(before, after, max_class_drop={"iou": 0.6, f"iou.{tree}": 1.0})
    assert allowed.gates == []  # road fell by 0.5, and tree has its own limit
    nested = batchseg.read_config(
        CompareConfig, None, [f"max_class_drop.recall.{tree}=0.5"], {"old": str(before), "new": str(after)}
    )
    assert nested.max_class_drop == {f"recall.{tree}": 0.5}
    result = CliRunner().invoke(
        cli, ["compare", str(before), str(after), "--max-class-drop", "iou.treee=0.1", "--quiet"]
    )
    assert (result.exit_code, f"did you mean {tree!r}?" in result.stderr) == (2, True)
    absent = report(before, after, max_class_drop={"iou.sky": 0.1})
    assert "cannot be compared" in absent.gates[0]
    assert road
