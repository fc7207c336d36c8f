"""Merging: a million rows are a few dozen files, and nothing of them is lost on the way."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pytest
from crashes import every_kill
from result_rows import LABELS, confusion, failed, ids, listing, parts, pixels_of, read, row, table

from batchseg.results import merge
from batchseg.results.folder import Held, Results
from batchseg.results.verdict import Key
from batchseg.schema import IMAGES
from batchseg.storage.keys import keys


@pytest.fixture
def held(tmp_path: Path) -> Held:
    return Results(str(tmp_path / "results")).open()


def commit(held: Held, *lengths: int) -> list[str]:
    """Parts of so many rows; the ids."""
    names: list[str] = []
    for number, length in enumerate(lengths):
        some = [f"{number}/{index}" for index in range(length)]
        held.commit(f"{number:02d}.parquet", table(*(row(name, {(number % 3, 1): 2}) for name in some)))
        names += some
    return names


def test_a_run_of_many_commits_leaves_one_part(held: Held) -> None:
    names = commit(held, *[3] * 12)
    before = read(held.results, "images"), read(held.results, "pixels")
    held.finish(LABELS)
    assert (read(held.results, "images"), read(held.results, "pixels")) == before
    assert parts(held.results) == (["11.parquet"], ["11.parquet"])
    assert ids(held.results) == sorted(names)


def test_nights_are_merged_with_those_before(held: Held) -> None:
    for night in range(5):
        opened = held.results.open()
        opened.commit(f"{night}.parquet", table(row(f"{night}"), failed(f"{night} failed")))
        opened.finish(LABELS)
        assert len(parts(held.results)[0]) == 1
    assert len(ids(held.results)) == 10
    assert pixels_of(held.results) == {f"{night}": 6 for night in range(5)}


@pytest.mark.parametrize(
    ("lengths", "left"),
    [
        ((4, 3, 2, 1), [9, 1]),  # neighbours as far as they fit into one
        ((8, 2, 7), [8, 9]),
        ((9, 9), [9, 9]),
        ((20, 1, 1), [20, 2]),
    ],
)
def test_parts_grow_to_a_limit(
    held: Held, monkeypatch: pytest.MonkeyPatch, lengths: tuple[int, ...], left: list[int]
) -> None:
    monkeypatch.setattr(merge, "ROWS_A_PART", 9)
    names = commit(held, *lengths)
    held.finish(LABELS)
    assert list(held.ledger.parts.values()) == left
    assert held.results.ledger().parts == held.ledger.parts
    assert ids(held.results) == sorted(names)


def test_large_columns_of_a_manifest_limit_a_part_by_its_bytes(
    held: Held, monkeypatch: pytest.MonkeyPatch
) -> None:
    commit(held, 2, 2, 2, 2)
    size = (held.results.images / "00.parquet").info().size
    monkeypatch.setattr(merge, "BYTES_A_PART", int(2.5 * size))
    held.finish(LABELS)
    assert list(held.ledger.parts.values()) == [4, 4]


def test_what_is_known_of_rows_outlives_the_merge(held: Held) -> None:
    commit(held, 2, 2)
    held.commit("02.parquet", table(row("late", source_version="v2", height=7)))
    held.ledger.merge()
    verdict = held.ledger.judge(listing(("1/0", "v1", "t1"), ("late", "v2", "t1")), Key("model", "score"))
    assert verdict.scored.tolist() == [True, True]
    assert held.ledger.owners(keys(["late.png", "0/1.png"])) == ["late", "0/1"]
    assert held.ledger.values(verdict.at, ["id", "height"]).to_pydict() == {
        "id": ["1/0", "late"],
        "height": [None, 7],
    }


def test_own_columns_are_put_together(held: Held) -> None:
    held.commit("1.parquet", table(row("a", site="x"), carried=pa.schema([("site", pa.string())])))
    held.commit("2.parquet", table(row("b", rank=1), carried=pa.schema([("rank", pa.int8())])))
    held.commit("3.parquet", table(row("c", rank=300), carried=pa.schema([("rank", pa.int64())])))
    held.ledger.merge()
    assert len(parts(held.results)[0]) == 1
    found = read(held.results, "images")
    assert [(each["id"], each["site"], each["rank"]) for each in found] == [
        ("a", "x", None),
        ("b", None, 1),
        ("c", None, 300),
    ]
    assert list(found[0])[: len(IMAGES)] == IMAGES.names


def test_own_columns_whose_types_clash_stay_apart(held: Held) -> None:
    held.commit("1.parquet", table(row("a", site="x"), carried=pa.schema([("site", pa.string())])))
    held.commit("2.parquet", table(row("b", site=[1]), carried=pa.schema([("site", pa.list_(pa.int8()))])))
    held.finish(LABELS)
    assert list(held.ledger.parts.values()) == [1, 1]
    assert confusion(held.results) == {(0, 0): 12}


def test_killed_at_any_step_of_a_merge_no_row_is_lost_or_doubled(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(merge, "ROWS_A_PART", 5)
    opened: dict[int, Held] = {}

    def work(step: int):
        held = opened[step] = Results(str(tmp_path / str(step))).open()
        commit(held, 2, 3, 1, 4)
        return held.ledger.merge

    def after(step: int) -> None:
        results = opened[step].results
        held = results.open()
        expected = sorted([f"0/{n}" for n in range(2)] + [f"1/{n}" for n in range(3)] + ["2/0"])
        expected += [f"3/{n}" for n in range(4)]
        assert ids(results) == expected
        assert pixels_of(results) == dict.fromkeys(expected, 2)
        assert not [*Path(results.root.path).rglob(".tmp-*"), *Path(results.root.path).glob(".rewrite*")]
        held.finish(LABELS)
        assert list(held.ledger.parts.values()) == [5, 5]
        assert (ids(results), pixels_of(results)) == (expected, dict.fromkeys(expected, 2))

    # twice: two tables, log, two moves, two deletions, and the log's end
    assert every_kill(work, after) == 2 * 8
