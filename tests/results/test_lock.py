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


def test_failure_gives_the_folder_back(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError), Results(str(tmp_path)).held():
        raise RuntimeError
    with Results(str(tmp_path)).held():
        pass
