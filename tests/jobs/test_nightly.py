"""Nights: only what is new is computed, a bad night is told and never becomes the reference."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from click.testing import CliRunner, Result
from PIL import Image

import batchseg
from batchseg.errors import OutputError
from batchseg.inspect.verify import verify
from batchseg.results.folder import Results

ROOT = Path(__file__).parent.parent.parent
SCRIPT = ROOT / "jobs" / "nightly.py"
LINE = re.compile(
    r"batchseg \d{4}-\d\d-\d\d (?P<verdict>finished|needs a look \(exit \d\)): (?P<new>[\d,]+) segmented, "
    r"(?P<failed>[\d,]+) failed, mean IoU (?P<mean_iou>0\.\d{4}|1\.0000)( \((?P<change>[+-]\d\.\d{4})\))?, "
    r"(drift (?P<drift>\d\.\d{3}), )?\d+ (s|min)(; (?P<sentences>.*))?\n"
)
GOOD, WORSE = 100, 150  # grey levels from which the threshold segmentor says "bright"; the truth's is 100


def draw(folder: Path, *numbers: int) -> None:
    """Noise, with a ground truth that the good model meets exactly."""
    for number in numbers:
        image = np.random.default_rng(number).integers(0, 256, (12, 16), dtype=np.uint8)
        for name, pixels in (("images", image), ("truth", (image >= GOOD).astype(np.uint8))):
            path = folder / name / f"{number:03d}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels).save(path)


def write_config(folder: Path, **night: Any) -> Path:
    job = {
        "source": {"path": str(folder / "images"), "truth": str(folder / "truth")},
        "segmentor": {"kind": "threshold", "levels": [GOOD], "actors": 1},
        "output": str(folder / "results"),
        "night": {"max_drop": {"mean_iou": 0.01}, "bootstrap": 20, **night},
    }
    path = folder / "night.yaml"
    path.write_text(yaml.safe_dump(job))
    return path


def level(grey: int) -> list[str]:
    return ["--recompute", "--set", f"segmentor.levels=[{grey}]"]


def record(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "results" / "run.json").read_text())


def kept(folder: Path) -> list[str]:
    return sorted(path.name for path in (folder / "results" / "nights").glob("*"))


def spoken(line: str) -> dict[str, str | None]:
    match = LINE.fullmatch(line)
    assert match, line
    return match.groupdict()


@pytest.fixture
def night(tmp_path: Path, in_tasks: None) -> Any:
    """jobs/nightly.py in this process."""
    spec = importlib.util.spec_from_file_location("nightly", SCRIPT)
    assert spec and spec.loader
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)

    def run(*words: str) -> Result:
        return CliRunner().invoke(script.nightly, [str(tmp_path / "night.yaml"), *words])

    return run


@pytest.mark.slow
def test_three_nights_in_processes_of_their_own(tmp_path: Path) -> None:
    config = write_config(tmp_path)

    def start(*words: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, str(SCRIPT), str(config), "--summary", *words]
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path])}
        return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)

    draw(tmp_path, *range(10))
    first = start()
    assert first.returncode == 0, first.stderr
    said = spoken(first.stdout)
    assert (said["verdict"], said["new"], said["mean_iou"], said["change"]) == (
        "finished",
        "10",
        "1.0000",
        None,
    )
    draw(tmp_path, *range(10, 14))
    second = start()
    assert second.returncode == 0, second.stderr
    said = spoken(second.stdout)
    assert (said["new"], said["change"]) == ("4", "+0.0000")
    assert record(tmp_path)["images"]["done_before"] == 10
    good = record(tmp_path)["run_id"]

    draw(tmp_path, 14)
    third = start(*level(WORSE))
    assert third.returncode == 4, third.stderr
    said = spoken(third.stdout)
    assert (said["verdict"], said["new"]) == ("needs a look (exit 4)", "15")
    assert re.search(
        r"classes whose iou fell: dark 1\.0000 -> 0\.\d{4}, bright 1\.0000", said["sentences"] or ""
    ) or (
        re.search(
            r"classes whose iou fell: bright 1\.0000 -> 0\.\d{4}, dark 1\.0000", said["sentences"] or ""
        )
    )
    facts = record(tmp_path)["night"]
    assert (facts["reference"], facts["kept"]) == (str(tmp_path / "results" / "nights" / good), None)
    assert kept(tmp_path)[-1] == good


def test_the_last_good_night_stays_the_reference(tmp_path: Path, night: Any) -> None:
    write_config(tmp_path)
    draw(tmp_path, *range(6))
    assert night().exit_code == 0
    good = record(tmp_path)["run_id"]
    assert night(*level(WORSE)).exit_code == 4
    again = night("--set", f"segmentor.levels=[{WORSE}]", "--summary")
    assert (again.exit_code, spoken(again.stdout)["new"]) == (4, "0")  # nothing new, and still as bad
    assert kept(tmp_path) == [good]
    refused = night()
    assert refused.exit_code == 1
    assert "holds masks of another model" in refused.stderr
    assert re.fullmatch(
        r"batchseg \S+ failed: .* holds masks of another model .*--recompute .*\n", refused.stdout
    )
    mended = night(*level(GOOD), "--summary")
    assert (mended.exit_code, spoken(mended.stdout)["change"]) == (0, "+0.0000")
    assert len(kept(tmp_path)) == 2
    (tmp_path / "results" / "nights").rename(tmp_path / "away")
    accepted = night(*level(WORSE), "--summary")
    assert (accepted.exit_code, spoken(accepted.stdout)["change"]) == (0, None)


def test_a_kept_night_is_a_results_folder(tmp_path: Path, night: Any) -> None:
    write_config(tmp_path)
    draw(tmp_path, *range(4))
    night()
    folder = tmp_path / "results" / "nights" / kept(tmp_path)[0]
    night(*level(WORSE))
    paths = {"old": str(folder), "new": str(tmp_path / "results")}
    report = batchseg.compare(batchseg.CompareConfig(**paths, bootstrap=20))
    assert (report.both, report.metrics["mean_iou"].old) == (4, 1.0)
    stored = record(tmp_path)["night"]["compared"]
    assert stored["metrics"]["mean_iou"]["difference"] == report.metrics["mean_iou"].difference
    assert verify(str(tmp_path / "results")).ok  # which a folder nights/ does not trouble


def test_failed_images_outrank_a_drop_and_broken_results_both(tmp_path: Path, night: Any) -> None:
    write_config(tmp_path)
    draw(tmp_path, *range(4))
    night()
    (tmp_path / "images" / "bad.png").write_bytes(b"no image")
    worse = night(*level(WORSE), "--summary")
    assert worse.exit_code == 3
    assert "1 of 5 images failed; max_failed is 0; mean_iou fell from" in worse.stdout
    (tmp_path / "results" / "masks" / "000.png").unlink()
    broken = night("--set", f"segmentor.levels=[{WORSE}]", "--summary")
    assert broken.exit_code == 1
    assert "the results folder is not whole: 1 mask_missing" in broken.stdout
    assert record(tmp_path)["night"]["compared"] is None
    assert len(kept(tmp_path)) == 1


def test_a_night_that_cannot_be_compared_says_why_and_how_to_begin_anew(tmp_path: Path, night: Any) -> None:
    write_config(tmp_path)
    draw(tmp_path, *range(3))
    night()
    kept_night = tmp_path / "results" / "nights" / kept(tmp_path)[0]
    for part in (kept_night / "images").iterdir():
        part.write_bytes(b"no table")
    nights = tmp_path / "results" / "nights"
    advice = f"if that is meant, remove {nights}, and the next night begins anew"
    damaged = night("--summary")
    assert (damaged.exit_code, record(tmp_path)["night"]["compared"]) == (4, None)
    assert f"not compared with the last good night: {part}: cannot be read" in damaged.stdout
    assert advice in damaged.stdout

    three = f"--set=segmentor.levels=[{GOOD}, {WORSE}]"
    changed = night(three, "--recompute", "--summary")
    assert changed.exit_code == 4
    assert "the classes differ (2 in" in changed.stdout and advice in changed.stdout
    shutil.rmtree(nights)
    assert night(three, "--summary").exit_code == 0
    assert len(kept(tmp_path)) == 1


def test_retention(tmp_path: Path, night: Any) -> None:
    write_config(tmp_path, keep_nights=2, keep_records=3)
    unfinished = tmp_path / "results" / "nights" / "20200101T000000-abcdef"
    unfinished.mkdir(parents=True)
    draw(tmp_path, *range(3))
    nights = []
    for _ in range(4):
        assert night().exit_code == 0
        nights.append(record(tmp_path)["run_id"])
    assert kept(tmp_path) == sorted(nights)[-2:]
    runs = sorted(path.stem for path in (tmp_path / "results" / "runs").iterdir())
    assert runs == sorted(nights)[-3:]


def test_what_it_prints(tmp_path: Path, night: Any) -> None:
    write_config(tmp_path)
    draw(tmp_path, *range(3))
    first, second = night(), night("--json")
    assert "compared with  nothing: no good night is kept yet" in first.stdout
    assert f"runs/{kept(tmp_path)[0]}.json" in first.stdout
    assert spoken(first.stdout.splitlines()[-1] + "\n")["new"] == "3"
    assert json.loads(second.stdout) == record(tmp_path)
    assert LINE.fullmatch(record(tmp_path)["night"]["summary"] + "\n")


def test_nothing_is_judged_while_another_run_is_at_work(tmp_path: Path, night: Any) -> None:
    write_config(tmp_path)
    draw(tmp_path, 0)
    night()
    with Results(str(tmp_path / "results")).held(), pytest.raises(OutputError, match="another run"):
        batchseg.night(batchseg.read_config(batchseg.NightConfig, tmp_path / "night.yaml"))


@pytest.mark.parametrize(
    ("night_settings", "sentence"),
    [
        ({"max_drop": {"beauty": 1}}, "night.max_drop: unknown figure 'beauty'"),
        ({"keep_nights": 0}, "night.keep_nights"),
        ({"moon": "full"}, "night.moon: unknown key"),
    ],
)
def test_wrong_settings(tmp_path: Path, night: Any, night_settings: dict[str, Any], sentence: str) -> None:
    write_config(tmp_path, **night_settings)
    result = night()
    assert (result.exit_code, sentence in result.stderr, result.stdout) == (2, True, "")


def tried(grey: int) -> list[str]:
    return ["--set", "candidate=true", "--set", f"segmentor.levels=[{grey}]"]


def good_files(folder: Path) -> dict[str, bytes]:
    root = folder / "results"
    found = {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}
    return {name: data for name, data in found.items() if not name.startswith("candidate/")}


def candidate_record(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "results" / "candidate" / "run.json").read_text())


def test_a_worse_model_is_tried_beside_the_good_results_and_every_night_says_so(
    tmp_path: Path, night: Any
) -> None:
    write_config(tmp_path)
    draw(tmp_path, *range(4))
    assert night("--set", "candidate=true").exit_code == 0  # there is nothing yet to try it against
    before = good_files(tmp_path)
    for new in ("4", "0"):
        worse = night(*tried(WORSE), "--summary")
        said = spoken(worse.stdout)
        assert (worse.exit_code, said["new"]) == (4, new)
        assert "mean_iou fell from 1.0000" in worse.stdout
        assert f"the good results in {tmp_path / 'results'} were not touched" in worse.stdout
        assert f"`batchseg promote {tmp_path / 'results'} --drop`" in worse.stdout
        assert good_files(tmp_path) == before
        facts = candidate_record(tmp_path)["night"]
        assert (facts["promoted"], facts["kept"], facts["exit_code"]) == (False, None, 4)
    draw(tmp_path, 4)  # goes to the candidate alone, until somebody decides
    assert spoken(night(*tried(WORSE), "--summary").stdout)["new"] == "1"
    assert good_files(tmp_path) == before
    back = night("--set", "candidate=true", "--summary")
    assert (back.exit_code, spoken(back.stdout)["new"]) == (0, "1")
    assert (tmp_path / "results" / "candidate").exists()


def test_a_better_model_is_promoted_and_is_the_next_reference(tmp_path: Path, night: Any) -> None:
    write_config(tmp_path)
    draw(tmp_path, *range(4))
    assert night(*tried(WORSE)).exit_code == 0
    first = record(tmp_path)["run_id"]
    better = night(*tried(GOOD), "--summary")
    assert better.exit_code == 0, better.output
    assert "4 segmented, 0 failed, mean IoU 1.0000 (+" in better.stdout
    assert better.stdout.endswith("threshold was promoted\n")
    assert not (tmp_path / "results" / "candidate").exists()
    stored = record(tmp_path)
    assert (stored["night"]["promoted"], stored["night"]["reference"]) == (True, str(tmp_path / "results"))
    assert kept(tmp_path) == sorted([first, stored["run_id"]])
    assert verify(str(tmp_path / "results")).ok
    again = night(*tried(GOOD), "--summary")
    assert (again.exit_code, spoken(again.stdout)["new"], spoken(again.stdout)["change"]) == (
        0,
        "0",
        "+0.0000",
    )
    assert record(tmp_path)["night"]["promoted"] is None


def test_the_next_model_replaces_a_failed_candidate(tmp_path: Path, night: Any) -> None:
    write_config(tmp_path)
    draw(tmp_path, *range(3))
    night()
    assert night(*tried(WORSE)).exit_code == 4
    other = night(*tried(200), "--summary")
    assert (other.exit_code, spoken(other.stdout)["new"]) == (4, "3")
    assert candidate_record(tmp_path)["config"]["segmentor"]["levels"] == [200]


def test_a_candidate_with_failed_images_is_no_better(tmp_path: Path, night: Any) -> None:
    write_config(tmp_path)
    draw(tmp_path, *range(3))
    night()
    before = good_files(tmp_path)
    (tmp_path / "images" / "bad.png").write_bytes(b"no image")
    result = night(*tried(GOOD + 1), "--set", "night.max_drop={}")
    assert result.exit_code == 3
    assert "1 of 4 images failed" in result.stdout
    assert good_files(tmp_path) == before


def test_classes_that_were_renamed_are_still_compared(tmp_path: Path, night: Any) -> None:
    write_config(tmp_path)
    draw(tmp_path, *range(3))
    night()
    labels = tmp_path / "labels.yaml"
    labels.write_text("classes: [shade, light]\n")
    renamed = night("--set", f"labels={labels}", "--summary")
    assert (renamed.exit_code, spoken(renamed.stdout)["new"]) == (0, "0")
    assert record(tmp_path)["night"]["compared"]["notes"][0] == "class 'dark' is called 'shade' now"
