"""One run at a time in a results folder; a dead one does not stand in the way."""

from __future__ import annotations

import json
import platform
import subprocess
import sys
from pathlib import Path
from time import time

import pytest

from batchseg.errors import OutputError
from batchseg.results.folder import Results

HOLD = """
import sys
from batchseg.results.folder import Results
with Results(sys.argv[1]).held():
    print("held", flush=True)
    sys.stdin.read()
"""


def holder(folder: Path) -> subprocess.Popen[str]:
    """A process that holds the folder until its input ends."""
    words = [sys.executable, "-c", HOLD, str(folder)]
    process = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    return process


def test_a_second_run_is_refused_and_told_who_is_there(tmp_path: Path) -> None:
    with holder(tmp_path) as process:
        named = rf"process {process.pid} on {platform.node()}"
        with pytest.raises(OutputError, match=named), Results(str(tmp_path)).held():
            pass
        process.communicate("")
    with Results(str(tmp_path)).held():
        assert json.loads((tmp_path / ".lock").read_text())["pid"]
    assert not (tmp_path / ".lock").exists()


def test_a_killed_run_is_followed_at_once(tmp_path: Path) -> None:
    with holder(tmp_path) as process:
        process.kill()
        process.wait()
    with Results(str(tmp_path)).held():
        pass


@pytest.mark.parametrize(("silent_s", "refused"), [(5, True), (600, False)])
def test_a_run_on_another_machine_counts_while_it_is_heard(
    tmp_path: Path, silent_s: float, refused: bool
) -> None:
    lock = {"host": "elsewhere", "pid": 1, "started_at": "yesterday", "token": "x", "seen": time() - silent_s}
    (tmp_path / ".lock").write_text(json.dumps(lock))
    try:
        with Results(str(tmp_path)).held():
            assert not refused
    except OutputError as exc:
        assert refused
        assert "process 1 on elsewhere, since yesterday" in str(exc)


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
from batchseg.results.lock import exclusive
from batchseg.storage import locate
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
    dead = {"host": platform.node(), "pid": 2**22 + 1, "started_at": "x", "token": "x", "seen": time()}
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
