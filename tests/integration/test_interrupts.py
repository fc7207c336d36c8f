"""Ctrl-C once, twice and three times, at any moment and as a terminal sends it: 130, and no traceback."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from processes import runs

HERE = Path(__file__).parent
OF_RAY = ("Traceback", "raylet", "core_worker", "MapWorker", "SIGTERM", "Fatal Python")
# what the second one is told comes first or last, if the command hears it at all before it has ended
CLOSING = r"(closing; Ctrl-C once more ends it at once\n)?"
INTERRUPTED = re.compile(rf"{CLOSING}interrupted.*\n{CLOSING}")

# the command, which says by a file that it is about to open a library: others are being loaded then
NOTED = """
import runpy, sys

note, libraries = sys.argv[1], tuple(sys.argv[2].split(","))

def listen(event, facts):
    if event == "import" and facts[1] and facts[0].endswith(libraries):
        open(note, "a").close()

sys.addaudithook(listen)
sys.argv[:3] = ["batchseg"]
runpy.run_module("batchseg", run_name="__main__")
"""

pytestmark = [pytest.mark.usefixtures("heard_interrupts")]


@pytest.fixture
def words(tmp_path: Path) -> Iterator[list[str]]:
    """What segments 40 images, and waits at a gate after 25."""
    for index in range(40):
        (tmp_path / "photos").mkdir(exist_ok=True)
        Image.fromarray(np.full((8, 12), index, np.uint8)).save(tmp_path / "photos" / f"{index:02d}.png")
    os.mkfifo(tmp_path / "gate")
    yield [
        *("run", str(tmp_path / "photos"), "--output", str(tmp_path / "out"), "--model", "gated_model:Gated"),
        *("--actors", "1", "--batch-size", "1", "--set", "segmentor.options.images=25"),
        *("--set", f"segmentor.options.gate={tmp_path / 'gate'}"),
    ]


def start(words: list[str]) -> subprocess.Popen[str]:
    """In a process group of its own, all of which hears a terminal's Ctrl-C: Ray's processes, too."""
    return subprocess.Popen(
        [sys.executable, *words],
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(HERE), os.getcwd()])},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def interrupted(process: subprocess.Popen[str], times: int, when: Callable[[], bool]) -> tuple[int, str]:
    """The exit code, and all that was printed."""
    try:
        while not when():
            assert runs(process), process.communicate()
        for _ in range(times):
            if runs(process):
                os.killpg(process.pid, signal.SIGINT)
        output, errors = process.communicate(timeout=60)
    finally:
        process.kill()
    return process.returncode, output + errors


def committed(folder: Path) -> Callable[[], bool]:
    return lambda: any(folder.glob("out/images/*.parquet"))


def interrupted_loading(words: list[str], note: Path, *libraries: str) -> tuple[int, str]:
    """The same of a command that is interrupted twice as it loads the first of some compiled modules."""
    return interrupted(start(["-c", NOTED, str(note), ",".join(libraries), *words]), 2, note.exists)


@pytest.mark.parametrize("times", [pytest.param(2, marks=pytest.mark.slow), 3])
def test_a_run_that_is_interrupted_again_and_again(tmp_path: Path, words: list[str], times: int) -> None:
    code, printed = interrupted(start(["-m", "batchseg", *words]), times, committed(tmp_path))
    assert code == 130, printed
    assert not any(word in printed for word in OF_RAY), printed


@pytest.mark.parametrize("library", ["_pydantic_core", "pyarrow.lib", "_raylet"])
def test_while_modules_are_loaded(tmp_path: Path, words: list[str], library: str) -> None:
    code, printed = interrupted_loading(words, tmp_path / "note", library)
    assert code == 130 and INTERRUPTED.fullmatch(printed), printed
    assert not any(word in printed for word in OF_RAY), printed


@pytest.mark.parametrize(
    "command",
    [
        ["doctor", "PHOTOS", "--model", "threshold"],
        ["evaluate", "PHOTOS", "PHOTOS", "--labels", "voc", "--output", "OUT"],
        ["verify", "OUT"],
        ["train", "PHOTOS", "--truth", "PHOTOS", "--labels", "voc", "--model", "m", "--output", "OUT"],
        ["night", "NIGHT"],
        ["compare", "OUT", "OUT"],
    ],
    ids=lambda command: command[0],
)
def test_every_command(tmp_path: Path, words: list[str], command: list[str]) -> None:
    (tmp_path / "night.yaml").write_text(f"{{source: {words[1]}, segmentor: threshold, output: {words[3]}}}")
    places = {"PHOTOS": words[1], "OUT": words[3], "NIGHT": str(tmp_path / "night.yaml")}
    named = [places.get(word, word) for word in command]
    code, printed = interrupted_loading(named, tmp_path / "note", "pyarrow.lib", "_multiarray_umath")
    assert code == 130 and INTERRUPTED.fullmatch(printed), printed
    assert not any(word in printed for word in OF_RAY), printed


def test_a_library_call_is_a_keyboard_interrupt_that_says_how_far_it_is(
    tmp_path: Path, words: list[str]
) -> None:
    code = (
        "import logging, sys, batchseg\n"
        "from batchseg.config.segmentor import CustomSegmentor\n"
        "logging.basicConfig(format='%(message)s')\n"  # who holds the stream already still reaches the screen
        f"options = {{'images': 25, 'gate': {str(tmp_path / 'gate')!r}}}\n"
        "model = {'model': 'gated_model:Gated', 'options': options, 'actors': 1, 'batch_size': 1}\n"
        f"over = {{'source': {words[1]!r}, 'segmentor': model, 'output': {words[3]!r}}}\n"
        "try:\n"
        "    config = batchseg.load_config(overrides=over)\n"
        "    batchseg.run(config, lambda tally: logging.warning('%s done', tally.done))\n"
        "except KeyboardInterrupt as exc:\n"
        "    print(exc)\n"
    )
    code_, printed = interrupted(start(["-c", code]), 1, committed(tmp_path))
    assert code_ == 0, printed
    assert "of 40 images are committed" in printed and "0 done" in printed
    assert not any(word in printed for word in OF_RAY), printed
