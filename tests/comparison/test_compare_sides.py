"""Compare: what the two sides may be, which images are held against each other, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result
from written_results import NAMES, Maps, finish, write_part, write_results

import batchseg
from batchseg.cli.group import cli
from batchseg.comparison.differences import Difference
from batchseg.errors import LabelMapError, OutputError
from batchseg.results.folder import Results

FIRST, SECOND = "20260101T000000-aaaaaa", "20260102T000000-bbbbbb"


def flat(predicted: int, truth: int | None = None) -> Maps:
    """Four pixels of one class."""
    shape = (2, 2)
    return np.full(shape, predicted), None if truth is None else np.full(shape, truth)


def compare(old: Path, new: Path, **more: Any) -> batchseg.CompareReport:
    return batchseg.compare(batchseg.CompareConfig(old=str(old), new=str(new), bootstrap=20, **more))


def command(*words: object) -> Result:
    return CliRunner().invoke(cli, ["compare", *map(str, words)])


@pytest.fixture
def old(tmp_path: Path) -> Path:
    images = {f"{name}.png": flat(index % 3, index % 3) for index, name in enumerate("abcdef")}
    return write_results(tmp_path / "old", images, FIRST)


def test_images_that_came_and_went(old: Path, tmp_path: Path) -> None:
    images = {f"{name}.png": flat(0, index) for index, name in enumerate("defxy")}
    report = compare(old, write_results(tmp_path / "new", images), listed=2)
    assert (report.both, report.scored) == (3, 3)
    assert (report.came.count, report.came.examples) == (2, ["x.png", "y.png"])
    assert (report.gone.count, report.gone.examples) == (3, ["a.png", "b.png"])
    assert report.metrics["accuracy"].old == 1.0
    assert report.metrics["accuracy"].new == pytest.approx(1 / 3)  # of d, e and f alone
    both, everything, came = (report.drift[name] for name in ("both", "all", "came"))
    assert (both.old_images, everything.old_images, came.old_images) == (3, 6, 6)
    assert (both.new_images, everything.new_images, came.new_images) == (3, 5, 2)
    assert came.distance == pytest.approx(2 / 3)  # a third of the old area was class 0, all of the new is


def test_images_that_failed_and_were_mended(tmp_path: Path) -> None:
    old = write_results(
        tmp_path / "old", {"a": flat(0, 0), "b": "unreadable", "c": "missing", "d": flat(1, 1)}
    )
    new = write_results(
        tmp_path / "new", {"a": "model_failed", "b": flat(1, 1), "c": "missing", "d": flat(1, 1)}
    )
    report = compare(old, new)
    assert (report.lost.examples, report.recovered.examples) == (["a"], ["b"])
    assert (report.both, report.scored) == (1, 1)
    assert (report.old.images, report.old.ok, report.new.ok) == (4, 2, 2)


def test_a_side_without_truth_still_drifts(old: Path, tmp_path: Path) -> None:
    certain = {f"{name}.png": {"entropy_mean": 0.5, "confidence_mean": None} for name in "abcdef"}
    images = {f"{name}.png": flat(0) for name in "abcdef"}
    new = write_results(tmp_path / "new", images, SECOND, columns=certain)
    report = compare(old, new, max_drop={"mean_iou": 0.1}, max_class_drop={"iou": 0.1}, max_drift=0.6)
    assert (report.both, report.scored, report.changed) == (6, 0, [])
    assert set(report.metrics.values()) == {Difference(None, None, None, None, None)}
    assert report.drift["both"].distance == pytest.approx(2 / 3)
    assert report.drift["all"].certainty["entropy_mean"].new == 0.5
    assert report.drift["both"].certainty["entropy_mean"].new is None  # the old side says nothing
    assert report.gates == [
        "mean_iou cannot be compared: no image has ground truth on both sides; its max_drop is 0.1",
        "iou of the classes cannot be compared: no image has ground truth on both sides",
        "the predicted areas of the images of both drifted by 0.6667; max_drift is 0.6; "
        "shares of the area: road 0.3333 -> 1.0000, tree 0.3333 -> 0.0000, sky 0.3333 -> 0.0000",
    ]


def test_another_file_and_another_truth_are_told(old: Path, tmp_path: Path) -> None:
    images = {f"{name}.png": flat(index % 3, index % 3) for index, name in enumerate("abcdef")}
    images["c.png"] = flat(2, 1)
    new = write_results(tmp_path / "new", images, columns={"b.png": {"source_version": "2"}})
    assert compare(old, new).notes == [
        "images of both whose file changed: 1",
        "images of both whose ground truth changed: 1",
    ]


def test_folders_of_other_images_have_nothing_in_common(old: Path, tmp_path: Path) -> None:
    report = compare(old, write_results(tmp_path / "new", {"other/a.png": flat(0, 0)}))
    assert report.notes == ["no image is on both sides: are their ids paths below the same folder?"]
    assert (report.both, report.metrics["accuracy"].old, report.gates) == (0, None, [])


# -- records


def twice(folder: Path, again: str) -> Path:
    """Six images of a first run; those in `again` were computed anew by a second."""
    write_results(folder, {name: flat(0, 0) for name in "abcdef"}, FIRST)
    results = write_part(folder, {name: flat(1, 0) for name in again}, SECOND)
    finish(results, SECOND, len(again))
    return folder


def test_a_record_stands_for_the_rows_of_its_run(tmp_path: Path, old: Path) -> None:
    folder = twice(tmp_path / "folder", "abcd")
    report = compare(folder / "runs" / f"{FIRST}.json", folder / "run.json")
    assert (report.old.run_id, report.old.images) == (FIRST, 2)
    assert (report.new.run_id, report.new.images) == (SECOND, 4)
    assert (report.both, report.came.count, report.gone.count) == (0, 4, 2)
    assert report.drift["all"].distance == 1.0
    assert report.notes[0] == (
        f"{folder}/runs/{FIRST}.json: its run computed 6 images, and 2 of these rows are left; "
        "later runs replaced or removed the others"
    )
    assert compare(old, folder / "run.json").old.images == 6  # a folder on one side, a record on the other


def test_a_record_whose_rows_are_gone_is_refused(tmp_path: Path, old: Path) -> None:
    folder = twice(tmp_path / "folder", "abcdef")
    record = folder / "runs" / f"{FIRST}.json"
    with pytest.raises(OutputError, match=r"none of the 6 rows .* is left in .*replaced or removed them$"):
        compare(old, record)
    (folder / "nights" / FIRST).mkdir(parents=True)
    with pytest.raises(OutputError, match=rf"the tables of that night are in .*/nights/{FIRST}$"):
        compare(old, record)


def test_a_run_that_computed_nothing_has_no_rows(old: Path) -> None:
    finish(Results(str(old)), SECOND, 0)
    with pytest.raises(OutputError, match="this run computed no images; give the results folder instead"):
        compare(old, old / "run.json")


def test_of_a_run_under_way_the_later_rows_count(old: Path, tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    write_results(folder, {f"{name}.png": flat(0, 0) for name in "abcdef"}, FIRST)
    changed = {"a.png": {"fingerprint": "g"}}
    finish(
        write_part(folder, {"a.png": flat(1, 0)}, SECOND, columns=changed), SECOND, 1, status="interrupted"
    )
    report = compare(old, folder)
    assert (report.new.images, report.both) == (6, 6)
    assert [each.id for each in report.changed] == ["a.png"]
    assert report.notes[:2] == [
        f"{folder}: its last run was interrupted, so some rows may be those of the run before",
        f"{folder}: holds rows of 2 models or settings",
    ]


# -- what is refused


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (None, "no such record"),
        ("{", "cannot be read"),
        ("[1]", "is not the record of a run"),
        ('{"a": 1}', "is not the record of a run"),
        ('{"run_id": "x", "model": [1]}', "is not the record of a run: model: "),
        ('{"run_id": "x", "computed": {"ok": "6"}}', "is not the record of a run: computed.ok: "),
        (100_000 * "[", "cannot be read"),
    ],
)
def test_a_record_that_is_none(old: Path, content: str | None, sentence: str) -> None:
    record = old / "runs" / "x.json"
    if content is not None:
        record.write_text(content)
    result = command(old, record)
    assert (result.exit_code, sentence in result.stderr, result.stdout) == (1, True, "")
    assert result.stderr.count("\n") == 1


def test_folders_that_hold_nothing(old: Path, tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    (empty / "images").mkdir(parents=True)
    (tmp_path / "other").mkdir()
    for place, sentence in (
        (tmp_path / "nowhere", "holds no results of batchseg"),
        (tmp_path / "other", "holds no results of batchseg"),
        (empty, "neither run.json nor classes.parquet names its classes"),
    ):
        for pair in ((old, place), (place, old)):
            result = command(*pair)
            assert (result.exit_code, sentence in result.stderr, str(place) in result.stderr) == (
                1,
                True,
                True,
            )
    bare = Results(str(tmp_path / "bare"))
    bare.open()
    finish(bare, FIRST, 0)
    assert "holds no rows, so there is nothing to compare" in command(old, tmp_path / "bare").stderr


@pytest.mark.parametrize(
    ("names", "found"),
    [
        (("road", "tree", "sea", "boat"), r"class 2 is 'sky' in .*old and 'sea' in .*new"),
        (("road", "tree", "sky"), r"4 in .*old, 3 in .*new"),
    ],
)
def test_other_classes_are_refused(old: Path, tmp_path: Path, names: tuple[str, ...], found: str) -> None:
    new = write_results(tmp_path / "new", {"a.png": flat(0, 0)}, names=names)
    with pytest.raises(LabelMapError, match=found):
        compare(old, new)
    assert command(old, new).exit_code == 2


def test_tables_that_do_not_hold_together(old: Path, tmp_path: Path) -> None:
    new = write_results(tmp_path / "new", {"a.png": flat(0, 0)})
    (part,) = (new / "pixels").glob("*.parquet")
    part.write_bytes(next((old / "pixels").glob("*.parquet")).read_bytes())
    with pytest.raises(OutputError, match="`batchseg verify` says more"):
        compare(old, new)
    part.unlink()
    with pytest.raises(OutputError, match=rf"pixels/{part.name}: cannot be read"):
        compare(old, new)


# -- gates and the command


@pytest.fixture
def worse(tmp_path: Path) -> Path:
    """One of two skies is taken for a tree: sky has a recall of 0.5, tree a precision of 2/3."""
    images = {f"{name}.png": flat(index % 3, index % 3) for index, name in enumerate("abcdef")}
    return write_results(tmp_path / "worse", {**images, "f.png": flat(1, 2)}, SECOND)


def test_gates_name_the_classes_that_fell(old: Path, worse: Path) -> None:
    report = compare(old, worse, max_drop={"accuracy": 0.1, "f1_macro": 0.5}, max_class_drop={"iou": 0.4})
    assert report.gates == [
        "accuracy fell from 1.0000 to 0.8333; its max_drop is 0.1; "
        "classes whose recall fell: sky 1.0000 -> 0.5000",
        "iou fell by more than its max_class_drop of 0.4 in sky 1.0000 -> 0.5000",
    ]
    assert report.exit_code == 4


@pytest.mark.parametrize(
    ("gates", "passes"),
    [
        ({"max_drop": {"accuracy": 1 / 6}}, True),  # exactly what is allowed
        ({"max_drop": {"accuracy": 1 / 6 - 1e-6}}, False),
        ({"max_drop": {"mean_iou": 0}}, False),
        ({"max_class_drop": {"recall": 0.5}}, True),
        ({"max_class_drop": {"precision": 0.3}}, False),
        ({"max_drift": 1 / 6}, True),
        ({"max_drift": 0.16}, False),
        ({}, True),
    ],
)
def test_gates(old: Path, worse: Path, gates: dict[str, Any], passes: bool) -> None:
    assert (compare(old, worse, **gates).exit_code == 0) is passes
    assert (
        compare(worse, old, **{k: v for k, v in gates.items() if k != "max_drift"}).exit_code == 0
    )  # a rise


def test_the_command_prints_what_the_report_holds(old: Path, worse: Path) -> None:
    result = command(old, worse, "--max-drop", "mean_iou=0.01", "--max-drift", "0.9", "--bootstrap", 50)
    report = compare(old, worse)
    assert result.exit_code == 4
    assert result.stderr.startswith("batchseg: mean_iou fell from 1.0000 to 0.7222; its max_drop is 0.01; ")
    assert result.stderr.count("\n") == 1
    lines = [line.split() for line in result.stdout.splitlines()]
    figures = [f"{report.metrics['mean_iou'].new:.4f}", f"{report.metrics['mean_iou'].difference:+.4f}"]
    assert ["mean_iou", "1.0000", *figures] in [line[:4] for line in lines]
    assert ["sky", "1.0000", "0.5000", "-0.5000"] in [line[:4] for line in lines]
    assert ["f.png", "1.0000", "0.0000", "-1.0000"] in lines
    assert ["f.png", "100.00%"] in lines
    assert ["drift", "0.1667", "0.1667"] in lines


def test_json_and_a_configuration_file(old: Path, worse: Path, tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_text(f"old: {old}\nnew: nowhere\nmax_drop: {{accuracy: 0.2}}\nbootstrap: 0")
    result = command(
        "--config", tmp_path / "c.yaml", "--set", f"new={worse}", "--json", "--max-class-drop", "f1=0.1"
    )
    printed = json.loads(result.stdout)
    assert (result.exit_code, printed["exit_code"], len(printed["gates"])) == (4, 4, 1)
    assert printed["metrics"]["accuracy"]["difference"] == pytest.approx(-1 / 6)
    assert set(printed["classes"]) == set(NAMES)
    assert command(old, worse, "--quiet").output == ""


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--max-drop", "beauty=0.1"], "available: accuracy"),
        (["--max-drop", "mean_iou"], "--max-drop mean_iou: must be METRIC=VALUE"),
        (["--max-drop", "mean_iou=2"], "decides nothing"),
        (["--max-class-drop", "accuracy=0.1"], "available: iou, recall, precision, f1"),
        (["--max-drift", "1.5"], "max_drift"),
        (["--bootstrap", "-1"], "bootstrap"),
        (["--set", "speed=3"], "speed: unknown key"),
    ],
)
def test_wrong_usage(old: Path, words: list[str], sentence: str) -> None:
    result = command(old, old, *words)
    assert (result.exit_code, sentence in result.stderr) == (2, True), result.output
    assert command().exit_code == 2


def test_a_name_cannot_steer_the_terminal(tmp_path: Path) -> None:
    old = write_results(tmp_path / "old", {"a\x1b[2J": flat(0, 0)})
    new = write_results(tmp_path / "new", {"a\x1b[2J": flat(1, 0)})
    printed = command(old, new).stdout
    assert "\x1b" not in printed
    assert r"a\x1b[2J" in printed
