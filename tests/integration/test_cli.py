"""The command line: what it prints, and what it exits with."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pytest
import yaml
from command_line import command
from PIL import Image
from processes import runs

PIPES: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}

pytestmark = [pytest.mark.usefixtures("ray_session")]


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("photos")
    for index in range(4):
        Image.fromarray(np.full((8, 12), 60 * index, np.uint8)).save(folder / f"{index}.png")
    return folder


def test_run_prints_where_everything_lies(photos: Path, tmp_path: Path) -> None:
    result = command("run", photos, "--model", "threshold", "--output", tmp_path / "out")
    assert result.exit_code == 0, result.output
    assert "4 in " in result.stderr
    assert str(tmp_path / "out") in result.stderr.replace("\n", "")
    assert result.stdout == ""


def test_json_goes_to_standard_output(photos: Path, tmp_path: Path) -> None:
    result = command("run", photos, "--model", "threshold", "--output", tmp_path, "--json", "--limit", 2)
    record = json.loads(result.stdout)
    assert record["computed"] == {"ok": 2}
    assert record == json.loads((tmp_path / "run.json").read_text())
    assert result.stderr == ""


def test_quiet_prints_nothing(photos: Path, tmp_path: Path) -> None:
    result = command("run", photos, "--model", "threshold", "--output", tmp_path, "--quiet")
    assert (result.exit_code, result.output) == (0, "")


def test_a_configuration_file_with_flags_over_it(photos: Path, tmp_path: Path) -> None:
    job = {"source": str(photos), "segmentor": {"kind": "threshold", "levels": [10]}, "output": "nowhere"}
    (tmp_path / "job.yaml").write_text(yaml.safe_dump(job))
    result = command(
        "run",
        "--config",
        tmp_path / "job.yaml",
        "--output",
        tmp_path / "out",
        "--set",
        "segmentor.levels=[100, 150]",
    )
    assert result.exit_code == 0, result.output
    sql = f"select predicted from '{tmp_path}/out/pixels/*.parquet' order by id"
    assert duckdb.sql(sql).fetchall() == [(0,), (0,), (1,), (2,)]


def test_dry_run_resolves_and_starts_nothing(photos: Path, tmp_path: Path) -> None:
    result = command("run", photos, "--model", "threshold", "--output", tmp_path / "out", "--dry-run")
    assert yaml.safe_load(result.stdout)["images"]["to_segment"] == 4
    assert not (tmp_path / "out").exists()


def test_what_is_pruned_is_told(tmp_path: Path) -> None:
    for name in ("kept.png", "gone.png"):
        (tmp_path / "images").mkdir(exist_ok=True)
        Image.fromarray(np.zeros((4, 4), np.uint8)).save(tmp_path / "images" / name)
    words = ("run", tmp_path / "images", "--model", "threshold", "--output", tmp_path / "out", "--prune")
    assert "no longer" not in command(*words).stderr
    (tmp_path / "images" / "gone.png").unlink()
    assert "1 that the source does not list" in " ".join(command(*words).stderr.split())


def test_failed_images_and_gates_have_codes_of_their_own(photos: Path, tmp_path: Path) -> None:
    mixed = tmp_path / "mixed"
    mixed.mkdir()
    Image.fromarray(np.zeros((4, 4), np.uint8)).save(mixed / "good.png")
    (mixed / "bad.png").write_bytes(b"")
    words = ("run", mixed, "--model", "threshold", "--output")
    failed = command(*words, tmp_path / "a")
    assert failed.exit_code == 3
    assert "1 unreadable, first bad.png: the file is empty" in " ".join(failed.stderr.split())
    assert command(*words, tmp_path / "b", "--max-failed", "50%").exit_code == 0
    gated = command(*words, tmp_path / "c", "--max-failed", "1", "--min", "mean_iou=0.5")
    assert gated.exit_code == 4
    assert "mean_iou is unknown without ground truth" in gated.stderr


@pytest.mark.parametrize(
    ("words", "code", "sentence"),
    [
        (["PHOTOS/nowhere", "--model", "threshold"], 1, "no such folder"),
        (["PHOTOS/0.png", "--model", "threshold"], 1, "not a folder"),
        (["PHOTOS", "--model", "no/such-folder/at-all"], 1, "no/such-folder/at-all"),
        (["PHOTOS", "--model", "no_such_module:Class"], 1, "cannot import no_such_module"),
        (["PHOTOS", "--model", "threshold", "--include", "*.tif"], 1, "no images"),
        (["PHOTOS"], 2, "segmentor: is required; give --model"),
        (["PHOTOS", "--model", "threshold", "--set", "segmentor.size=3"], 2, "segmentor.size: unknown key"),
        (["PHOTOS", "--model", "threshold", "--batch-size", "0"], 2, "segmentor.batch_size"),
        (["PHOTOS", "--model", "threshold", "--labels", "moon"], 2, "ade20k, cityscapes"),
        (["PHOTOS", "--model", "threshold", "--min", "beauty=1"], 2, "available: accuracy"),
        (["PHOTOS", "--model", "threshold", "--min", "accuracy"], 2, "METRIC=VALUE"),
        (["PHOTOS", "--model", "threshold", "--max-failed", "some"], 2, "gates.max_failed"),
        (["PHOTOS", "--model", "threshold", "--device", "cuda"], 2, "Ray sees no GPU"),
        (["PHOTOS", "--model", "threshold", "--truth-suffix", "x"], 2, "source.truth_suffix"),
    ],
)
def test_wrong_input_is_one_sentence(
    photos: Path, tmp_path: Path, words: list[str], code: int, sentence: str
) -> None:
    placed = [word.replace("PHOTOS", str(photos)) for word in words]
    result = command("run", *placed, "--output", tmp_path / "out")
    assert (result.exit_code, sentence in result.stderr) == (code, True), result.output
    assert "Traceback" not in result.output


def test_an_output_that_cannot_be_written(photos: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    result = command("run", photos, "--model", "threshold", "--output", tmp_path / "file" / "out")
    assert (result.exit_code, "cannot be written" in result.stderr) == (1, True), result.output


def test_a_manifest_without_an_image_column(tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    pq.write_table(pa.table({"path": ["a.png"], "split": ["test"]}), tmp_path / "list.parquet")
    result = command("run", tmp_path / "list.parquet", "--model", "threshold", "--output", tmp_path / "out")
    assert result.exit_code == 1
    assert "no column `image` or `image_bytes`; the columns are: path, split" in result.stderr


def test_evaluate(photos: Path, tmp_path: Path) -> None:
    labels = tmp_path / "labels.yaml"
    labels.write_text(
        "classes: [a, {name: b, truth_ids: [60]}, {name: c, truth_ids: [120]}, {name: d, truth_ids: [180]}]"
    )
    words = ("evaluate", photos, photos, "--labels", labels, "--mask-ids", "truth", "--output")
    result = command(*words, tmp_path / "out", "--json", "--min", "mean_iou=1")
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["metrics"]["mean_iou"] == 1.0


def test_evaluate_from_a_file(photos: Path, tmp_path: Path) -> None:
    (tmp_path / "labels.yaml").write_text("classes: [a, {name: b, truth_ids: [60, 120, 180]}]")
    job = {"masks": str(photos), "truth": str(photos), "output": str(tmp_path / "out"), "mask_ids": "truth",
           "labels": str(tmp_path / "labels.yaml"), "limits": {"max_pixels": 90}}  # fmt: skip
    (tmp_path / "job.yaml").write_text(yaml.safe_dump(job))
    words = ("evaluate", "--config", tmp_path / "job.yaml", "--json")
    refused = command(*words)  # every mask has more pixels than that
    assert (refused.exit_code, "sampled ground truths cannot be used" in refused.stderr) == (1, True)
    assert command(*words, "--accept", "failing_truth").exit_code == 3
    more = ("--set", "limits.max_pixels=100", "--set", "ray.exclude_head=false", "--include", "[01].png")
    done = command(*words, *more)
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["config"]["limits"]["max_pixels"] == 100
    assert json.loads(done.stdout)["computed"] == {"ok": 2}
    elsewhere = command(*words, photos / "nowhere", *more)
    assert (elsewhere.exit_code, "nowhere" in elsewhere.stderr) == (1, True), elsewhere.output


def test_evaluate_without_its_folders() -> None:
    result = command("evaluate", "--labels", "voc")
    assert result.exit_code == 2
    assert all(f"  {key}: is required; give " in result.stderr for key in ("masks", "truth", "output"))


@pytest.mark.parametrize("stop", [signal.SIGINT, pytest.param(signal.SIGTERM, marks=pytest.mark.slow)])
@pytest.mark.usefixtures("heard_interrupts")
def test_interrupted_run_commits_and_resumes(tmp_path: Path, stop: signal.Signals) -> None:
    photos, gate = tmp_path / "photos", tmp_path / "gate"
    photos.mkdir()
    for index in range(40):
        Image.fromarray(np.full((8, 12), index, np.uint8)).save(photos / f"{index:02d}.png")
    words = [sys.executable, "-m", "batchseg", "run", str(photos), "--output", str(tmp_path / "out")]
    words += ["--model", "gated_model:Gated", "--actors", "1", "--batch-size", "1"]
    words += ["--set", f"segmentor.options.gate={gate}", "--set", "segmentor.options.images=25"]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(Path(__file__).parent), os.getcwd()])}
    os.mkfifo(gate)
    with subprocess.Popen(words, env=environment, **PIPES) as process:
        try:
            while not list(tmp_path.glob("out/images/*.parquet")):  # the first rows are committed at once
                assert runs(process), process.communicate()
            process.send_signal(stop)
            output, errors = process.communicate(timeout=120)
        finally:
            process.kill()
    assert process.returncode == 130, errors
    said = re.fullmatch(
        r"segmenting 40 images\ninterrupted: (\d+) of 40 images are committed; "
        r"(up to \d+ that were|what was) under way (are|is) computed again; the same command goes on\n",
        errors,
    )
    assert said, errors
    assert json.loads((tmp_path / "out" / "run.json").read_text())["status"] == "interrupted"
    assert output == ""
    finished = json.loads((tmp_path / "out" / "run.json").read_text())["computed"].get("ok", 0)
    assert int(said[1]) == finished
    gate.unlink()  # no gate blocks nobody, and a plain file would count among the files of the model
    again = subprocess.run(
        [*words, "--json"], env=environment, capture_output=True, text=True, timeout=120, check=False
    )
    assert again.returncode == 0, again.stderr
    assert json.loads(again.stdout)["computed"] == {"ok": 40 - finished}
    assert json.loads(again.stdout)["images"]["done_before"] == finished > 0
