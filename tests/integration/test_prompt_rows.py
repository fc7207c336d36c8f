"""A prompt a row: ids, keys, figures and faults, with a model whose masks are known."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

import batchseg
from batchseg.comparison.bootstrap import resampled, resampled_rows
from batchseg.comparison.sparse_counts import SparseCounts
from batchseg.errors import BatchsegError
from batchseg.stages import decode
from tests.colour_finder import (
    FinderCheckpoint,
    found,
    record_of,
    there,
    use_finder,
    write_manifest,
    write_scenes,
)

pytestmark = [pytest.mark.usefixtures("in_process")]

ROWS = [
    ("a.png", "The red box"),
    ("a.png", "a green box"),
    ("b.png", "green"),
    ("b.png", "the red box"),  # not there, and nothing is found
    ("b.png", "anything blue"),  # not there, and something is found all the same
    ("c.png", "blue box!"),
]
MODEL = "colour_finder:Finder"
NO_PROMPT = "the manifest has no prompt in this row; say in words what is meant"
IDS = [
    *("a.png/the-red-box", "a.png/a-green-box", "b.png/green", "b.png/the-red-box"),
    *("b.png/anything-blue", "c.png/blue-box"),
]


@pytest.fixture(autouse=True)
def _finder(monkeypatch: pytest.MonkeyPatch) -> None:
    use_finder(monkeypatch)


def run(manifest: Path, **settings: Any) -> batchseg.RunResult:
    output = settings.pop("output", manifest.parent / "out")
    return batchseg.run(manifest, model=MODEL, output=output, settings=settings)


def images(folder: Path) -> dict[str, dict[str, Any]]:
    listed = batchseg.open_results(str(folder)).images.to_pylist()
    return {row["id"]: row for row in listed}


def expected(folder: Path, rows: list[tuple[str, str]]) -> Iterator[tuple[Any, Any]]:
    """Truth and mask of each row, without the program."""
    for name, prompt in rows:
        image_HWC = np.asarray(Image.open(folder / name))
        yield there(image_HWC, prompt), found(image_HWC, prompt)


def test_every_row_has_a_mask_of_its_own(tmp_path: Path) -> None:
    result = run(write_scenes(tmp_path, ROWS))
    assert (result.exit_code, result.segmented, result.warnings) == (0, 6, {})
    rows = images(tmp_path / "out")
    assert sorted(rows) == sorted(IDS)
    for name, (file, prompt), (_, mask_HW) in zip(IDS, ROWS, expected(tmp_path, ROWS), strict=True):
        row = rows[name]
        assert (row["prompt"], row["uri"]) == (prompt, str(tmp_path / file))
        assert row["mask"] == f"masks/{name}.png" and row["presence"] == (1.0 if mask_HW.any() else 0.25)
        assert np.array_equal(np.asarray(Image.open(tmp_path / "out" / row["mask"])), mask_HW)


def test_figures_equal_those_computed_directly(tmp_path: Path) -> None:
    result = run(write_scenes(tmp_path, ROWS))
    pairs = [*expected(tmp_path, ROWS)]
    both = np.array([(truth & mask).sum() for truth, mask in pairs])
    either = np.array([(truth | mask).sum() for truth, mask in pairs])
    ious = np.where(either > 0, both / np.maximum(either, 1), 1.0)
    absent = [not truth.any() for truth, _ in pairs]
    assert sum(absent) == 2 and ious[3] == 1 and ious[4] == 0 and 0 < ious[1] < 1
    rows = images(tmp_path / "out")
    assert [rows[name]["prompt_iou"] for name in IDS] == pytest.approx(ious.tolist(), abs=1e-12)
    wanted = {"giou": ious.mean(), "ciou": both.sum() / either.sum(), "no_target_accuracy": 0.5}
    assert {name: result.metrics[name] for name in wanted} == pytest.approx(wanted, abs=1e-12)
    assert record_of(tmp_path / "out")["metrics"] == result.metrics
    assert result.classes[1]["iou"] == pytest.approx(wanted["ciou"], abs=1e-12)


def test_the_sql_of_the_reference_gives_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    result = run(write_scenes(tmp_path, ROWS), output=tmp_path / "results")
    text = (Path(batchseg.__file__).parent / "results" / "README.md").read_text()
    (sql,) = [each for each in re.findall(r"```sql\n(.*?)```", text, re.DOTALL) if "giou" in each]
    monkeypatch.chdir(tmp_path)
    found_row = duckdb.sql(sql).to_arrow_table().to_pylist()[0]
    assert found_row == pytest.approx({name: result.metrics[name] for name in found_row}, abs=1e-12)
    assert set(found_row) == {"giou", "ciou", "no_target_accuracy"}


@pytest.mark.parametrize("named", [False, True])
def test_another_prompt_computes_that_row_alone(tmp_path: Path, named: bool) -> None:
    columns = {"id": [f"row{number}" for number in range(6)]} if named else {}
    manifest = write_scenes(tmp_path, ROWS, **columns)
    run(manifest)
    before = images(tmp_path / "out")
    changed = [*ROWS[:2], ("b.png", "a green thing"), *ROWS[3:]]
    result = run(write_scenes(tmp_path, changed, **columns), prune=not named)
    assert (result.segmented, result.done_before, result.listed) == (1, 5, 6)
    after = images(tmp_path / "out")
    name = "row2" if named else "b.png/a-green-thing"
    assert after[name]["prompt"] == "a green thing" and len(after) == 6
    assert {key: row for key, row in after.items() if key != name} == {
        key: row for key, row in before.items() if key in after and key != name
    }
    assert run(manifest.parent / "list.parquet").segmented == 0


def test_a_source_that_moved_is_not_computed_again(tmp_path: Path) -> None:
    run(write_scenes(tmp_path / "here", ROWS), output=tmp_path / "out")
    (tmp_path / "here").rename(tmp_path / "there")
    result = run(tmp_path / "there" / "list.parquet", output=tmp_path / "out")
    assert (result.segmented, result.scored) == (0, 6)  # their truths lie elsewhere


def test_another_truth_is_scored_without_the_model(tmp_path: Path) -> None:
    manifest = write_scenes(tmp_path, ROWS)
    run(manifest)
    mask_HW = [*expected(tmp_path, ROWS)][1][1]
    Image.fromarray(mask_HW.astype(np.uint8)).save(tmp_path / "truth_1.png")
    result = run(manifest)
    assert (result.segmented, result.scored) == (0, 1)
    row = images(tmp_path / "out")[IDS[1]]
    assert (row["prompt_iou"], row["presence"], row["prompt"]) == (1.0, 1.0, ROWS[1][1])


def test_bad_prompts_are_faults_of_their_rows(tmp_path: Path) -> None:
    rows = [*ROWS, ("a.png", None), ("a.png", "  "), ("a.png", "red " * 13), ("c.png", "???")]
    result = run(write_scenes(tmp_path, rows), gates={"max_failed": 3})
    assert (result.exit_code, result.statuses) == (0, {"ok": 7, "bad_prompt": 3})
    bad = {name: row for name, row in images(tmp_path / "out").items() if row["status"] == "bad_prompt"}
    assert sorted(bad) == ["a.png/_row-6", "a.png/_row-7", f"a.png/{'red-' * 12}red"]
    assert {row["mask"] for row in bad.values()} == {row["prompt_iou"] for row in bad.values()} == {None}
    assert bad["a.png/_row-6"]["error"] == NO_PROMPT
    assert "the prompt has 13 words" in bad[f"a.png/{'red-' * 12}red"]["error"]
    again = run(tmp_path / "list.parquet", gates={"max_failed": 3})
    assert (again.done_before, again.statuses) == (7, {"bad_prompt": 3})


@pytest.mark.parametrize("second", ["The red box", "the  RED box!", "the-red-box"])
def test_the_same_prompt_twice_is_refused(tmp_path: Path, second: str) -> None:
    with pytest.raises(BatchsegError, match=r"a.png/the-red-box; the same prompt stands there twice"):
        run(write_scenes(tmp_path, [*ROWS, ("a.png", second)]))
    named = write_scenes(tmp_path, [*ROWS, ("a.png", second)], id=[*map(str, range(7))])
    assert run(named).segmented == 7


def test_truths_of_0_and_255(tmp_path: Path) -> None:
    manifest = write_scenes(tmp_path, ROWS)
    wanted = run(manifest, output=tmp_path / "first").metrics
    for place in tmp_path.glob("truth_*.png"):
        Image.fromarray(np.asarray(Image.open(place)) * np.uint8(255)).save(place)
    with pytest.raises(BatchsegError, match=r"say truth.threshold: 128 \(--set truth.threshold=128\), or"):
        run(manifest)
    assert run(manifest, truth={"threshold": 128}).metrics == wanted


def test_long_prompts_have_short_ids(tmp_path: Path) -> None:
    long = "Ünglaublich_große rote Flächen neben dem zweiten Baum von links und"
    run(write_scenes(tmp_path, [("a.png", long)]))
    (name,) = images(tmp_path / "out")
    assert name == "a.png/ünglaublich-große-rote-flächen-neben-dem-zweiten-baum-von-li"
    assert len(name) == len("a.png/") + 60 and (tmp_path / "out" / "masks" / f"{name}.png").exists()


@pytest.mark.parametrize(
    ("mode", "has_prompts", "sentence"),
    [
        (None, True, rf"has a column `prompt` of prompts, and {MODEL} takes none; rename the column, or"),
        ("list", True, rf"has a prompt for each row \(column `prompt`\), and {MODEL} is given one list"),
        ("rows", False, rf"has no column `prompt`, and {MODEL} must be told what to segment; name classes"),
    ],
)
def test_prompts_and_model_must_fit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mode: Any, has_prompts: bool, sentence: str
) -> None:
    use_finder(monkeypatch, FinderCheckpoint(mode))
    manifest = write_scenes(tmp_path, ROWS[:1])
    if not has_prompts:
        manifest = write_manifest(tmp_path, {"image": ["a.png"]})
    with pytest.raises(BatchsegError, match=sentence):
        run(manifest)
    assert not (tmp_path / "out" / "masks").exists()


def test_a_folder_has_no_prompts(tmp_path: Path) -> None:
    write_scenes(tmp_path / "images", ROWS).unlink()
    with pytest.raises(BatchsegError, match=f"has no prompts, being a folder, and {MODEL} must be told"):
        run(tmp_path / "images", output=tmp_path / "out")


def test_another_column_may_hold_the_prompts(tmp_path: Path) -> None:
    columns = {"image": ["a.png"], "caption": ["red"], "prompt": ["of somebody else"]}
    write_scenes(tmp_path, ROWS)
    run(write_manifest(tmp_path, columns), source={"columns": {"prompt": "caption"}})
    (row,) = images(tmp_path / "out").values()
    assert (row["id"], row["prompt"], row["manifest_prompt"]) == ("a.png/red", "red", "of somebody else")


@pytest.mark.parametrize("kind", [pa.null(), pa.float64()])
def test_a_column_that_is_empty_so_far_counts_as_none(tmp_path: Path, kind: pa.DataType) -> None:
    write_scenes(tmp_path, ROWS)
    manifest = write_manifest(tmp_path, {"image": ["a.png"], "prompt": pa.nulls(1, kind)})
    with pytest.raises(BatchsegError, match="has no column `prompt`"):
        run(manifest)


def test_prompts_must_be_texts(tmp_path: Path) -> None:
    write_scenes(tmp_path, ROWS)
    with pytest.raises(BatchsegError, match="column `prompt` holds int64; it must hold strings"):
        run(write_manifest(tmp_path, {"image": ["a.png"], "prompt": [3]}))


def test_images_inside_the_manifest(tmp_path: Path) -> None:
    write_scenes(tmp_path, ROWS)
    data = (tmp_path / "a.png").read_bytes()
    run(write_manifest(tmp_path, {"image_bytes": [data, data], "prompt": ["red", "green"]}))
    rows = images(tmp_path / "out")
    assert [*rows] == ["list.parquet/0/0/red", "list.parquet/0/1/green"]
    changed = write_manifest(tmp_path, {"image_bytes": [data, data], "prompt": ["red", "the green"]})
    assert run(changed).segmented == 1


def test_windows_and_views_are_told_the_prompt(tmp_path: Path) -> None:
    rows = [ROWS[0], ROWS[2], ROWS[3]]
    result = run(
        write_scenes(tmp_path, rows),
        tiling={"size": 16, "overlap": 0.25},
        views={"flip": ["vertical"]},
    )
    assert result.statuses == {"ok": 3}
    found_rows = images(tmp_path / "out")
    assert found_rows["a.png/the-red-box"]["prompt_iou"] == 1
    assert found_rows["b.png/the-red-box"]["prompt_iou"] == 1


@pytest.mark.parametrize(
    ("gates", "code", "sentence"),
    [
        ({"giou": 0.5, "ciou": 0.3}, 0, None),
        ({"giou": 0.99}, 4, "giou is 0."),
        ({"no_target_accuracy": 0.6}, 4, "no_target_accuracy is 0.5000; its minimum is 0.6"),
    ],
)
def test_gates(tmp_path: Path, gates: dict[str, float], code: int, sentence: str | None) -> None:
    result = run(write_scenes(tmp_path, ROWS), gates={"minimum": gates})
    assert result.exit_code == code
    assert sentence is None or sentence in result.gates[0]


def test_gates_without_prompts(tmp_path: Path, sample_data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    use_finder(monkeypatch, FinderCheckpoint(None))
    write_scenes(tmp_path, ROWS)
    result = run(
        write_manifest(tmp_path, {"image": ["a.png"], "truth": ["truth_0.png"]}),
        gates={"minimum": {"giou": 0.5}},
    )
    assert result.gates == ["giou is unknown, for no image has a prompt of its own; its minimum is 0.5"]
    assert "giou" not in result.metrics


def test_doctor_looks_at_prompts(tmp_path: Path) -> None:
    rows = [*ROWS, ("a.png", "a person without helmet"), ("c.png", None), ("c.png", "red " * 13)]
    report = batchseg.doctor(write_scenes(tmp_path, rows), model=MODEL)
    prompts = report.prompts
    assert prompts is not None
    assert (prompts.rows, prompts.without, prompts.different, prompts.negations) == (8, 1, 8, 1)
    assert any("1 prompt has a negation, such as 'a person without helmet' of a.png/a-pe" in each
               for each in report.warnings)  # fmt: skip
    assert report.counts == {"bad_prompt": 2}
    where = {problem.where: problem.sentence for problem in report.problems}
    assert "the manifest has no prompt in this row" in where["c.png/_row-7"]
    assert "the prompt has 13 words" in where[f"c.png/{'red-' * 12}red"]


def test_doctor_without_a_model_or_with_another(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    manifest = write_scenes(tmp_path, [*ROWS, ("a.png", "not red")])
    report = batchseg.doctor(manifest)
    assert report.ok and report.prompts is not None and report.prompts.negations == 1
    use_finder(monkeypatch, FinderCheckpoint(None))
    (problem,) = batchseg.doctor(manifest, model=MODEL).problems
    assert problem.kind == "source" and f"{MODEL} takes none" in problem.sentence


def test_verify_finds_a_wrong_prompt_iou(tmp_path: Path) -> None:
    run(write_scenes(tmp_path, ROWS))
    assert batchseg.verify(str(tmp_path / "out")).ok
    (part,) = (tmp_path / "out" / "images").glob("*.parquet")
    table = pq.read_table(part)
    at = table.column_names.index("prompt_iou")
    pq.write_table(table.set_column(at, table.schema.field(at), pa.array([0.123] * 6)), part)
    report = batchseg.verify(str(tmp_path / "out"))
    assert report.counts["metrics"] == 6 and "prompt_iou" in report.problems[0].sentence


def test_verify_finds_a_wrong_total(tmp_path: Path) -> None:
    run(write_scenes(tmp_path, ROWS))
    record = tmp_path / "out" / "run.json"
    said = json.loads(record.read_text())
    said["metrics"]["giou"] = 0.999
    record.write_text(json.dumps(said))
    (problem,) = batchseg.verify(str(tmp_path / "out")).problems
    assert problem.kind == "record" and problem.sentence.startswith("giou is 0.999, the pixels give 0.")


def test_compare_holds_prompts_against_each_other(tmp_path: Path) -> None:
    better = [*ROWS[:1], ("a.png", "red again"), *ROWS[2:]]
    ids = {"id": [*map(str, range(6))]}
    run(write_scenes(tmp_path / "named", ROWS, **ids), output=tmp_path / "first")
    run(write_scenes(tmp_path / "named", better, **ids), output=tmp_path / "second")
    config = {"bootstrap": 50, "max_drop": {"giou": 0.0, "no_target_accuracy": 0.1}}
    report = batchseg.compare(
        batchseg.CompareConfig(old=str(tmp_path / "first"), new=str(tmp_path / "second"), **config)
    )
    for side, name in (("old", "first"), ("new", "second")):
        stated = record_of(tmp_path / name)["metrics"]
        for figure in ("giou", "ciou", "no_target_accuracy", "mean_iou"):
            assert getattr(report.metrics[figure], side) == pytest.approx(stated[figure], abs=1e-12)
    giou = report.metrics["giou"]
    assert giou.difference is not None and giou.low is not None and giou.high is not None
    assert giou.difference > 0 and giou.low <= giou.difference <= giou.high
    assert report.gates == [] and "images of both whose file or prompt changed: 1" in report.notes


def test_resampled_rows_draw_the_same_images() -> None:
    rng = np.random.default_rng(5)
    images, truth, predicted = np.repeat(np.arange(9), 3), rng.integers(0, 2, 27), rng.integers(0, 2, 27)
    counts = SparseCounts.from_entries(images, truth, predicted, rng.integers(1, 9, 27), (9, 2))
    rows = counts.dense(0, 9).reshape(9, -1)
    (sums,), (again,) = resampled([counts], 20, 3), resampled_rows([rows], 20, 3)
    assert np.array_equal(sums.reshape(20, -1), again)


def test_the_page_shows_prompts(tmp_path: Path) -> None:
    rows = [*ROWS[:5], ("c.png", "a <b>blue</b> box")]
    result = run(write_scenes(tmp_path, rows))
    page = batchseg.report(tmp_path / "out")
    text = Path(page.path).read_text()
    assert page.pictures >= 6 and "anything blue" in text
    assert "a &lt;b&gt;blue&lt;" in text and "<b>blue" not in text
    shown = dict(re.findall(r'<data value="([^"]+)" data-figure="metric.(giou|ciou)">', text))
    assert {name: float(value) for value, name in shown.items()} == pytest.approx(
        {name: result.metrics[name] for name in ("giou", "ciou")}
    )


def test_exports_tell_the_rows_of_an_image_apart(tmp_path: Path) -> None:
    run(write_scenes(tmp_path, ROWS))
    report = batchseg.export(tmp_path / "out", to="coco", output=tmp_path / "out.json")
    assert report.written == 6 and not report.problems
    coco = json.loads((tmp_path / "out.json").read_text())
    assert [each["file_name"] for each in coco["images"]] == IDS
    told = {each["file_name"]: each["prompt"] for each in coco["images"]}
    assert told == dict(zip(IDS, (prompt for _, prompt in ROWS), strict=True))
    batchseg.export(tmp_path / "out", to="label-studio", output=tmp_path / "tasks.json")
    tasks = json.loads((tmp_path / "tasks.json").read_text())
    assert {each["data"]["id"]: each["data"]["prompt"] for each in tasks} == told


@pytest.mark.parametrize("kind", ["blend", "triptych"])
def test_overlays_are_drawn_for_every_row(tmp_path: Path, kind: str) -> None:
    manifest = write_scenes(tmp_path, ROWS)
    result = run(manifest, output={"path": str(tmp_path / "out"), "overlays": {"kind": kind}})
    assert result.statuses == {"ok": 6}
    drawn = sorted(path.relative_to(tmp_path / "out/overlays").as_posix()
                   for path in (tmp_path / "out/overlays").rglob("*.*") if path.is_file())  # fmt: skip
    assert [name.rsplit(".", 1)[0] for name in drawn] == sorted(IDS)
    assert batchseg.verify(str(tmp_path / "out")).ok


def test_a_file_is_decoded_once_for_rows_that_follow_each_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    decoded = []
    real = decode.decode_scaled
    monkeypatch.setattr(decode, "decode_scaled", lambda *args: decoded.append(1) or real(*args))
    result = run(write_scenes(tmp_path, ROWS))
    assert (result.statuses, len(decoded)) == ({"ok": 6}, 3)
    pairs = [*expected(tmp_path, ROWS)]
    for name, (_, mask_HW) in zip(IDS, pairs, strict=True):
        mask = tmp_path / "out" / "masks" / f"{name}.png"
        assert np.array_equal(np.asarray(Image.open(mask)), mask_HW)


def test_masks_are_decided_again_with_their_prompts(tmp_path: Path) -> None:
    manifest = write_scenes(tmp_path, ROWS)
    before = run(manifest, output={"path": str(tmp_path / "out"), "probabilities": "full"})
    after = batchseg.decide(tmp_path / "out", output=tmp_path / "again")
    assert (after.statuses, after.metrics) == ({"ok": 6}, before.metrics)
    again = images(tmp_path / "again")
    assert [(row["id"], row["prompt"], row["prompt_iou"], row["presence"]) for row in again.values()] == [
        (row["id"], row["prompt"], row["prompt_iou"], row["presence"])
        for row in images(tmp_path / "out").values()
    ]


def test_rasters_are_joined_from_parts_with_their_prompts(tmp_path: Path) -> None:
    rows = [("a.png", "red"), ("a.png", "green"), ("a.png", "blue"), ("a.png", "red " * 13)]
    write_scenes(tmp_path, rows)
    rasters = {"image": ["a.tif"] * 4, "prompt": [prompt for _, prompt in rows]}
    Image.open(tmp_path / "a.png").save(tmp_path / "a.tif")
    manifest = write_manifest(tmp_path, {**rasters, "truth": [f"truth_{number}.png" for number in range(4)]})
    tiling = {"size": 8, "overlap": 0, "part": 16}
    result = run(manifest, tiling=tiling, gates={"max_failed": 1})
    assert (result.exit_code, result.statuses) == (0, {"ok": 3, "bad_prompt": 1})
    assert record_of(tmp_path / "out")["parts"]["computed"] == 16
    found_rows = images(tmp_path / "out")
    first, _, blue = (found_rows[f"a.tif/{name}"] for name in ("red", "green", "blue"))
    assert (first["prompt_iou"], first["presence"], first["mask"]) == (1, 1.0, "masks/a.tif/red.tif")
    assert (blue["prompt_iou"], blue["presence"]) == (0, 1.0)  # each window takes its corner for blue


def test_acknowledged_prompts_are_tried_again_with_another_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    manifest = write_scenes(tmp_path, [*ROWS, ("a.png", "red " * 13)])
    run(manifest)
    batchseg.acknowledge(str(tmp_path / "out"), status=["bad_prompt"])
    again = run(manifest)
    assert (again.statuses, again.done_before, again.exit_code) == ({}, 7, 0)
    use_finder(monkeypatch, FinderCheckpoint(fingerprint="f2", most_words=13))
    other = run(manifest, recompute=True)
    assert other.statuses == {"ok": 7}
