"""What a run says of its model: how truths are read, a bug in a class of the user's own; and equal masks."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pyarrow.dataset as pads
import pytest
from click.testing import CliRunner
from PIL import Image

import batchseg
from batchseg.cli.group import cli

pytestmark = [pytest.mark.usefixtures("in_tasks")]

BUGGY = """
class Mine:
    labels = ("background", "cell")
    def __init__(self, device): ...
    def segment(self, images):
        return [image["cells"] for image in images]
"""


@pytest.fixture
def scene(sample_data: Path, tmp_path: Path) -> Path:
    """Two images, their truths with ids one too high, and a model whose processor says so."""
    model = shutil.copytree(sample_data / "model", tmp_path / "model")
    content = json.loads((model / "preprocessor_config.json").read_text())
    (model / "preprocessor_config.json").write_text(json.dumps({**content, "do_reduce_labels": True}))
    for folder in ("photos", "masks"):
        (tmp_path / folder).mkdir()
    random = np.random.default_rng(0)
    for name in ("a", "b"):
        for folder, most, shape in (("photos", 256, (40, 56, 3)), ("masks", 12, (40, 56))):
            image = Image.fromarray(random.integers(0, most, shape, np.uint8))
            image.save(tmp_path / folder / f"{name}.png")
    return tmp_path


def command(scene: Path, name: str, *more: str) -> str:
    words = [name, str(scene / "photos"), "--truth", str(scene / "masks"), "--model", str(scene / "model")]
    done = CliRunner().invoke(cli, [*words, *more])
    assert done.exit_code == 0, done.output
    return done.output


def test_truths_numbered_from_one_are_said_and_scored(scene: Path) -> None:
    note = "its image processor says do_reduce_labels, so truth id 0 counts nowhere"
    output = ("--output", str(scene / "results"))
    assert note in command(scene, "doctor")
    assert note in command(scene, "run", "--dry-run", "--json", *output)
    assert command(scene, "run", *output).count(note) == 1
    assert note in json.loads((scene / "results" / "run.json").read_text())["notes"][0]
    truth = np.stack([np.asarray(Image.open(scene / "masks" / f"{name}.png")) for name in "ab"])
    found = np.stack([np.asarray(Image.open(scene / "results" / "masks" / f"{name}.png")) for name in "ab"])
    counted = truth > 0
    accuracy = (truth[counted] - 1 == found[counted]).mean()
    record = json.loads((scene / "results" / "run.json").read_text())
    assert record["metrics"]["accuracy"] == pytest.approx(accuracy)
    labels = {"classes": [f"n{index}" for index in range(11)], "ignored_truth_ids": [11]}
    (scene / "labels.yaml").write_text(json.dumps(labels))
    assert note not in command(scene, "doctor", "--labels", str(scene / "labels.yaml"))


def test_a_bug_shows_its_traceback_once(scene: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(scene)
    Path("buggy.py").write_text(BUGGY)
    words = ["run", "photos", "--model", "buggy.py:Mine", "--output", "results", "--quiet"]
    done = CliRunner().invoke(cli, words)
    assert done.exit_code == 3
    shown = done.stderr
    assert shown.count("Traceback (most recent call last):") == 1
    assert 'buggy.py", line 6, in segment' in shown
    errors = pads.dataset("results/images", format="parquet").to_table()["error"].to_pylist()
    assert len(errors) == 2
    assert all("the model failed: IndexError" in error and error.endswith("(buggy.py:6)") for error in errors)


@pytest.mark.parametrize("precision", ["bf16", "fp32"])
def test_masks_do_not_depend_on_how_images_are_grouped(
    precision: str, sample_data: Path, tmp_path: Path
) -> None:
    def masks(output: str, *limits: int | None) -> dict[str, bytes]:
        for limit in limits:
            config = batchseg.load_config(
                overrides={
                    "source": {"path": str(sample_data / "images"), "limit": limit},
                    "segmentor": {"model": str(sample_data / "model"), "precision": precision},
                    "output": str(tmp_path / output),
                }
            )
            batchseg.run(config)
        folder = tmp_path / output / "masks"
        return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*.png")}

    whole = masks("whole", 12)
    assert len(whole) == 12
    assert masks("parts", 1, 6, 12) == whole
