"""The results folder: commits, what an unfinished run left, and the written tables."""

from __future__ import annotations

import json
import os
import re
from collections import Counter
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from crashes import every_kill
from hypothesis import given, settings
from hypothesis import strategies as st
from result_rows import (
    LABELS,
    Counts,
    confusion,
    failed,
    ids,
    make_masks,
    masks,
    parts,
    pixels_of,
    read,
    row,
    table,
)

from batchseg.errors import OutputError
from batchseg.inspect.verify import verify
from batchseg.results.folder import Held, Results
from batchseg.results.masks import write_names
from batchseg.results.record import new_run_id
from batchseg.schema import CLASSES, IMAGES, PIXELS
from batchseg.storage.location import Location

SINCE_TWO_KEYS = ("truth_status", "truth_version", "score_fingerprint")


@pytest.fixture
def held(tmp_path: Path) -> Held:
    return Results(str(tmp_path / "results")).open()


@pytest.fixture
def results(held: Held) -> Results:
    return held.results


# -- commits


def test_rows_count_once_they_are_committed(held: Held) -> None:
    held.commit("1.parquet", table(row("a", {(0, 1): 2, (None, 0): 4}), failed("b")))
    assert [(each["id"], each["status"]) for each in read(held.results, "images")] == [
        ("a", "ok"),
        ("b", "unreadable"),
    ]
    assert read(held.results, "pixels") == [
        {"id": "a", "truth": 0, "predicted": 1, "pixels": 2},
        {"id": "a", "truth": None, "predicted": 0, "pixels": 4},
    ]
    assert (len(held.ledger), held.ledger.fingerprints()) == (2, {"model"})


def test_a_part_of_failures_alone(held: Held) -> None:
    held.commit("1.parquet", table(failed("a"), failed("b")))
    assert held.finish(LABELS).truth_pixels == 0
    assert (len(read(held.results, "images")), read(held.results, "pixels")) == (2, [])
    assert held.ledger.fingerprints() == set()


def test_an_id_twice_in_one_part_counts_once(held: Held) -> None:
    again = table(row("a", {(0, 0): 1}), row("b", {(1, 1): 2}), row("a", {(2, 2): 3}))
    held.commit("1.parquet", again)
    held.finish(LABELS)
    assert ids(held.results) == ["a", "b"]
    assert confusion(held.results) == {(1, 1): 2, (2, 2): 3}


def test_a_part_that_is_committed_again_counts_once(held: Held) -> None:
    """As it is where an interrupt came between the commit and what is known of it."""
    held.commit("1.parquet", table(row("a")))
    for _ in range(2):
        held.commit("2.parquet", table(row("b"), row("c")))
    assert len(held.ledger) == 3
    held.finish(LABELS)
    assert pixels_of(held.results) == {"a": 6, "b": 6, "c": 6}


def test_readers_never_see_half_a_part(held: Held) -> None:
    seen = []
    replace = os.replace

    def watching(source: str, target: str) -> None:
        seen.append((Path(source).name, Path(target).exists()))
        pq.read_table(source)  # whole before it has its name
        replace(source, target)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "replace", watching)
        held.commit("1.parquet", table(row("a")))
    assert [name.startswith(".tmp-") and not there for name, there in seen] == [True, True]


# -- what an unfinished run left


def test_pixels_without_images_are_swept_away(held: Held) -> None:
    held.commit("1.parquet", table(row("a")))
    held.commit("2.parquet", table(row("b")))
    (held.results.images / "2.parquet").delete()  # a crash between the two writes
    Results(held.results.root.path).open()
    assert parts(held.results) == (["1.parquet"], ["1.parquet"])


def test_killed_at_any_step_of_a_commit_all_its_rows_count_or_none(tmp_path: Path) -> None:
    opened: dict[int, Held] = {}

    def work(step: int) -> Callable[[], None]:
        held = opened[step] = Results(str(tmp_path / str(step))).open()
        held.commit("1.parquet", table(row("a", {(0, 1): 2})))
        return lambda: held.commit("2.parquet", table(row("b", {(1, 1): 5}), row("c", {(2, 2): 7})))

    def after(step: int) -> None:
        results = opened[step].results
        found = ids(results)
        results.open()
        assert found == ids(results) == (["a"] if step < 2 else ["a", "b", "c"])
        assert pixels_of(results) == ({"a": 2} if step < 2 else {"a": 2, "b": 5, "c": 7})
        assert not [file for file in Path(results.root.path).rglob(".tmp-*")]

    assert every_kill(work, after) == 2  # pixels, images


def test_what_a_killed_run_left_unfinished_is_swept_away(results: Results) -> None:
    left = [results.root, results.images, results.pixels, results.root / "runs", results.work]
    for folder in left:
        (folder / ".tmp-0123456789ab").write(b"half a file")
    results.open()
    assert [file for folder in left for file in folder.files()] == []
    assert results.work.is_folder()


def test_masks_that_a_killed_run_wrote_but_did_not_commit_go(held: Held) -> None:
    """Its plan names them; a mask that no plan names is somebody's own, and verify's to tell of."""
    make_masks(held.results, "committed", "planned", "stranger")
    held.commit("1.parquet", table(row("committed")))
    write_names(held.results.work / "plan-segment.arrow", ["committed.png", "planned.png", "never.png"])
    held.results.open()
    assert masks(held.results) == {"committed", "stranger"}


def test_a_plan_that_was_cut_off_or_is_none_is_no_matter(held: Held) -> None:
    make_masks(held.results, "a")
    held.commit("1.parquet", table(row("a")))
    write_names(held.results.work / "plan.arrow", ["a.png", "b.png"])
    whole = (held.results.work / "plan.arrow").read()
    (held.results.work / "plan.arrow").write(whole[: len(whole) // 2])
    (held.results.work / "other.arrow").write(b"")
    held.results.open()
    assert (ids(held.results), masks(held.results)) == (["a"], {"a"})
    assert held.results.work.files() == []


# -- one row an image


@settings(max_examples=15)
@given(st.lists(st.lists(st.sampled_from("abcdef"), min_size=1, max_size=6), min_size=1, max_size=5))
def test_one_row_an_image_whatever_was_committed(
    tmp_path_factory: pytest.TempPathFactory, commits: list[list[str]]
) -> None:
    held = Results(str(tmp_path_factory.mktemp("results"))).open()
    results = held.results
    expected: dict[str, tuple[int, int]] = {}
    for number, names in enumerate(commits):
        rows = []
        for place, name in enumerate(names):
            pixels = 10 * number + place + 1
            rows.append(row(name, {(number % 3, place % 3): pixels}, run_id=f"{number}-{place}"))
            expected[name] = (number, place)
        held.commit(f"{number}.parquet", table(*rows))
    held.finish(LABELS)
    found = {each["id"]: each["run_id"] for each in read(results, "images")}
    assert len(found) == len(read(results, "images"))
    assert found == {name: f"{number}-{place}" for name, (number, place) in expected.items()}
    sums: Counter[tuple[int | None, int | None]] = Counter()
    for number, place in expected.values():
        sums[number % 3, place % 3] += 10 * number + place + 1
    assert confusion(results) == sums


def test_nothing_is_known_of_a_folder_that_is_not_there(tmp_path: Path) -> None:
    results = Results(str(tmp_path / "nowhere"))
    ledger = results.ledger()
    assert (len(ledger), ledger.fingerprints(), results.record(), results.last_run()) == (0, set(), None, "")
    assert not (tmp_path / "nowhere").exists()


# -- the written tables


def test_classes_are_the_sum_of_pixels(held: Held, results: Results) -> None:
    held.commit("1.parquet", table(row("a", {(0, 0): 5, (0, 1): 3, (None, 1): 7}), row("b", {(1, 1): 2})))
    held.commit("2.parquet", table(row("c", {(0, None): 2, (1, 0): 4})))
    total = held.finish(LABELS)
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
    held: Held, pixels: Counts, precision: float | None, recall: float | None, iou: float | None
) -> None:
    held.commit("1.parquet", table(row("a", pixels)))
    held.finish(LABELS)
    sky = pq.read_table(held.results.root.path + "/classes.parquet").to_pylist()[0]
    assert [sky[name] for name in ("precision", "recall", "f1", "iou", "dice")] == [
        precision, recall, iou, iou, iou,
    ]  # fmt: skip


def test_every_table_has_the_documented_schema(held: Held, results: Results) -> None:
    held.commit("1.parquet", table(row("a"), failed("b")))
    for kind, schema in (("images", IMAGES), ("pixels", PIXELS)):  # as committed, and below as merged
        assert pq.read_schema(f"{results.root.path}/{kind}/1.parquet").equals(schema, check_metadata=True)
    held.commit("2.parquet", table(row("a")))  # so that the first part is rewritten
    held.finish(LABELS)
    written = {
        "images/2.parquet": IMAGES,
        "pixels/2.parquet": PIXELS,
        "classes.parquet": CLASSES,
    }
    for name, schema in written.items():
        # types, nullability and the descriptions of the columns
        assert pq.read_schema(f"{results.root.path}/{name}").equals(schema, check_metadata=True), name


def test_own_columns_stand_to_the_right(held: Held, results: Results) -> None:
    carried = pa.schema([("site", pa.string()), ("_odd", pa.list_(pa.int8()))])
    held.commit("1.parquet", table(row("a", site="x", _odd=[1]), carried=carried))
    held.commit("2.parquet", table(row("b")))
    held.finish(LABELS)
    assert pq.read_schema(f"{results.root.path}/images/2.parquet").names == [*IMAGES.names, "site", "_odd"]
    assert [(each["site"], each["_odd"]) for each in read(results, "images")] == [("x", [1]), (None, None)]


def test_the_record_is_written_twice_and_read_back(results: Results) -> None:
    results.write_record({"run_id": "r1", "when": datetime(2024, 1, 2), "n": 1})
    results.write_record({"run_id": "r2"})
    record = results.record()
    assert record is not None and record["run_id"] == "r2"
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


def test_a_run_that_was_killed_while_it_made_its_folders_is_followed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make = Location.make_folder
    for count in range(6):
        left = count

        def some(self: Location) -> None:
            nonlocal left
            left -= 1
            if left < 0:
                raise KeyboardInterrupt
            make(self)

        monkeypatch.setattr(Location, "make_folder", some)
        results = Results(str(tmp_path / str(count)))
        with pytest.raises(KeyboardInterrupt), results.held():
            raise AssertionError("it was not killed")
        monkeypatch.undo()
        with results.held() as held:
            assert len(held.ledger) == 0


def test_a_results_path_that_is_a_file_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match=r"file.*cannot be written"):
        Results(str(tmp_path / "file")).open()


def test_a_full_disk_is_one_sentence_wherever_it_shows(
    held: Held, results: Results, monkeypatch: pytest.MonkeyPatch
) -> None:
    held.commit("1.parquet", table(row("a")))

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    for write in (
        lambda: held.commit("2.parquet", table(row("b"))),
        lambda: held.ledger.drop(np.ones(len(held.ledger), bool)),
        lambda: held.finish(LABELS),
        lambda: results.write_record({"run_id": "r"}),
    ):
        with pytest.raises(OutputError, match=r"results: cannot be written: No space left on device$"):
            write()
    assert ids(results) == ["a"]


def test_a_damaged_part_is_named(results: Results) -> None:
    (results.images / "1.parquet").write(b"not Parquet")
    for look in (results.ledger, results.open):
        with pytest.raises(OutputError, match=r"images/1\.parquet: cannot be read"):
            look()


@pytest.mark.parametrize(
    ("column", "value", "older", "sentence"),
    [
        ("status", None, False, "it has no column status"),
        ("status", [1], False, ".*list"),
        ("fingerprint", None, False, "it has no column fingerprint"),
        ("truth_status", [1], False, ".*list"),
        ("status", None, True, "it has no column status"),
        ("status", [1], True, "it has no column truth_status"),
        ("fingerprint", None, True, "it has no column fingerprint"),
    ],
)
def test_a_table_of_another_program_is_named_and_left_alone(
    results: Results, column: str, value: object, older: bool, sentence: str
) -> None:
    """Whether it looks like a part of today or of batchseg 0.1."""
    columns = {name: [each] for name, each in row("a").items() if not name.startswith("_")}
    columns = {**columns, column: [value]} if value else {n: c for n, c in columns.items() if n != column}
    if older:
        columns = {name: each for name, each in columns.items() if name not in SINCE_TWO_KEYS}
    pq.write_table(pa.table(columns), results.images.path + "/1.parquet")
    before = (results.images / "1.parquet").read()
    for look in (results.ledger, results.open):
        with pytest.raises(OutputError, match=rf"1\.parquet: is no table of batchseg: {sentence}"):
            look()
    assert (results.images / "1.parquet").read() == before


def test_pixels_of_classes_that_the_label_map_does_not_have_are_named(held: Held) -> None:
    held.commit("1.parquet", table(row("a", {(0, 7): 3})))
    with pytest.raises(OutputError, match=r"pixels/1\.parquet: holds classes beyond the 3 of this label map"):
        held.finish(LABELS)


def test_a_later_run_sorts_behind_whatever_the_clock_says(held: Held, results: Results) -> None:
    names = [new_run_id("") for _ in range(1000)]
    assert [name[:-1] for name in names] == sorted(name[:-1] for name in names)
    for end in ("00001.parquet", "json"):
        future = f"29991231T235959-f423f0{end}"
        assert re.fullmatch(r"30000101T000000-00000\w", new_run_id(future))
    assert results.last_run() == ""
    results.write_record({"run_id": "29991231T235959-000000"})
    held.commit("29991231T235959-000010-00003.parquet", table(row("a")))
    assert new_run_id(results.last_run()).startswith("29991231T235959-00002")
