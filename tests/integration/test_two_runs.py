"""Two runs into one folder: the second is refused while the first lives, and takes over when it is dead."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from processes import runs

import batchseg
from batchseg.errors import OutputError
from batchseg.results.tally import Tally


@pytest.mark.slow
def test_one_works_and_one_is_refused(tmp_path: Path) -> None:
    photos, gate, out = tmp_path / "photos", tmp_path / "gate", tmp_path / "out"
    photos.mkdir()
    for index in range(12):
        Image.fromarray(np.full((8, 12), index, np.uint8)).save(photos / f"{index:02d}.png")
    words = [sys.executable, "-m", "batchseg", "run", str(photos), "--output", str(out)]
    words += ["--model", "gated_model:Gated", "--actors", "1", "--batch-size", "1"]
    words += ["--set", f"segmentor.options.gate={gate}", "--set", "segmentor.options.images=5"]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(Path(__file__).parent), os.getcwd()])}
    options = {"env": environment, "text": True, "capture_output": True, "timeout": 120}
    os.mkfifo(gate)
    with subprocess.Popen(words, env=environment, stderr=subprocess.PIPE) as first:
        try:
            while not list(out.glob("images/*.parquet")):
                assert runs(first)
            refused = subprocess.run(words, check=False, **options)
        finally:
            first.kill()
    assert refused.returncode == 1
    assert f"another run writes here (process {first.pid}" in refused.stderr
    assert "Traceback" not in refused.stderr
    gate.unlink()  # no gate blocks nobody, and a plain file would count among the files of the model
    second = subprocess.run([*words, "--json"], check=False, **options)
    assert second.returncode == 0, second.stderr
    record = json.loads(second.stdout)
    assert record["images"]["done_before"] >= 1
    assert record["computed"] == {"ok": 12 - record["images"]["done_before"]}


@pytest.mark.usefixtures("ray_session")
def test_one_that_slept_and_was_taken_over_leaves_everything_to_the_other(tmp_path: Path) -> None:
    photos, out = tmp_path / "photos", tmp_path / "out"
    photos.mkdir()
    for index in range(4):
        Image.fromarray(np.full((8, 12), index, np.uint8)).save(photos / f"{index}.png")
    job = {"source": str(photos), "segmentor": "threshold", "output": str(out)}
    successor = json.dumps({"host": "elsewhere", "pid": 7, "started_at": "now", "token": "another"})

    def taken_over(tally: Tally) -> None:
        (out / ".lock").write_text(successor)

    with pytest.raises(OutputError, match="taken over by process 7 on elsewhere"):
        batchseg.run(batchseg.load_config(overrides=job), taken_over)
    assert not list(out.glob("images/*.parquet"))
    assert not (out / "run.json").exists()
    assert (out / ".lock").read_text() == successor
    (out / ".lock").unlink()
    assert batchseg.run(batchseg.load_config(overrides=job)).statuses == {"ok": 4}
