"""The results folder: commits, replaced rows, crashes, what is done, and the written tables."""

from __future__ import annotations

import json
import os
import re
from collections import Counter
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from batchseg.errors import OutputError
from batchseg.inspect.verify import verify
from batchseg.labels.label_map import LabelMap
from batchseg.results.folder import Results
from batchseg.results.record import new_run_id
from batchseg.schema import CLASSES, IMAGES, PIXELS
from batchseg.source.listing import LISTING
from batchseg.stages.write import row_schema
from batchseg.storage.keys import KeySet
from batchseg.storage.location import Location

LABELS = LabelMap.from_names(("sky", "road", "car"))
Counts = dict[tuple[int | None, int | None], int]


def row(name: str, pixels: Counts | None = None, **values: Any) -> dict[str, Any]:
    """A row as the last stage makes it; `pixels` by (truth, predicted)."""
    pixels = {(0, 0): 6} if pixels is None else pixels
    return {
        "id": name,
        "uri": f"/data/{name}",
        "status": "ok",
        "has_truth": any(truth is not None for truth, _ in pixels),
        "source_version": "v1",
        "fingerprint": "model",
        "run_id": "run",
        "finished_at": datetime(2024, 1, 2, tzinfo=timezone.utc),
        "_pixels": [{"truth": t, "predicted": p, "pixels": n} for (t, p), n in pixels.items()],
        "_seconds": [("decode", 0.5)],
        **values,
    }


def failed(name: str, **values: Any) -> dict[str, Any]:
    return row(name, {}, status="unreadable", error="not an image", _pixels=None, **values)


def table(*rows: dict[str, Any], carried: pa.Schema | None = None) -> pa.Table:
    return pa.Table.from_pylist(list(rows), schema=row_schema(carried or pa.schema([])))


def listing(*rows: tuple[str, str | None, str | None]) -> pa.Table:
    """id, source_version and truth of images that a source lists."""
    columns = dict(zip(("id", "source_version", "truth"), map(list, zip(*rows, strict=True)), strict=True))
    arrays = [pa.array(columns.get(field.name, [None] * len(rows)), field.type) for field in LISTING]
    return pa.Table.from_arrays(arrays, schema=pa.schema([field.with_nullable(True) for field in LISTING]))


@pytest.fixture
def results(tmp_path: Path) -> Results:
    opened = Results(str(tmp_path / "results"))
    opened.open()
    return opened


def read(results: Results, name: str) -> list[dict[str, Any]]:
    """What an analyst sees."""
    files = results.root.path + (f"/{name}/*.parquet" if name != "classes" else "/classes.parquet")
    found = duckdb.sql(f"select * from read_parquet('{files}', union_by_name=true) order by all")
    return found.to_arrow_table().to_pylist()


def parts(results: Results) -> tuple[list[str], list[str]]:
    return [file.name for file in results.images.files()], [file.name for file in results.pixels.files()]


def confusion(results: Results) -> dict[tuple[int | None, int | None], int]:
    sums: Counter[tuple[int | None, int | None]] = Counter()
    for entry in read(results, "pixels"):
        sums[entry["truth"], entry["predicted"]] += entry["pixels"]
    return dict(sums)


# -- commits


def test_rows_count_once_they_are_committed(results: Results) -> None:
    results.commit("1.parquet", table(row("a", {(0, 1): 2, (None, 0): 4}), failed("b")))
    assert [(each["id"], each["status"]) for each in read(results, "images")] == [
        ("a", "ok"),
        ("b", "unreadable"),
    ]
    assert read(results, "pixels") == [
        {"id": "a", "truth": 0, "predicted": 1, "pixels": 2},
        {"id": "a", "truth": None, "predicted": 0, "pixels": 4},
    ]
    assert results.counts() == {"ok": 1, "unreadable": 1}
    assert results.fingerprints() == {"model"}


def test_a_part_of_failures_alone(results: Results) -> None:
    results.commit("1.parquet", table(failed("a"), failed("b")))
    assert results.finish(LABELS).truth_pixels == 0
    assert (len(read(results, "images")), read(results, "pixels")) == (2, [])
    assert results.fingerprints() == set()


def test_pixels_without_images_are_swept_away(results: Results) -> None:
    results.commit("1.parquet", table(row("a")))
    results.commit("2.parquet", table(row("b")))
    (results.images / "2.parquet").delete()  # a crash between the two writes
    Results(results.root.path).open()
    assert parts(results) == (["1.parquet"], ["1.parquet"])


def test_a_crash_between_the_two_writes_heals(results: Results, monkeypatch: pytest.MonkeyPatch) -> None:
    write, place = Location.write, results.images / "1.parquet"

    def crash(self: Location, data: bytes) -> None:
        if self.path == place.path:
            raise KeyboardInterrupt
        write(self, data)

    monkeypatch.setattr(Location, "write", crash)
    with pytest.raises(KeyboardInterrupt):
        results.commit("1.parquet", table(row("a")))
    monkeypatch.undo()
    assert results.counts() == {}
    results.open()
    results.commit("2.parquet", table(row("a", {(1, 1): 5})))
    results.finish(LABELS)
    assert (len(read(results, "images")), confusion(results)) == (1, {(1, 1): 5})


def test_what_a_killed_run_left_unfinished_is_swept_away(results: Results) -> None:
    left = [results.root, results.images, results.pixels, results.root / "runs", results.work]
    for folder in left:
        (folder / ".tmp-0123456789ab").write(b"half a file")
    results.open()
    assert [file for folder in left for file in folder.files()] == []
    assert results.work.is_folder()


def test_readers_never_see_half_a_part(results: Results) -> None:
    seen = []
    replace = os.replace

    def watching(source: str, target: str) -> None:
        seen.append((Path(source).name, Path(target).exists()))
        pq.read_table(source)  # whole before it has its name
        replace(source, target)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "replace", watching)
        results.commit("1.parquet", table(row("a")))
    assert [name.startswith(".tmp-") and not there for name, there in seen] == [True, True]


def test_an_id_twice_in_one_part_counts_once(results: Results) -> None:
    again = table(row("a", {(0, 0): 1}), row("b", {(1, 1): 2}), row("a", {(2, 2): 3}))
    results.commit("1.parquet", again)
    results.finish(LABELS)
    assert [each["id"] for each in read(results, "images")] == ["a", "b"]
    assert confusion(results) == {(1, 1): 2, (2, 2): 3}


# -- replaced rows


def test_later_rows_replace_earlier_ones_with_their_pixels(results: Results) -> None:
    results.commit("1.parquet", table(row("a", {(0, 0): 1}), row("b", {(0, 1): 2}), row("c", {(0, 2): 3})))
    results.commit("2.parquet", table(row("b", {(1, 1): 4}), row("d", {(2, 2): 5})))
    results.commit("3.parquet", table(failed("a"), row("d", {(2, 0): 6})))
    results.finish(LABELS)
    assert [(each["id"], each["status"]) for each in read(results, "images")] == [
        ("a", "unreadable"),
        ("b", "ok"),
        ("c", "ok"),
        ("d", "ok"),
    ]
    assert confusion(results) == {(1, 1): 4, (0, 2): 3, (2, 0): 6}


def test_a_part_that_is_replaced_whole_disappears(results: Results) -> None:
    results.commit("1.parquet", table(row("a"), row("b")))
    results.commit("2.parquet", table(row("b"), row("a")))
    results.finish(LABELS)
    assert parts(results) == (["2.parquet"], ["2.parquet"])


@settings(max_examples=15)
@given(st.lists(st.lists(st.sampled_from("abcdef"), min_size=1, max_size=6), min_size=1, max_size=5))
def test_one_row_an_image_whatever_was_committed(
    tmp_path_factory: pytest.TempPathFactory, commits: list[list[str]]
) -> None:
    results = Results(str(tmp_path_factory.mktemp("results")))
    results.open()
    expected: dict[str, tuple[int, int]] = {}
    for number, names in enumerate(commits):
        rows = []
        for place, name in enumerate(names):
            pixels = 10 * number + place + 1
            rows.append(row(name, {(number % 3, place % 3): pixels}, run_id=f"{number}-{place}"))
            expected[name] = (number, place)
        results.commit(f"{number}.parquet", table(*rows))
    results.finish(LABELS)
    found = {each["id"]: each["run_id"] for each in read(results, "images")}
    assert len(found) == len(read(results, "images"))
    assert found == {name: f"{number}-{place}" for name, (number, place) in expected.items()}
    sums: Counter[tuple[int | None, int | None]] = Counter()
    for number, place in expected.values():
        sums[number % 3, place % 3] += 10 * number + place + 1
    assert confusion(results) == sums


@pytest.mark.parametrize("stop_at", range(4))
def test_a_crash_while_rows_are_dropped_heals(
    results: Results, monkeypatch: pytest.MonkeyPatch, stop_at: int
) -> None:
    """Stopped before any of its writes and deletions, the next run comes to the same tables."""
    results.commit("1.parquet", table(row("a", {(0, 0): 1}), row("b", {(0, 1): 2})))
    results.commit("2.parquet", table(row("c", {(0, 2): 3})))
    results.commit("3.parquet", table(row("a", {(1, 0): 4}), row("c", {(1, 1): 5})))
    steps = 0

    def counted(step: Any) -> Any:
        def crash(*arguments: Any) -> None:
            nonlocal steps
            if steps == stop_at:
                raise KeyboardInterrupt
            steps += 1
            step(*arguments)

        return crash

    monkeypatch.setattr(Location, "write", counted(Location.write))
    monkeypatch.setattr(Location, "delete", counted(Location.delete))
    with pytest.raises(KeyboardInterrupt):
        results.finish(LABELS)
    monkeypatch.undo()
    results.open()
    results.finish(LABELS)
    assert [each["id"] for each in read(results, "images")] == ["a", "b", "c"]
    assert confusion(results) == {(0, 1): 2, (1, 0): 4, (1, 1): 5}


# -- what is done


def test_done_is_ok_with_the_same_version_and_fingerprint(results: Results) -> None:
    results.commit(
        "1.parquet",
        table(
            row("same"),
            row("changed"),
            row("other model", fingerprint="other"),
            failed("failed"),
            row("no truth file", status="truth_missing"),
            row("unversioned", source_version=None),
        ),
    )
    seen = [
        ("same", "v1", None),
        ("changed", "v2", None),
        ("other model", "v1", None),
        ("failed", "v1", None),
        ("no truth file", "v1", None),
        ("unversioned", None, None),
        ("new", "v1", None),
    ]
    assert results.done("model")(listing(*seen)).tolist() == [True, False, False, False, False, True, False]
    assert results.done("nobody's")(listing(*seen)).tolist() == [False] * 7


def test_truth_that_came_later_is_scored_and_truth_that_went_is_no_matter(results: Results) -> None:
    results.commit("1.parquet", table(row("unscored", {(None, 0): 6}), row("scored", {(0, 0): 6})))
    without = listing(("unscored", "v1", None), ("scored", "v1", None))
    with_truth = listing(("unscored", "v1", "t.png"), ("scored", "v1", "t.png"))
    assert results.done("model")(without).tolist() == [True, True]
    assert results.done("model")(with_truth).tolist() == [False, True]


def test_nothing_is_done_in_a_folder_that_is_not_there(tmp_path: Path) -> None:
    results = Results(str(tmp_path / "nowhere"))
    assert results.done("model")(listing(("a", "v1", None))).tolist() == [False]
    assert (results.fingerprints(), results.record(), results.counts()) == (set(), None, {})
    assert not (tmp_path / "nowhere").exists()


# -- the written tables


def test_classes_are_the_sum_of_pixels(results: Results) -> None:
    results.commit("1.parquet", table(row("a", {(0, 0): 5, (0, 1): 3, (None, 1): 7}), row("b", {(1, 1): 2})))
    results.commit("2.parquet", table(row("c", {(0, None): 2, (1, 0): 4})))
    total = results.finish(LABELS)
    support = duckdb.sql(
        f"select truth, sum(pixels)::int from '{results.root.path}/pixels/*.parquet' "
        "where truth is not null group by truth order by truth"
    ).fetchall()
    sky, road, car = read(results, "classes")
    assert support == [(0, sky["support"]), (1, road["support"])] == [(0, 10), (1, 6)]
    assert (sky["class_name"], sky["precision"], sky["recall"]) == ("sky", 5 / 9, 5 / 10)
    assert (road["precision"], road["recall"], road["iou"]) == (2 / 5, 2 / 6, 2 / 9)
    assert road["f1"] == road["dice"] == pytest.approx(2 * 2 / (5 + 6))
    assert road["predicted_pixels"] == 3 + 7 + 2  # with or without truth
    assert total.truth_pixels == 16
    assert [car[name] for name in ("precision", "recall", "f1", "iou", "dice")] == [None] * 5
    assert (car["support"], car["predicted_pixels"]) == (0, 0)


@pytest.mark.parametrize(
    ("pixels", "precision", "recall", "iou"),
    [
        ({(0, 1): 4}, None, 0.0, 0.0),  # in the truth, never predicted
        ({(1, 0): 4}, 0.0, None, 0.0),  # predicted, never in the truth
        ({(1, 1): 4}, None, None, None),  # in neither
        ({(None, 0): 4}, None, None, None),  # predicted where there is no truth to judge it
        ({(0, None): 4}, None, 0.0, 0.0),  # the mask abstains
    ],
)
def test_what_is_undefined_is_null_and_never_nan(
    results: Results, pixels: Counts, precision: float | None, recall: float | None, iou: float | None
) -> None:
    results.commit("1.parquet", table(row("a", pixels)))
    results.finish(LABELS)
    sky = pq.read_table(results.root.path + "/classes.parquet").to_pylist()[0]
    assert [sky[name] for name in ("precision", "recall", "f1", "iou", "dice")] == [
        precision, recall, iou, iou, iou,
    ]  # fmt: skip


def test_every_table_has_the_documented_schema(results: Results) -> None:
    results.commit("1.parquet", table(row("a"), failed("b")))
    results.commit("2.parquet", table(row("a")))  # so that the first part is rewritten
    results.finish(LABELS)
    written = {
        "images/1.parquet": IMAGES,
        "images/2.parquet": IMAGES,
        "pixels/1.parquet": PIXELS,
        "pixels/2.parquet": PIXELS,
        "classes.parquet": CLASSES,
    }
    for name, schema in written.items():
        # types, nullability and the descriptions of the columns
        assert pq.read_schema(f"{results.root.path}/{name}").equals(schema, check_metadata=True), name


def test_own_columns_stand_to_the_right(results: Results) -> None:
    carried = pa.schema([("site", pa.string()), ("_odd", pa.list_(pa.int8()))])
    results.commit("1.parquet", table(row("a", site="x", _odd=[1]), carried=carried))
    results.commit("2.parquet", table(row("b")))
    results.finish(LABELS)
    assert pq.read_schema(f"{results.root.path}/images/1.parquet").names == [*IMAGES.names, "site", "_odd"]
    assert [(each["site"], each["_odd"]) for each in read(results, "images")] == [("x", [1]), (None, None)]


def test_the_record_is_written_twice_and_read_back(results: Results) -> None:
    results.write_record({"run_id": "r1", "when": datetime(2024, 1, 2), "n": 1})
    results.write_record({"run_id": "r2"})
    assert results.record() == {"run_id": "r2"}
    first = json.loads((results.root / "runs/r1.json").read())
    assert first == {"run_id": "r1", "when": "2024-01-02 00:00:00", "n": 1}
    (results.root / "run.json").write(b"{ half")
    assert results.record() is None


# -- what cannot be done


@pytest.mark.parametrize(
    "name", ["images/a.jpg", "masks/a.png", "pixels/mine.parquet", ".work/x", "run.json"]
)
def test_what_no_run_has_made_stays_as_it_is(tmp_path: Path, name: str) -> None:
    precious = tmp_path / name
    precious.parent.mkdir(exist_ok=True)
    precious.write_bytes(b"precious")
    with pytest.raises(OutputError, match="give the results a folder"), Results(str(tmp_path)).held():
        pass
    with pytest.raises(OutputError, match="no results of batchseg"):
        verify(str(tmp_path), repair=True)
    assert [file.name for file in tmp_path.rglob("*") if file.is_file()] == [precious.name]
    assert precious.read_bytes() == b"precious"


def test_a_folder_with_other_things_takes_results(tmp_path: Path) -> None:
    (tmp_path / "job.yaml").write_text("source: photos")
    for _ in range(2):
        with Results(str(tmp_path)).held():
            pass
    assert (tmp_path / "job.yaml").is_file()


def test_a_results_path_that_is_a_file_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match=r"file.*cannot be written"):
        Results(str(tmp_path / "file")).open()


def test_a_full_disk_is_one_sentence_wherever_it_shows(
    results: Results, monkeypatch: pytest.MonkeyPatch
) -> None:
    results.commit("1.parquet", table(row("a")))

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    for write in (
        lambda: results.commit("2.parquet", table(row("b"))),
        lambda: results.finish(LABELS),
        lambda: results.write_record({"run_id": "r"}),
    ):
        with pytest.raises(OutputError, match=r"results: cannot be written: No space left on device$"):
            write()
    assert results.counts() == {"ok": 1}


def test_a_damaged_part_is_named(results: Results) -> None:
    (results.images / "1.parquet").write(b"not Parquet")
    with pytest.raises(OutputError, match=r"images/1\.parquet: cannot be read"):
        results.done("model")


def test_a_table_of_another_program_is_named(results: Results) -> None:
    pq.write_table(pa.table({"id": ["a"]}), results.images.path + "/1.parquet")
    with pytest.raises(OutputError, match=r"1\.parquet: is no table of batchseg: it has no column status"):
        results.counts()


def test_columns_of_other_types_are_named(results: Results) -> None:
    row_of_another = {"id": ["a"], "status": [[1]], "fingerprint": ["f"]}
    pq.write_table(pa.table(row_of_another), results.images.path + "/1.parquet")
    with pytest.raises(OutputError, match=r"1\.parquet: is no table of batchseg: .*list"):
        results.fingerprints()


def test_pruning_deletes_nothing_but_masks(results: Results, tmp_path: Path) -> None:
    (tmp_path / "precious.txt").write_text("precious")
    wrong = ("../precious.txt", "masks/../../precious.txt", str(tmp_path / "precious.txt"))
    rows = [row(f"{index}.png", mask=mask) for index, mask in enumerate(wrong)]
    results.commit("1.parquet", table(*rows))
    assert results.prune(KeySet()) == 3
    assert (tmp_path / "precious.txt").exists()


def test_pixels_of_classes_that_the_label_map_does_not_have_are_named(results: Results) -> None:
    results.commit("1.parquet", table(row("a", {(0, 7): 3})))
    with pytest.raises(OutputError, match=r"pixels/1\.parquet: holds classes beyond the 3 of this label map"):
        results.finish(LABELS)


def test_a_later_run_sorts_behind_whatever_the_clock_says(results: Results) -> None:
    names = [new_run_id("") for _ in range(1000)]
    assert [name[:-1] for name in names] == sorted(name[:-1] for name in names)
    for end in ("00001.parquet", "json"):
        future = f"29991231T235959-f423f0{end}"
        assert re.fullmatch(r"30000101T000000-00000\w", new_run_id(future))
    assert results.last_run() == ""
    results.write_record({"run_id": "29991231T235959-000000"})
    results.commit("29991231T235959-000010-00003.parquet", table(row("a")))
    assert new_run_id(results.last_run()).startswith("29991231T235959-00002")


# -- scale


def test_a_recompute_of_everything_drops_everything_once(results: Results) -> None:
    """Every row replaced, in parts of another cut: sorted keys, not a set that grows with each part."""
    for run in ("1", "2"):
        for part in range(20):
            step = 50 if run == "1" else 49
            names = range(part * step, min((part + 1) * step, 1000) if part < 19 else 1000)
            results.commit(f"{run}-{part:02d}.parquet", table(*(row(f"{n:04d}", run_id=run) for n in names)))
    results.finish(LABELS)
    assert {each["run_id"] for each in read(results, "images")} == {"2"}
    assert [each["id"] for each in read(results, "images")] == [f"{n:04d}" for n in range(1000)]
    assert all(name.startswith("2-") for names in parts(results) for name in names)
    assert confusion(results) == {(0, 0): 6000}
    assert np.sum([each["pixels"] for each in read(results, "pixels")]) == 6000
