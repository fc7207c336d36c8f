"""Results of batchseg 0.1, which had one key for masks and scores: they are carried on, not recomputed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from crashes import every_kill
from result_rows import LABELS, failed, ids, listing, make_masks, masks, pixels_of, read, row, table

from batchseg.results.folder import Results
from batchseg.results.verdict import Key
from batchseg.schema import IMAGES

SINCE = ("truth_status", "truth_version", "score_fingerprint", "acknowledged")
RENAMED = {"old": "new"}


def without_truth(name: str, status: str = "ok") -> dict[str, Any]:
    return row(name, {(None, 0): 6}, status=status, fingerprint="old")


OLD = {
    "1.parquet": [row("scored", fingerprint="old"), without_truth("unscored"), failed("failed")],
    "2.parquet": [without_truth("gone", "truth_missing"), without_truth("odd", "truth_mismatch")],
    "3.parquet": [row("other", fingerprint="of another model")],
}


def older(folder: Path) -> Results:
    """As batchseg 0.1 left it."""
    results = Results(str(folder))
    held = results.open()
    for part, rows in OLD.items():
        held.commit(part, table(*rows))
        images = pq.read_table(f"{folder}/images/{part}", partitioning=None)
        pq.write_table(images.drop_columns(list(SINCE)), f"{folder}/images/{part}")
        make_masks(results, *(each["id"] for each in rows if each["mask"]))
    results.work.delete_folder()
    return results


EXPECTED = {
    "failed": ("unreadable", None),
    "gone": ("ok", "missing"),
    "odd": ("ok", "mismatch"),
    "other": ("ok", "ok"),
    "scored": ("ok", "ok"),
    "unscored": ("ok", "none"),
}


def statuses(results: Results) -> dict[str, tuple[str, str | None]]:
    return {each["id"]: (each["status"], each["truth_status"]) for each in read(results, "images")}


def test_its_rows_are_brought_to_two_keys(tmp_path: Path) -> None:
    results = older(tmp_path / "results")
    pixels = pixels_of(results)
    held = results.open(renamed=RENAMED)
    assert statuses(results) == EXPECTED
    assert {each["id"]: each["fingerprint"] for each in read(results, "images")} == {
        "failed": "model",
        "gone": "new",
        "odd": "new",
        "other": "of another model",
        "scored": "new",
        "unscored": "new",
    }
    assert pixels_of(results) == pixels
    assert masks(results) == set(EXPECTED) - {"failed"}
    for part in OLD:
        schema = pq.read_schema(f"{results.root.path}/images/{part}")
        assert schema.names == IMAGES.names
        assert schema.equals(IMAGES, check_metadata=False)
    held.finish(LABELS)
    assert ids(results) == sorted(EXPECTED)


def test_its_masks_stay_and_only_truths_are_read_anew(tmp_path: Path) -> None:
    """No version of a truth was known then."""
    results = older(tmp_path / "results")
    asked = listing(
        ("scored", "v1", "t1"), ("unscored", "v1", None), ("unscored", "v1", "t1"), ("gone", "v1", "t1")
    )
    for ledger in (results.ledger(RENAMED), results.open(renamed=RENAMED).ledger):
        verdict = ledger.judge(asked, Key("new", "score"))
        assert verdict.segmented.tolist() == [True] * 4
        assert verdict.scored.tolist() == [False, True, False, False]
        assert ledger.fingerprints() == {"new", "of another model"}


def test_looking_changes_nothing(tmp_path: Path) -> None:
    results = older(tmp_path / "results")
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    results.ledger(RENAMED)
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


def test_pixels_that_a_kill_left_without_a_row_go(tmp_path: Path) -> None:
    results = older(tmp_path / "results")
    place = f"{results.root.path}/pixels/1.parquet"
    pixels = pq.read_table(place, partitioning=None)
    stray = pa.Table.from_pylist([{"id": "stray", "truth": 0, "predicted": 0, "pixels": 9}], pixels.schema)
    pq.write_table(pa.concat_tables([pixels, stray]), place)
    results.open(renamed=RENAMED)
    assert set(pixels_of(results)) == set(EXPECTED) - {"failed"}


def test_own_columns_come_along(tmp_path: Path) -> None:
    results = Results(str(tmp_path / "results"))
    held = results.open()
    held.commit("1.parquet", table(row("a", site="x"), carried=pa.schema([("site", pa.string())])))
    place = f"{results.root.path}/images/1.parquet"
    pq.write_table(pq.read_table(place, partitioning=None).drop_columns(list(SINCE)), place)
    held = results.open()
    held.commit("2.parquet", table(row("b")))
    held.finish(LABELS)
    assert [(each["id"], each["site"]) for each in read(results, "images")] == [("a", "x"), ("b", None)]
    assert pq.read_schema(f"{results.root.path}/images/2.parquet").names == [*IMAGES.names, "site"]


def test_killed_at_any_step_it_is_carried_on_by_the_next(tmp_path: Path) -> None:
    folders: dict[int, Results] = {}

    def work(step: int):
        results = folders[step] = older(tmp_path / str(step))
        return lambda: results.open(renamed=RENAMED)

    def after(step: int) -> None:
        results = folders[step]
        results.open(renamed=RENAMED)
        assert statuses(results) == EXPECTED
        assert ids(results) == sorted(EXPECTED)
        assert pixels_of(results) == dict.fromkeys(set(EXPECTED) - {"failed"}, 6)
        assert masks(results) == set(EXPECTED) - {"failed"}
        assert results.ledger().fingerprints() == {"new", "of another model"}

    # of each part two tables, log, two moves, and the log's end
    assert every_kill(work, after) == 3 * 6


@pytest.mark.parametrize("column", ["id", "fingerprint", "has_truth"])
def test_what_lacks_columns_of_then_is_not_rewritten(tmp_path: Path, column: str) -> None:
    results = older(tmp_path / "results")
    place = f"{results.root.path}/images/3.parquet"
    pq.write_table(pq.read_table(place, partitioning=None).drop_columns([column]), place)
    before = Path(place).read_bytes()
    with pytest.raises(Exception, match=r"images/3\.parquet: is no table of batchseg"):
        results.open(renamed=RENAMED)
    assert Path(place).read_bytes() == before


def test_rows_of_several_earlier_versions_end_with_one_fingerprint(tmp_path: Path) -> None:
    """Of 0.1, which had one key, and of the versions after it, whose mask key covered names and colours."""
    results = older(tmp_path / "results")
    held = results.open()
    held.commit("4.parquet", table(row("between", fingerprint="drawn")))
    make_masks(results, "between")
    renamed = {**RENAMED, "drawn": "new"}
    for ledger in (results.ledger(renamed), results.open(renamed=renamed).ledger, results.ledger()):
        assert ledger.fingerprints() == {"new", "of another model"}
        verdict = ledger.judge(listing(("between", "v1", "t1")), Key("new", "score"))
        assert (verdict.segmented.tolist(), verdict.scored.tolist()) == ([True], [True])
    assert masks(results) == {*set(EXPECTED) - {"failed"}, "between"}
