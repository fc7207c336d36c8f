"""kill -9 of a training, then the same command again: it ends where it would have ended."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

import batchseg

pytestmark = [pytest.mark.slow]

EPOCHS, IMAGES, BATCH = 5, 24, 4
PASSING = ("train_s", "validation_s", "images_per_s")


@pytest.fixture(scope="module")
def discs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder, rng = tmp_path_factory.mktemp("discs"), np.random.default_rng(3)
    rows, columns = np.mgrid[:64, :64]
    for index in range(IMAGES):
        truth = (rows - rng.integers(16, 48)) ** 2 + (columns - rng.integers(16, 48)) ** 2 < 144
        image = np.clip(80 + 80 * truth + rng.normal(0, 10, truth.shape), 0, 255)
        for name, pixels in (("images", image), ("truth", truth)):
            (folder / name).mkdir(exist_ok=True)
            Image.fromarray(pixels.astype(np.uint8)).save(folder / name / f"{index:02d}.png")
    (folder / "train.yaml").write_text(
        f"source: {{path: {folder}/images, truth: {folder}/truth}}\n"
        f"labels: {folder}/labels.yaml\nvalidation: ['*1.png']\n"
        "model: {mode: none, widths: [8, 16, 16, 16], decoder_width: 16, size: 64}\n"
        f"epochs: {EPOCHS}\nbatch_size: {BATCH}\nprecision: fp32\n"
    )
    (folder / "labels.yaml").write_text("classes: [air, disc]")
    return folder


def start(discs: Path, out: Path, *more: str) -> subprocess.Popen:
    words = ["-m", "batchseg", "train", "--config", str(discs / "train.yaml"), "--output", str(out), *more]
    return subprocess.Popen(
        [sys.executable, *words], stderr=subprocess.PIPE, text=True, start_new_session=True
    )


def finish(process: subprocess.Popen) -> str:
    _, text = process.communicate()
    assert process.returncode == 0, text
    return str(text)


def history(out: Path) -> list[dict]:
    table = pq.read_table(out / "history.parquet").drop_columns(PASSING)
    return table.to_pylist()


def wait_for_epoch_2(process: subprocess.Popen) -> None:
    wait_for(process, "epoch 2")


def wait_for(process: subprocess.Popen, beginning: str) -> None:
    """Until a line begins so."""
    assert process.stderr is not None
    for line in process.stderr:
        if line.startswith(beginning):
            break


def test_a_killed_training_goes_on(discs: Path, tmp_path: Path) -> None:
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    finish(start(discs, whole))
    process = start(discs, killed)
    wait_for_epoch_2(process)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    assert not (killed / "model").exists()
    finish(start(discs, killed))
    record = json.loads((killed / "train.json").read_text())
    assert record["steps"] == EPOCHS * ((IMAGES - 3) // BATCH)
    assert len(history(killed)) == EPOCHS
    for ours, expected in zip(history(killed), history(whole), strict=True):
        assert ours == pytest.approx(expected, rel=1e-3)


def test_folds_killed_in_the_third_go_on(discs: Path, tmp_path: Path) -> None:
    """The folds that were finished are not trained again, and all of it is as it would have been."""
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    words = ("--folds", "3", "--validation", "0.2", "--epochs", "2")
    finish(start(discs, whole, *words))
    process = start(discs, killed, *words)
    wait_for(process, "fold 3 of 3")
    wait_for(process, "epoch 1")
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    assert not (killed / "results").exists() and not (killed / "folds").exists()
    made = [(killed / f"fold-{fold}" / "model" / "model.safetensors").stat().st_mtime_ns for fold in (1, 2)]
    said = finish(start(discs, killed, *words))
    assert "epoch 1 " not in said[: said.index("fold 3 of 3")]
    again = [(killed / f"fold-{fold}" / "model" / "model.safetensors").stat().st_mtime_ns for fold in (1, 2)]
    assert again == made
    assert (killed / "folds.parquet").read_bytes() == (whole / "folds.parquet").read_bytes()
    assert [row["fold"] for row in history(killed)] == [1, 1, 2, 2, 3, 3]
    for ours, expected in zip(history(killed), history(whole), strict=True):
        assert ours == pytest.approx(expected, rel=1e-3)
    figures = [json.loads((out / "train.json").read_text())["metrics"] for out in (killed, whole)]
    assert figures[0] == pytest.approx(figures[1], rel=1e-3)
    ids = [row["id"] for row in batchseg.open_results(str(killed / "results")).images.to_pylist()]
    assert sorted(ids) == [f"{number:02d}.png" for number in range(IMAGES)]


@pytest.mark.parametrize("kind", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_training_says_so_and_goes_on(
    discs: Path, tmp_path: Path, heard_interrupts: None, kind: signal.Signals
) -> None:
    process = start(discs, tmp_path / "out")
    wait_for_epoch_2(process)
    process.send_signal(kind)
    _, text = process.communicate()
    assert process.returncode == 130
    said = re.search(
        r"interrupted; epochs 1 to (\d+) are kept, .* goes on from there with epoch (\d+)\n$", text
    )
    assert said is not None and "Traceback" not in text, text
    kept, following = map(int, said.groups())
    assert kept >= 2 and following == kept + 1
    assert not (tmp_path / "out" / "model").exists()
    again = finish(start(discs, tmp_path / "out"))
    told = [int(epoch) for epoch in re.findall(r"^epoch (\d+) ", again, re.MULTILINE)]
    assert told == [*range(following, EPOCHS + 1)]
    assert len(history(tmp_path / "out")) == EPOCHS
