"""The log of a rewrite: what is found is carried out, and what is no log of ours touches nothing."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from crashes import Killed, killed_at
from result_rows import confusion, ids, parts, row, table

from batchseg.errors import OutputError
from batchseg.results.folder import Held, Results
from batchseg.results.rewrite import LOG, replace_parts
from batchseg.results.tables import read_part


@pytest.fixture
def held(tmp_path: Path) -> Held:
    held = Results(str(tmp_path / "results")).open()
    held.commit("1.parquet", table(row("a", {(0, 0): 1})))
    held.commit("2.parquet", table(row("b", {(1, 1): 2})))
    return held


def one_for_two(held: Held) -> None:
    """Put what is in the first part in place of both."""
    root = held.results.root
    tables = {kind: read_part(root / kind / "1.parquet") for kind in ("images", "pixels")}
    replace_parts(root, ["1.parquet", "2.parquet"], [("2.parquet", tables)])


def test_parts_are_replaced_by_others(held: Held) -> None:
    one_for_two(held)
    assert parts(held.results) == (["2.parquet"], ["2.parquet"])
    assert (ids(held.results), confusion(held.results)) == (["a"], {(0, 0): 1})
    assert not (held.results.root / LOG).exists()


@pytest.mark.parametrize(
    ("steps", "done"), [(0, False), (1, False), (2, False), *((n, True) for n in range(3, 8))]
)
def test_the_log_is_the_commit(held: Held, steps: int, done: bool) -> None:
    """Two tables and the log; then two moves, two deletions, and the end of the log."""
    with killed_at(steps):
        try:
            one_for_two(held)
        except Killed:
            assert steps < 8
    held.results.open()
    expected = (["a"], {(0, 0): 1}) if done else (["a", "b"], {(0, 0): 1, (1, 1): 2})
    assert (ids(held.results), confusion(held.results)) == expected
    assert [file.name for file in held.results.root.files()] == []


def test_a_log_may_be_carried_out_again(held: Held) -> None:
    with killed_at(3), pytest.raises(Killed):
        one_for_two(held)
    log = (held.results.root / LOG).read()
    for _ in range(2):
        held.results.open()
        (held.results.root / LOG).write(log)
    held.results.open()
    assert (ids(held.results), confusion(held.results)) == (["a"], {(0, 0): 1})


@pytest.mark.parametrize(
    "log",
    [
        b"",
        b"{ half",
        b"[]",
        b"{}",
        b'{"move": 1, "delete": []}',
        b'{"move": [["images/a"]], "delete": []}',
        b'{"move": [], "delete": null}',
        *(json.dumps({"move": [], "delete": [path]}).encode() for path in ("run.json", "images/../run.json")),
        *(json.dumps({"move": [], "delete": [path]}).encode() for path in ("/etc/x", "images/", "masks/a")),
        json.dumps({"move": [["run.json", "images/1.parquet"]], "delete": []}).encode(),
        json.dumps({"move": [["images/1.parquet", "../precious"]], "delete": []}).encode(),
    ],
    ids=bytes.decode,
)
def test_what_is_no_log_of_ours_touches_nothing(held: Held, tmp_path: Path, log: bytes) -> None:
    (tmp_path / "precious").write_text("precious")
    (held.results.root / "run.json").write(b"{}")
    (held.results.root / LOG).write(log)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    with pytest.raises(OutputError, match=r"\.rewrite\.json: (is no log|names files outside)"):
        held.results.open()
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before
