"""Other names or colours of the classes: palettes and tables are rewritten, and nothing is computed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner, Result
from crashes import Killed, every_kill
from PIL import Image

import batchseg
from batchseg.cli.group import cli
from batchseg.inspect.verify import verify
from batchseg.pipeline import model as opened
from batchseg.pipeline.model import OpenedModel
from batchseg.results import palettes
from batchseg.results.folder import Results
from batchseg.results.palettes import STATE, repaint

pytestmark = [pytest.mark.usefixtures("in_tasks")]

IMAGES = 5
COLOURS = {"first": ("#102030", "#c86400"), "second": ("#010203", "#fffefd")}
NAMES = {"first": ("shade", "light"), "second": ("dim", "lit")}


@pytest.fixture
def scene(tmp_path: Path) -> Path:
    rng = np.random.default_rng(3)
    for index in range(IMAGES):
        path = tmp_path / "images" / "sub" / f"{index}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (9, 11), np.uint8)).save(path)
    write_labels(tmp_path, "first", "first")
    return tmp_path


def write_labels(scene: Path, names: str, colours: str, extra: str = "") -> None:
    classes = [f'{{name: {n}, colour: "{c}"}}' for n, c in zip(NAMES[names], COLOURS[colours], strict=True)]
    (scene / "labels.yaml").write_text(f"classes: [{', '.join(classes)}]\n{extra}")


def settings(scene: Path) -> dict[str, Any]:
    return {
        "source": str(scene / "images"),
        "segmentor": {"kind": "threshold", "levels": [128]},
        "labels": str(scene / "labels.yaml"),
        "output": str(scene / "out"),
    }


def run(scene: Path, **more: Any) -> batchseg.RunResult:
    return batchseg.run(batchseg.load_config(overrides={**settings(scene), **more}))


def colours_of(scene: Path) -> set[tuple[str, ...]]:
    """The first two colours of every mask's palette."""
    found = set()
    for path in (scene / "out" / "masks").rglob("*.png"):
        with Image.open(path) as mask:
            palette = mask.palette.palette
        found.add(tuple(f"#{palette[at : at + 3].hex()}" for at in (0, 3)))
    return found


def pixels_of(scene: Path) -> dict[str, bytes]:
    masks = scene / "out" / "masks"
    return {
        str(path.relative_to(masks)): np.asarray(Image.open(path)).tobytes() for path in masks.rglob("*.png")
    }


def class_names(scene: Path) -> list[str]:
    found = duckdb.sql(f"select class_name from '{scene}/out/classes.parquet' order by class_id").fetchall()
    return [name for (name,) in found]


def test_other_colours_are_painted_and_nothing_is_computed(
    scene: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert run(scene).record["images"]["repainted"] == 0
    pixels = pixels_of(scene)
    write_labels(scene, "first", "second")
    result = run(scene)
    assert (result.segmented, result.scored, result.done_before) == (0, 0, IMAGES)
    assert result.record["images"]["repainted"] == IMAGES
    assert (colours_of(scene), pixels_of(scene)) == ({COLOURS["second"]}, pixels)
    assert verify(str(scene / "out")).ok
    again = {path: path.stat().st_mtime_ns for path in (scene / "out" / "masks").rglob("*.png")}
    monkeypatch.setattr(palettes, "_repaint", None)  # no mask is even looked at
    assert run(scene).record["images"]["repainted"] == 0
    assert {path: path.stat().st_mtime_ns for path in (scene / "out" / "masks").rglob("*.png")} == again


def test_other_names_are_in_the_tables(scene: Path) -> None:
    run(scene)
    write_labels(scene, "second", "first")
    result = run(scene)
    assert (result.segmented, result.scored, result.record["images"]["repainted"]) == (0, 0, 0)
    assert class_names(scene) == list(NAMES["second"])
    assert json.loads((scene / "out" / "run.json").read_text())["model"]["classes"] == list(NAMES["second"])


def test_the_command_line_says_so(scene: Path) -> None:
    run(scene)
    write_labels(scene, "second", "second")
    words = [str(scene / "images"), "--model", "threshold", "--labels", str(scene / "labels.yaml")]
    words += ["--output", str(scene / "out"), "--set", "segmentor.levels=[128]"]
    result: Result = CliRunner().invoke(cli, ["run", *words])
    assert result.exit_code == 0, result.output
    assert f"of {IMAGES} masks rewritten" in result.output + result.stderr


def test_another_value_for_void_is_another_mask(scene: Path) -> None:
    run(scene)
    write_labels(scene, "first", "first", "ignore_index: 254\n")
    with pytest.raises(batchseg.BatchsegError, match="ignore_index or the words of the label map"):
        run(scene)


def test_new_images_and_old_ones_have_one_palette(scene: Path) -> None:
    run(scene)
    Image.fromarray(np.full((4, 4), 200, np.uint8)).save(scene / "images" / "new.png")
    write_labels(scene, "first", "second")
    result = run(scene)
    assert (result.segmented, result.record["images"]["repainted"]) == (1, IMAGES)
    assert colours_of(scene) == {COLOURS["second"]}


@pytest.mark.parametrize("after", ["first", "second"])
def test_killed_at_any_step_the_next_run_ends_with_one_palette(scene: Path, after: str) -> None:
    run(scene)
    write_labels(scene, "first", "second")
    second = label_map(scene)
    write_labels(scene, "first", after)
    chosen = label_map(scene)
    results = Results(str(scene / "out"))
    pixels = pixels_of(scene)

    def work(step: int) -> Any:
        repaint(results.open(), first)
        assert colours_of(scene) == {COLOURS["first"]}
        return lambda: repaint(results.open(), second)

    def then(step: int) -> None:
        repaint(results.open(), chosen)
        assert colours_of(scene) == {COLOURS[after]}
        assert pixels_of(scene) == pixels

    write_labels(scene, "first", "first")
    first = label_map(scene)
    assert every_kill(work, then) >= IMAGES + 2  # the state goes, every mask, the state comes


def label_map(scene: Path) -> Any:
    return OpenedModel.open(batchseg.load_config(overrides=settings(scene))).label_map


def test_masks_of_a_release_that_kept_no_state_are_looked_at(scene: Path) -> None:
    run(scene)
    (scene / "out" / STATE).unlink()
    assert run(scene).record["images"]["repainted"] == 0
    (scene / "out" / STATE).unlink()
    write_labels(scene, "first", "second")
    assert run(scene).record["images"]["repainted"] == IMAGES


def test_what_is_no_png_is_left_for_verify(scene: Path) -> None:
    run(scene)
    masks = sorted((scene / "out" / "masks" / "sub").glob("*.png"))
    masks[0].write_bytes(b"no mask")
    masks[1].unlink()
    write_labels(scene, "first", "second")
    assert run(scene).record["images"]["repainted"] == IMAGES - 2
    assert masks[0].read_bytes() == b"no mask"
    assert sorted(verify(str(scene / "out")).counts) == ["mask_missing", "mask_unreadable"]


def test_a_row_that_names_a_file_outside_paints_nothing_there(scene: Path) -> None:
    run(scene)
    outside = scene / "outside.png"
    outside.write_bytes((scene / "out" / "masks" / "sub" / "0.png").read_bytes())
    before = outside.read_bytes()
    results = Results(str(scene / "out"))
    (part,) = results.images.files(".parquet")
    table = duckdb.sql(f"select * replace ('masks/../../outside.png' as mask) from '{part}'").to_arrow_table()
    pq.write_table(table, str(part))
    write_labels(scene, "first", "second")
    assert repaint(results.open(), label_map(scene)) == 0
    assert outside.read_bytes() == before


def test_results_whose_fingerprint_covered_names_and_colours_are_carried_on(
    scene: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As the versions between 0.1 and this one wrote them."""
    with monkeypatch.context() as patch:
        patch.setattr(opened, "mask_fingerprint", lambda *facts: opened.earlier_fingerprints(*facts)[1])
        earlier = run(scene).record["model"]["fingerprint"]
    before = pixels_of(scene)
    result = run(scene)
    assert (result.segmented, result.scored, result.done_before) == (0, 0, IMAGES)
    assert result.record["model"]["fingerprint"] != earlier
    write_labels(scene, "second", "second")
    assert run(scene).segmented == 0
    assert (colours_of(scene), pixels_of(scene)) == ({COLOURS["second"]}, before)


def test_results_before_and_after_can_be_compared(scene: Path) -> None:
    run(scene)
    (scene / "out").rename(scene / "before")
    write_labels(scene, "second", "first")
    run(scene)
    config = batchseg.CompareConfig(old=str(scene / "before"), new=str(scene / "out"), bootstrap=0)
    report = batchseg.compare(config)
    assert report.both == IMAGES
    assert "class 'shade' is called 'dim' now" in report.notes
    assert sorted(report.drift["both"].areas) == ["dim", "lit"]


def test_another_model_with_other_names_is_still_refused(scene: Path) -> None:
    run(scene)
    (scene / "out").rename(scene / "before")
    write_labels(scene, "second", "first")
    run(scene, segmentor={"kind": "threshold", "levels": [64]})
    config = batchseg.CompareConfig(old=str(scene / "before"), new=str(scene / "out"), bootstrap=0)
    with pytest.raises(batchseg.BatchsegError, match="the classes differ"):
        batchseg.compare(config)


def test_a_run_that_dies_while_it_paints(scene: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run(scene)
    write_labels(scene, "first", "second")
    real, painted = palettes._repaint, []

    def dying(*arguments: Any) -> bool:
        if len(painted) == 2:
            raise Killed
        painted.append(arguments)
        return real(*arguments)

    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(palettes, "_repaint", dying)
        run(scene)
    write_labels(scene, "first", "first")
    assert run(scene).segmented == 0
    assert colours_of(scene) == {COLOURS["first"]}
