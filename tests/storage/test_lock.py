"""One run at a time in a results folder; a dead one does not stand in the way, and one taken over stops."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
import time
from pathlib import Path
from threading import Event
from threading import enumerate as enumerate_threads
from typing import Any

import pytest
from result_rows import LABELS, ids, make_masks, masks, row, table

from batchseg.errors import OutputError
from batchseg.results.folder import Results
from batchseg.storage import lock as lock_module
from batchseg.storage.location import Location, locate
from batchseg.storage.lock import Lock, exclusive

HOLD = """
import sys
from batchseg.results.folder import Results
with Results(sys.argv[1]).held():
    print("held", flush=True)
    sys.stdin.read()
"""
ELSEWHERE = {"host": "elsewhere", "pid": 1, "started_at": "yesterday", "token": "x"}
SUCCESSOR = {**ELSEWHERE, "started_at": "now", "token": "the successor's"}


def holder(folder: Path) -> subprocess.Popen[str]:
    """A process that holds the folder until its input ends."""
    words = [sys.executable, "-c", HOLD, str(folder)]
    process = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    return process


def written(folder: Path, holder: dict[str, Any], silent_s: float = 0.0) -> Path:
    """A lock that its holder wrote so long ago, by the clock of the file system."""
    place = folder / ".lock"
    place.write_text(json.dumps(holder))
    at = place.stat().st_mtime_ns - int(silent_s * 1e9)
    os.utime(place, ns=(at, at))
    return place


# -- who comes in


def test_a_second_run_is_refused_and_told_who_is_there(tmp_path: Path) -> None:
    with holder(tmp_path) as process:
        named = rf"process {process.pid} on {platform.node()}"
        with pytest.raises(OutputError, match=named), Results(str(tmp_path)).held():
            pass
        process.communicate("")
    with Results(str(tmp_path)).held():
        assert json.loads((tmp_path / ".lock").read_text())["pid"] == os.getpid()
    assert not (tmp_path / ".lock").exists()


def test_a_killed_run_is_followed_at_once(tmp_path: Path) -> None:
    with holder(tmp_path) as process:
        process.kill()
        process.wait()
    with Results(str(tmp_path)).held():
        pass


@pytest.mark.parametrize("clock_s", [0, -(10**6), 10**6], ids=["right", "slow", "fast"])
@pytest.mark.parametrize(("silent_s", "refused"), [(5, True), (600, False)])
def test_a_run_on_another_machine_counts_while_it_is_heard(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, silent_s: float, refused: bool, clock_s: float
) -> None:
    """By the clock that dates the files: what this machine takes the time for is no matter."""
    monkeypatch.setattr(time, "time", lambda: 1e9 + clock_s)
    written(tmp_path, ELSEWHERE, silent_s)
    try:
        with Results(str(tmp_path)).held():
            assert not refused
    except OutputError as exc:
        assert refused
        assert "process 1 on elsewhere, since yesterday" in str(exc)


def test_a_holder_on_this_machine_that_is_silent_is_taken_over(tmp_path: Path) -> None:
    """Its process is there, but it may be another's by now, or asleep."""
    ours = {**ELSEWHERE, "host": platform.node(), "pid": os.getpid()}
    written(tmp_path, ours, 5)
    with pytest.raises(OutputError, match="another run writes here"), Results(str(tmp_path)).held():
        pass
    written(tmp_path, ours, 600)
    with Results(str(tmp_path)).held():
        pass


def test_nothing_is_left_of_a_look_at_the_clock(tmp_path: Path) -> None:
    written(tmp_path, ELSEWHERE)
    with pytest.raises(OutputError, match="another run"), Results(str(tmp_path)).held():
        pass
    assert [path.name for path in tmp_path.iterdir()] == [".lock"]


def test_a_lock_cut_short_is_taken_over(tmp_path: Path) -> None:
    (tmp_path / ".lock").write_text('{"host": "els')
    with Results(str(tmp_path)).held():
        pass


@pytest.mark.parametrize("text", ["[]", '{"_meta": {"hash": 1}}', 100_000 * "["], ids=len)
def test_a_lock_of_another_program_is_left_alone(tmp_path: Path, text: str) -> None:
    (tmp_path / ".lock").write_text(text)
    refused = pytest.raises(OutputError, match=r"\.lock: is no lock of batchseg; remove it")
    with refused, Results(str(tmp_path)).held():
        pass
    assert (tmp_path / ".lock").read_text() == text


RACE = """
import sys
from batchseg.errors import OutputError
from batchseg.storage.location import locate
from batchseg.storage.lock import exclusive
root = locate(sys.argv[1])
for _ in range(int(sys.argv[2])):
    sys.stdin.readline()
    try:
        with exclusive(root):
            print("held", flush=True)
            sys.stdin.readline()
    except OutputError:
        print("refused", flush=True)
        sys.stdin.readline()
    print("left", flush=True)
"""


def test_of_many_that_find_a_dead_holder_one_takes_over(tmp_path: Path) -> None:
    rounds, racers = 30, 4
    dead = {**ELSEWHERE, "host": platform.node(), "pid": 2**22 + 1}
    words = [sys.executable, "-c", RACE, str(tmp_path), str(rounds)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    processes = [subprocess.Popen(words, **pipes) for _ in range(racers)]
    try:
        for _ in range(rounds):
            (tmp_path / ".lock").write_text(json.dumps(dead))
            assert sorted(_answers(processes)) == ["held"] + ["refused"] * (racers - 1)
            assert _answers(processes) == ["left"] * racers
    finally:
        for process in processes:
            process.kill()
            process.communicate()


def _answers(processes: list[subprocess.Popen[str]]) -> list[str]:
    """Let all go on at once; what each says next."""
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("\n")
        process.stdin.flush()
    return [process.stdout.readline().strip() for process in processes if process.stdout is not None]


def test_failure_gives_the_folder_back(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError), Results(str(tmp_path)).held():
        raise RuntimeError
    with Results(str(tmp_path)).held():
        pass


# -- whose lock was taken over


def test_a_holder_that_was_taken_over_commits_nothing_more(tmp_path: Path) -> None:
    results = Results(str(tmp_path))
    with results.held() as held:
        held.commit("1.parquet", table(row("a")))
        place = written(tmp_path, SUCCESSOR)
        for _ in range(2):
            with pytest.raises(OutputError, match="was taken over by process 1 on elsewhere"):
                held.commit("2.parquet", table(row("b")))
        assert ids(results) == ["a"]
        assert not (results.pixels / "2.parquet").exists()
        assert len(held.ledger) == 1
    assert json.loads(place.read_text()) == SUCCESSOR  # nor does it give back what is not its own


def test_nor_does_it_finish(tmp_path: Path) -> None:
    """Merging would take parts away below the other's ledger, and .work holds its plan."""
    results = Results(str(tmp_path))
    with results.held() as held:
        for part in ("1.parquet", "2.parquet"):
            held.commit(part, table(row(part)))
        written(tmp_path, SUCCESSOR)
        before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
        with pytest.raises(OutputError, match="was taken over"):
            held.finish(LABELS)
        assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before
        assert results.work.is_folder()


def test_nor_drops_it_what_the_other_may_have_committed(tmp_path: Path) -> None:
    results = Results(str(tmp_path))
    with results.held() as held:
        make_masks(results, "a")
        held.commit("1.parquet", table(row("a")))
        written(tmp_path, SUCCESSOR)
        with pytest.raises(OutputError, match="was taken over"):
            held.ledger.drop(held.ledger.rows["ok"])
        assert (ids(results), masks(results)) == (["a"], {"a"})


@pytest.mark.parametrize("left", [None, '{"host": "els'], ids=["gone", "cut short"])
def test_a_lock_that_is_gone_is_lost(tmp_path: Path, left: str | None) -> None:
    with Results(str(tmp_path)).held() as held:
        (tmp_path / ".lock").unlink()
        if left:
            (tmp_path / ".lock").write_text(left)
        with pytest.raises(OutputError, match="the folder was taken over; what it committed"):
            held.commit("1.parquet", table(row("a")))


def test_workers_ask_as_their_driver_does_and_not_for_every_image(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 1000.0
    monkeypatch.setattr(lock_module, "monotonic", lambda: now)
    with exclusive(locate(str(tmp_path))) as lock:
        copy = Lock(lock.folder, lock.token)  # as it comes out of a worker's pickle
        copy.check_now_and_then()
        written(tmp_path, SUCCESSOR)
        now += 0.5
        copy.check_now_and_then()
        now += 0.5
        with pytest.raises(OutputError, match="was taken over"):
            copy.check_now_and_then()


def test_a_heartbeat_keeps_the_lock_young(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write, beaten = Location.write, Event()

    def heard(self: Location, data: bytes) -> None:
        write(self, data)
        beaten.set()

    monkeypatch.setattr(Location, "write", heard)
    monkeypatch.setattr(lock_module, "HEARTBEAT_S", 0.001)
    with exclusive(locate(str(tmp_path))) as lock:
        os.utime(tmp_path / ".lock", ns=(1, 1))
        beaten.clear()
        assert beaten.wait(60)
        assert (tmp_path / ".lock").stat().st_mtime_ns > 1
        assert json.loads((tmp_path / ".lock").read_text())["token"] == lock.token


def test_a_heartbeat_does_not_write_over_a_successor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = set(enumerate_threads())
    monkeypatch.setattr(lock_module, "HEARTBEAT_S", 0.001)
    with exclusive(locate(str(tmp_path))) as lock:
        (heart,) = set(enumerate_threads()) - before
        with lock.kept():  # as whoever takes it over on this machine
            written(tmp_path, SUCCESSOR)
        heart.join(60)
        assert not heart.is_alive()  # it heard of it
        assert json.loads((tmp_path / ".lock").read_text()) == SUCCESSOR
    assert json.loads((tmp_path / ".lock").read_text()) == SUCCESSOR


def test_a_heartbeat_that_the_disk_refuses_is_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write, refused, through = Location.write, [2], Event()

    def full(self: Location, data: bytes) -> None:
        if refused[0]:
            refused[0] -= 1
            raise OSError(28, "No space left on device")
        write(self, data)
        through.set()

    monkeypatch.setattr(Location, "write", full)
    monkeypatch.setattr(lock_module, "HEARTBEAT_S", 0.001)
    with exclusive(locate(str(tmp_path))):
        assert through.wait(60)
