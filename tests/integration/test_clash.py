"""A file lies where a folder of the results should be: one sentence, whatever is asked of them."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml
from click.testing import CliRunner
from PIL import Image

from batchseg.cli.group import cli

ROOT = Path(__file__).parents[2]
FOLDERS = ("images", "pixels", "runs", "masks", "nights")

pytestmark = [pytest.mark.usefixtures("in_tasks")]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, ray_session: None) -> Path:
    """Images, truth, and the whole results of a run."""
    folder = tmp_path_factory.mktemp("made")
    for name, value in (("photos", 200), ("truth", 1)):
        (folder / name).mkdir()
        Image.fromarray(np.full((6, 9), value, np.uint8)).save(folder / name / "a.png")
    (folder / "labels.yaml").write_text("classes: [dark, bright]")
    words = ["run", str(folder / "photos"), "--truth", str(folder / "truth"), "--model", "threshold"]
    done = CliRunner().invoke(cli, [*words, "--output", str(folder / "results")])
    assert done.exit_code == 0, done.output
    return folder


def words_of(command: str, made: Path, results: Path) -> list[str]:
    run = ["run", str(made / "photos"), "--truth", str(made / "truth"), "--model", "threshold"]
    labels = ["--labels", str(made / "labels.yaml")]
    return {
        "run": [*run, "--output", str(results)],
        "dry run": [*run, "--output", str(results), "--dry-run"],
        "evaluate": ["evaluate", str(made / "truth"), str(made / "truth"), *labels, "--output", str(results)],
        "verify": ["verify", str(results)],
        "repair": ["verify", str(results), "--repair"],
        "compare": ["compare", str(made / "results"), str(results)],
    }[command]


def misplaced(made: Path, tmp_path: Path, name: str) -> Path:
    results = tmp_path / "results"
    shutil.copytree(made / "results", results)
    shutil.rmtree(results / name, ignore_errors=True)
    (results / name).write_text("not a folder")
    return results


@pytest.mark.parametrize("name", FOLDERS)
@pytest.mark.parametrize("command", ["run", "dry run", "evaluate", "verify", "repair", "compare"])
def test_a_file_where_a_folder_should_be(made: Path, tmp_path: Path, command: str, name: str) -> None:
    results = misplaced(made, tmp_path, name)
    done = CliRunner().invoke(cli, words_of(command, made, results))
    assert done.exit_code == 1, done.output
    assert f"batchseg: {results / name}: is a file, but" in done.stderr, done.stderr
    assert (results / name).read_text() == "not a folder"


def test_a_night_too(made: Path, tmp_path: Path) -> None:
    results = misplaced(made, tmp_path, "nights")
    job = {"source": str(made / "photos"), "segmentor": "threshold", "output": str(results)}
    (tmp_path / "night.yaml").write_text(yaml.safe_dump(job))
    words = [sys.executable, str(ROOT / "jobs" / "nightly.py"), str(tmp_path / "night.yaml")]
    done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 1, done.stderr
    assert f"batchseg: {results / 'nights'}: is a file, but" in done.stderr, done.stderr


@pytest.mark.parametrize("name", ["train.json", "history.parquet"])
def test_a_run_leaves_a_training_alone(made: Path, tmp_path: Path, name: str) -> None:
    trained = tmp_path / "trained"
    (trained / "model").mkdir(parents=True)
    (trained / name).write_text("{}")
    done = CliRunner().invoke(cli, words_of("run", made, trained))
    assert done.exit_code == 1
    assert "holds a training; give the results a folder of their own" in done.stderr
    assert {path.name for path in trained.iterdir()} == {"model", name}


@pytest.mark.parametrize("where", ["masks/photos", "masks"])
def test_repair_follows_no_link(made: Path, tmp_path: Path, where: str) -> None:
    """A link in the results to somebody's photos: what is behind it is not ours to delete."""
    results, photos = tmp_path / "results", tmp_path / "photos"
    shutil.copytree(made / "results", results)
    shutil.copytree(made / "photos", photos)
    if where == "masks":
        shutil.rmtree(results / "masks")
    (results / where).symlink_to(photos, target_is_directory=True)
    done = CliRunner().invoke(cli, ["verify", str(results), "--repair"])
    if where == "masks":
        assert done.exit_code == 1
        assert f"{results / 'masks'}: is a link, and nothing here follows one" in done.stderr
    else:
        assert done.exit_code == 0, done.output
    assert [path.name for path in photos.iterdir()] == ["a.png"]
    assert not (results / "masks" / "photos").is_symlink() or where == "masks"


def test_nothing_is_dropped_through_a_link(made: Path, tmp_path: Path) -> None:
    """Nor by a run that replaces rows whose masks lie behind a link by now."""
    results, photos = tmp_path / "results", tmp_path / "photos"
    shutil.copytree(made / "results", results)
    shutil.copytree(results / "masks", photos)
    shutil.rmtree(results / "masks")
    (results / "masks").symlink_to(photos, target_is_directory=True)
    shutil.copytree(made / "photos", tmp_path / "source")
    Image.fromarray(np.full((6, 9), 10, np.uint8)).save(tmp_path / "source" / "b.png")
    (tmp_path / "source" / "a.png").unlink()
    words = ["run", str(tmp_path / "source"), "--model", "threshold", "--prune", "--output", str(results)]
    done = CliRunner().invoke(cli, words)
    assert done.exit_code == 1, done.output
    assert "is a link" in done.stderr
    assert (photos / "a.png").exists()
