"""Boundaries and objects in a run: asked for, added to results that lie there, and taken away again."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pytest
from click.testing import CliRunner
from crashes import every_kill
from PIL import Image
from result_tables import tables
from scipy import ndimage

import batchseg
from batchseg.cli.group import cli
from batchseg.errors import ConfigError, OutputError
from batchseg.inspect.verify import verify
from batchseg.results.folder import Held
from tests.image_files import put

pytestmark = [pytest.mark.usefixtures("in_process")]

BOTH = ["boundary", "objects"]
IMAGES, WITH_TRUTH = 4, 3
HW = (40, 50)


@pytest.fixture
def scene(tmp_path: Path) -> Path:
    """Blobs, and truths a little beside them that ignore a corner; of the last image there is none."""
    rng = np.random.default_rng(3)
    for index in range(IMAGES):
        field = ndimage.gaussian_filter(rng.normal(size=HW), 3)
        image = (255 * (field - field.min()) / np.ptp(field)).astype(np.uint8)
        put(tmp_path / "images" / f"{index}.png", image)
        truth = (np.roll(image, 1, 1) >= 150).astype(np.uint8)
        truth[:8, :8] = 255
        if index < WITH_TRUTH:
            put(tmp_path / "truth" / f"{index}.png", truth)
    return tmp_path


def run(scene: Path, metrics: Any = BOTH, output: str = "out", truth: bool = True, **more: Any) -> Any:
    source = {"path": str(scene / "images"), **({"truth": str(scene / "truth")} if truth else {})}
    parts = {"source": source, "segmentor": "threshold", "output": str(scene / output), "metrics": metrics}
    return batchseg.run(batchseg.load_config(overrides={**parts, **more}))


def work(result: batchseg.RunResult) -> tuple[int, int, int]:
    """How many were segmented, were scored alone, and were done."""
    images = result.record["images"]
    return images["segmented"], images["scored"], images["done_before"]


def all_tables(scene: Path, output: str = "out") -> list[Any]:
    opened = batchseg.open_results(str(scene / output))
    beside = [sorted(map(str, table.to_pylist())) for table in (opened.objects, opened.boundary)]
    return [tables(scene / output), *beside]


def assert_as_if_run_at_once(scene: Path, **more: Any) -> None:
    run(scene, output="fresh", **more)
    assert all_tables(scene) == all_tables(scene, "fresh")
    assert verify(str(scene / "out")).counts == {}


def maps(scene: Path, index: int, output: str = "out") -> tuple[np.ndarray, np.ndarray]:
    predicted, truth = (
        np.asarray(Image.open(scene / folder / f"{index}.png")) for folder in (f"{output}/masks", "truth")
    )
    return predicted, truth


def test_a_run_measures_what_its_masks_show(scene: Path) -> None:
    result = run(scene)
    opened = batchseg.open_results(str(scene / "out"))
    images = {row["id"]: row for row in opened.images.to_pylist()}
    for index in range(WITH_TRUTH):
        predicted, truth = maps(scene, index)
        row = images[f"{index}.png"]
        rows = [each for each in opened.objects.to_pylist() if each["id"] == f"{index}.png"]
        for side, ids in (("truth", truth), ("predicted", predicted)):
            areas = [
                size
                for label in (0, 1)
                for size in np.bincount(ndimage.label(ids == label, np.ones((3, 3)))[0].ravel())[1:]
            ]
            mine = [each for each in rows if each["side"] == side]
            assert sorted(each["area"] for each in mine) == sorted(areas)
            assert [each["object"] for each in mine] == [*range(1, len(mine) + 1)]
        mates = {each["object"]: each for each in rows if each["side"] == "predicted"}
        for each in rows:
            if each["side"] == "truth" and each["outcome"] == "matched":
                assert each["iou"] > 0.5
                assert mates[each["match"]]["match"] == each["object"]
        truths = [each for each in rows if each["side"] == "truth"]
        found = [each for each in truths if each["outcome"] == "matched"]
        assert row["object_recall"] == len(found) / len(truths)
        outcomes = [each["outcome"] for each in rows if each["side"] == "predicted"]
        assert row["false_positives"] == outcomes.count("false_positive")
        bands = [each for each in opened.boundary.to_pylist() if each["id"] == f"{index}.png"]
        assert row["boundary_iou"] == np.mean([each["intersection"] / each["union"] for each in bands])
        assert row["nsd"] == np.mean([each["near"] / each["boundary_pixels"] for each in bands])
        assert row["hd95"] == np.mean([each["hd95"] for each in bands])
        assert [each["tolerance"] for each in bands] == [2.0, 2.0]
    assert verify(result.output).counts == {}


def test_the_record_has_the_sums_and_says_what_they_mean(scene: Path) -> None:
    record = run(scene, objects={"sizes": [20, 200]}).record
    boundary, objects = record["boundary"], record["objects"]
    place = f"'{scene}/out"
    sums = duckdb.sql(
        f'select sum(intersection) / sum("union"), sum(near) / sum(boundary_pixels), avg(hd95) '
        f"from {place}/boundary/*.parquet' group by class_id order by class_id"
    ).fetchall()
    named = ("boundary_iou", "nsd", "hd95")
    assert [[each[name] for name in named] for each in boundary["classes"]] == [
        pytest.approx(row) for row in sums
    ]
    assert [boundary[name] for name in named] == pytest.approx(np.mean(sums, axis=0).tolist())
    assert [each["images_with_hd95"] for each in boundary["classes"]] == [WITH_TRUTH] * 2
    quality = duckdb.sql(
        "select sum(iou) filter (outcome = 'matched' and side = 'truth') / (count(*) filter (outcome = "
        "'matched' and side = 'truth') + (count(*) filter (outcome in ('missed', 'false_positive'))) / 2) "
        f"from {place}/objects/*.parquet' group by class_id order by class_id"
    ).fetchall()
    assert [each["panoptic_quality"] for each in objects["classes"]] == pytest.approx(
        [value for (value,) in quality]
    )
    assert objects["images"] == WITH_TRUTH
    rows = batchseg.open_results(str(scene / "out")).objects.to_pylist()
    truths = [row for row in rows if row["side"] == "truth"]
    for each in objects["recall_by_size"]:
        high = each["pixels_below"] or 10**9
        within = [row for row in truths if each["pixels_from"] <= row["area"] < high]
        assert each["objects"] == len(within)
        found = sum(row["outcome"] == "matched" for row in within)
        assert each["recall"] == (found / len(within) if within else None)
    false = sum(row["outcome"] == "false_positive" for row in rows)
    assert objects["false_positives_per_image"] == false / WITH_TRUTH
    assert "Cheng et al. 2021" in boundary["definition"] and "in neither" in boundary["definition"]
    assert "8-connected" in objects["definition"]
    assert record["config"]["boundary"] == {"width": 0.02, "tolerance": 2.0, "unit": None}
    # another split of the sizes is another sum of the same rows
    assert work(run(scene, objects={"sizes": [50]})) == (0, 0, IMAGES)


def test_metrics_added_later_cost_a_score_and_no_model(scene: Path) -> None:
    assert work(run(scene, [])) == (IMAGES, 0, 0)
    assert work(run(scene)) == (0, IMAGES, 0)
    assert work(run(scene)) == (0, 0, IMAGES)
    assert_as_if_run_at_once(scene)


def test_boundaries_alone_leave_masks_without_truth(scene: Path) -> None:
    run(scene, [])
    assert work(run(scene, "boundary")) == (0, WITH_TRUTH, IMAGES - WITH_TRUTH)
    opened = batchseg.open_results(str(scene / "out"))
    assert opened.objects.num_rows == 0 and opened.boundary.num_rows == 2 * WITH_TRUTH


def test_metrics_that_are_no_longer_asked_for_go(scene: Path) -> None:
    run(scene)
    assert work(run(scene, ["objects"])) == (0, WITH_TRUTH, IMAGES - WITH_TRUTH)
    assert not list((scene / "out" / "boundary").glob("*.parquet"))
    result = run(scene, [])
    assert work(result) == (0, IMAGES, 0)
    assert (result.record["boundary"], result.record["objects"]) == (None, None)
    assert not list((scene / "out" / "objects").glob("*.parquet"))
    assert work(run(scene, [])) == (0, 0, IMAGES)
    assert_as_if_run_at_once(scene, metrics=[])


def test_without_truth_there_are_predicted_objects_alone(scene: Path) -> None:
    result = run(scene, truth=False)
    opened = batchseg.open_results(str(scene / "out"))
    assert {row["side"] for row in opened.objects.to_pylist()} == {"predicted"}
    assert {row["id"] for row in opened.objects.to_pylist()} == {f"{n}.png" for n in range(IMAGES)}
    assert all(
        row[name] is None for row in opened.objects.to_pylist() for name in ("outcome", "match", "iou")
    )
    figures = ("boundary_iou", "nsd", "hd95", "panoptic_quality", "object_recall", "false_positives")
    assert all(row[name] is None for row in opened.images.to_pylist() for name in figures)
    assert result.record["objects"]["panoptic_quality"] is None
    assert result.record["objects"]["classes"][0]["predicted_objects"] > 0
    assert work(run(scene, truth=False)) == (0, 0, IMAGES)
    # the truth comes weeks later
    assert work(run(scene)) == (0, WITH_TRUTH, IMAGES - WITH_TRUTH)
    assert_as_if_run_at_once(scene)


def test_a_corrected_truth_is_measured_again_and_nothing_else(scene: Path) -> None:
    run(scene)
    predicted, _ = maps(scene, 1)
    put(scene / "truth" / "1.png", predicted, 2_000_000_000)
    assert work(run(scene)) == (0, 1, IMAGES - 1)
    row = next(
        each for each in batchseg.open_results(str(scene / "out")).images.to_pylist() if each["id"] == "1.png"
    )
    figures = ("boundary_iou", "nsd", "hd95", "panoptic_quality", "object_recall", "false_positives")
    assert [row[name] for name in figures] == [1, 1, 0, 1, 1, 0]
    assert_as_if_run_at_once(scene)


def test_a_truth_that_cannot_be_used_leaves_the_predicted_objects(scene: Path) -> None:
    put(scene / "truth" / "1.png", np.zeros((3, 4), np.uint8))
    run(scene, gates={"max_failed": "100%"})
    opened = batchseg.open_results(str(scene / "out"))
    assert {row["side"] for row in opened.objects.to_pylist() if row["id"] == "1.png"} == {"predicted"}
    assert "1.png" not in opened.boundary["id"].to_pylist()
    assert verify(str(scene / "out")).counts == {}


@pytest.mark.parametrize(
    "more",
    [
        {"boundary": {"tolerance": 3}},
        {"boundary": {"tolerance": {"bright": 1.5}}},
        {"boundary": {"width": 0.05}},
        {"objects": {"classes": ["bright"]}},
        {"objects": {"geometry": True}},
        {"spacing": [0.5, 0.25]},
    ],
)
def test_another_way_of_measuring_is_another_score(scene: Path, more: dict[str, Any]) -> None:
    run(scene)
    of_objects = "objects" in more or "spacing" in more
    assert work(run(scene, **more))[1] == (IMAGES if of_objects else WITH_TRUTH)
    assert_as_if_run_at_once(scene, **more)


def test_a_run_that_was_cut_off_goes_on(scene: Path) -> None:
    run(scene, [])
    real = Held.commit

    def commit(self: Held, *given: Any) -> None:
        real(self, *given)
        raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(Held, "commit", commit)
        run(scene)
    run(scene)
    assert_as_if_run_at_once(scene)


def test_a_run_killed_at_any_change_of_a_file_goes_on(scene: Path) -> None:
    """While it adds the metrics to results that lie there."""
    run(scene, [])
    run(scene, output="fresh")
    expected = all_tables(scene, "fresh")

    def work_of(step: int) -> Callable[[], object]:
        shutil.copytree(scene / "out", scene / f"at{step}")
        return lambda: run(scene, output=f"at{step}")

    def after(step: int) -> None:
        (scene / f"at{step}" / ".lock").unlink(missing_ok=True)  # of this process, which is alive
        run(scene, output=f"at{step}")
        assert all_tables(scene, f"at{step}") == expected
        assert verify(str(scene / f"at{step}")).counts == {}

    assert every_kill(work_of, after) > 5


def test_scores_of_images_that_are_not_listed_do_not_mix(scene: Path) -> None:
    run(scene, [])
    with pytest.raises(OutputError, match="measured by other metrics"):
        run(scene, source={"path": str(scene / "images"), "truth": str(scene / "truth"), "limit": 1})


def test_evaluate_measures_the_same(scene: Path) -> None:
    run(scene)
    (scene / "labels.yaml").write_text("classes: [dark, bright]")
    masks = scene / "out" / "masks"
    (masks / "3.png").unlink()
    settings = {"metrics": BOTH}
    given = {"truth": scene / "truth", "output": scene / "eval", "labels": scene / "labels.yaml"}
    result = batchseg.evaluate(masks, **given, settings=settings)
    ours, theirs = (batchseg.open_results(str(scene / name)) for name in ("out", "eval"))
    kept = [f"{n}.png" for n in range(WITH_TRUTH)]
    for kind in ("objects", "boundary"):
        rows = [
            [row for row in getattr(each, kind).to_pylist() if row["id"] in kept] for each in (ours, theirs)
        ]
        assert sorted(map(str, rows[0])) == sorted(map(str, rows[1]))
    assert result.record["boundary"]["nsd"] == pytest.approx(ours.record["boundary"]["nsd"])
    again = batchseg.evaluate(masks, **given, settings=settings)
    assert work(again)[2] == WITH_TRUTH
    assert batchseg.evaluate(masks, **given).record["objects"] is None


def test_the_command_line_asks_for_them(scene: Path) -> None:
    words = [str(scene / "images"), "--model", "threshold", "--truth", str(scene / "truth")]
    words += ["--output", str(scene / "out")]
    shown = CliRunner().invoke(cli, ["run", *words, "--metrics", "boundary,objects"])
    assert shown.exit_code == 0, shown.output
    record = json.loads((scene / "out" / "run.json").read_text())
    assert record["config"]["metrics"] == BOTH
    lines = [line for line in shown.output.splitlines() if line.startswith(("boundary ", "objects "))]
    assert f"NSD {record['boundary']['nsd']:.4g}" in lines[0]
    assert f"PQ {record['objects']['panoptic_quality']:.4g}" in lines[1]
    wrong = CliRunner().invoke(cli, ["run", *words, "--metrics", "boundary,object"])
    assert wrong.exit_code == 2
    assert "unknown metric 'object'; did you mean objects?; available: boundary, objects" in wrong.output
    (scene / "labels.yaml").write_text("classes: [dark, bright]")
    words = [str(scene / "out/masks"), str(scene / "truth"), "--output", str(scene / "eval")]
    done = CliRunner().invoke(
        cli, ["evaluate", *words, "--labels", str(scene / "labels.yaml"), "--metrics", "objects"]
    )
    assert done.exit_code == 0, done.output
    assert "objects " in done.output


@pytest.mark.parametrize(
    ("more", "sentence"),
    [
        (
            {"objects": {"classes": ["brigt"]}},
            "objects.classes: no class is called 'brigt'; did you mean bright?",
        ),
        (
            {"boundary": {"tolerance": {"car": 1}}},
            "boundary.tolerance: no class is called 'car'; there are dark",
        ),
        ({"objects": {"sizes": [9, 3]}}, "objects.sizes: must ascend"),
        ({"spacing": 0}, "spacing"),
        ({"boundary": {"tolerance": -1}}, "boundary.tolerance"),
    ],
)
def test_what_cannot_be_meant_is_refused(scene: Path, more: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ConfigError, match="(?s)" + sentence.replace(".", r"\.").replace("?", r"\?")):
        run(scene, **more)
    assert not (scene / "out").exists() or not list((scene / "out").glob("images/*"))


def test_outlines_need_an_extra_that_is_named_before_anything_is_done(
    scene: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "shapely", None)
    with pytest.raises(ConfigError, match=r"pip install 'batchseg\[export\]'"):
        run(scene, objects={"geometry": True})


def test_a_spacing_is_the_unit_of_distances_and_areas(scene: Path) -> None:
    run(scene, output="pixels")
    run(scene, spacing=0.5, boundary={"tolerance": 1})
    pixels, world = (batchseg.open_results(str(scene / name)) for name in ("pixels", "out"))
    for one, other in zip(pixels.boundary.to_pylist(), world.boundary.to_pylist(), strict=True):
        assert (other["near"], other["hd95"]) == (one["near"], one["hd95"] / 2)
    assert {row["area_world"] for row in pixels.objects.to_pylist()} == {None}
    assert all(row["area_world"] == row["area"] / 4 for row in world.objects.to_pylist())


def test_images_of_no_known_scale_have_no_distances_and_the_run_says_so(scene: Path) -> None:
    result = run(scene, boundary={"unit": "spacing"})
    assert f"({WITH_TRUTH} of them)" in result.warnings["unmeasured_images"]
    rows = batchseg.open_results(str(scene / "out")).boundary.to_pylist()
    assert all((row["nsd"], row["hd95"], row["boundary_pixels"]) == (None, None, 0) for row in rows)
    assert all(row["boundary_iou"] > 0 for row in rows)
    assert verify(result.output).counts == {}
    assert run(scene, boundary={"unit": "spacing"}, accept=["unmeasured_images"]).warnings == {}
