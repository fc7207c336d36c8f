"""`batchseg report`, `run --report` and the page of a night: what is made where, and what is refused."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from pathlib import Path

import numpy as np
import pytest
import yaml
from click.testing import CliRunner, Result
from PIL import Image

import batchseg
from batchseg.cli.group import cli
from batchseg.inspect.verify import verify
from tests.report_pages import ReadPage, write_rich
from tests.written_results import NAMES, write_results

RUN = "20260101T000000-aaaaaa"


@pytest.fixture
def rich(tmp_path: Path) -> Path:
    return write_rich(tmp_path / "results", 8)


def command(*words: str | Path) -> Result:
    return CliRunner().invoke(cli, ["report", *map(str, words)], catch_exceptions=False)


def test_the_command_and_the_library_make_the_same(rich: Path, tmp_path: Path) -> None:
    made = command(rich, "--images", "0", "--json")
    told = json.loads(made.stdout)
    assert (made.exit_code, told["path"]) == (0, str(rich / "report.html"))
    assert told["size_bytes"] == (rich / "report.html").stat().st_size
    again = batchseg.report(rich, images=0, output=tmp_path / "page.html")
    assert ReadPage.of(again.path).figures == ReadPage.of(told["path"]).figures
    (tmp_path / "page.yaml").write_text(yaml.safe_dump({"results": str(rich), "images": 0}))
    assert command("--config", tmp_path / "page.yaml", "--quiet").output == ""
    shown = command(rich, "--images", "0")
    assert f"{rich}/report.html: 0." in shown.stdout
    assert "Finished: 9 of 11 images segmented, 2 failed, 1 truth failed" in shown.stdout


def test_nothing_is_loaded_and_nothing_runs_but_its_own(rich: Path) -> None:
    command(rich, "--images", "0")
    text, page = (rich / "report.html").read_text(), ReadPage.of(rich / "report.html")
    (policy,) = (each["content"] for each in page.all("meta", **{"http-equiv": "Content-Security-Policy"}))
    assert policy is not None
    assert policy.startswith("default-src 'none'; img-src data:; ")
    for kind in ("style", "script"):
        (inside,) = re.findall(rf"<{kind}>(.*?)</{kind}>", text, re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(inside.encode()).digest()).decode()
        assert f"{kind}-src 'sha256-{digest}'" in policy
    names = {name for _, given in page.tags for name in given}
    assert not {name for name in names if name.startswith("on")} | {"style"} & names
    assert not re.search(r"(src|href)=\"(?!#|data:)", text)
    assert "unsafe" not in policy


def test_names_from_outside_stay_text(tmp_path: Path) -> None:
    evil = "<script>alert(1)</script>\"'&\u202egnp.\u0627/x.png"
    names = ("<b>road</b>", 'tree"', "sky", "boat")
    maps = (np.zeros((3, 3), np.uint8), np.eye(3, dtype=np.uint8))
    results = write_results(
        tmp_path / "r", {evil: maps, "b": "unreadable"}, names=names, columns={"b": {"error": "<img src=x>"}}
    )
    page = ReadPage.of(batchseg.report(results, images=0).path)
    assert len(page.all("script")) == 1
    assert not page.all("b") and not page.all("img")
    for text in (evil, "<img src=x>", *names[:2]):
        assert text in page.text
    assert len([tag for tag, _ in page.tags if tag == "bdi"]) > 5


def test_what_is_refused_in_one_sentence(rich: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    other = write_results(tmp_path / "other", {"a": (np.zeros((2, 2), np.uint8), None)}, names=("x", "y"))
    for words, code, sentence in (
        ((tmp_path / "empty",), 1, "holds no results of batchseg"),
        ((tmp_path / "nowhere",), 1, "holds no results of batchseg"),
        ((rich, "--output", tmp_path), 1, "is a folder; name the file of the page, such as"),
        ((rich, "--output", tmp_path / "no/page.html"), 1, "there is no folder"),
        ((rich, "--against", other), 2, "the classes differ"),
        ((rich, "--against", tmp_path / "empty"), 1, "holds no results of batchseg"),
        ((rich, "--images", "-1"), 2, "images: Input should be greater than or equal to 0"),
        ((), 2, "results: is required; give the argument RESULTS"),
    ):
        refused = CliRunner().invoke(cli, ["report", *map(str, words)])
        assert (refused.exit_code, sentence in refused.output) == (code, True), refused.output
        assert "Traceback" not in refused.output
    assert not (rich / "report.html").exists()


def test_results_without_rows_have_nothing_to_show(tmp_path: Path) -> None:
    results = write_results(tmp_path / "r", {})
    with pytest.raises(batchseg.BatchsegError, match="holds no rows, so there is nothing to show"):
        batchseg.report(results)


def test_a_run_that_did_not_finish_needs_a_look(rich: Path) -> None:
    record = json.loads((rich / "run.json").read_text())
    (rich / "run.json").write_text(json.dumps({**record, "status": "interrupted", "error": "by Ctrl-C"}))
    page = batchseg.report(rich, images=0)
    assert (page.level, page.verdict) == ("look", "Needs a look: The last run was interrupted: by Ctrl-C.")
    (rich / "run.json").unlink()
    page = batchseg.report(rich, images=0)
    assert page.verdict.startswith("Needs a look: No run has come to its end here")


def test_what_ran_is_told_without_secrets(rich: Path) -> None:
    ray = {"address": "10.0.0.5:6379", "job": {"env": {"TOKEN": "s3cret"}}}
    output = {"path": "/results", "mask_name": "full"}
    source = {"path": "/photos", "truth": "/true/masks"}
    record = {
        **json.loads((rich / "run.json").read_text()),
        "config": {"source": source, "segmentor": "threshold", "output": output, "ray": ray},
        "finished_at": "2026-01-02T03:04:05+00:00",
        "machine": {"host": "here", "cpus": 8},
        "placement": {"device": "cpu", "actors": 2},
        "precision": "fp32",
        "timings": {"elapsed_s": 42, "images_per_s": 0.5, "stage_s": {"decode": 3, "segment": 1}},
        "warnings": {"binary_truth": "half of it is odd"},
    }
    (rich / "run.json").write_text(json.dumps(record))
    batchseg.report(rich, images=0)
    page = ReadPage.of(rich / "report.html")
    for text in (
        *("/photos", "/true/masks", "2026-01-02 03:04:05 UTC", "here, 8 CPUs", "mask_name: full"),
        *("42 s for 11 images (0.5 a second)", "fp32, on cpu, 2 copies of the model", "Half of it is odd."),
        *("75.0 %", "364 ms"),  # of the work, and of it an image
    ):
        assert text in page.text
    for secret in ("s3cret", "10.0.0.5"):
        assert secret not in (rich / "report.html").read_text()


def test_the_comparison_is_that_of_compare(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    truths = {f"{number}.png": rng.integers(0, 4, (8, 8)).astype(np.uint8) for number in range(12)}
    sides = {}
    for name, share in (("old", 0.95), ("new", 0.7)):
        maps = {
            key: (np.where(rng.random((8, 8)) < share, truth, 0).astype(np.uint8), truth)
            for key, truth in truths.items()
        }
        if name == "new":
            maps |= {"came.png": maps.pop("0.png"), "11.png": "unreadable"}
        sides[name] = write_results(tmp_path / name, maps, names=NAMES)
    page = batchseg.report(sides["new"], against=sides["old"], images=0)
    read = ReadPage.of(page.path)
    asked = batchseg.CompareConfig(old=str(sides["old"]), new=str(sides["new"]))
    found = batchseg.compare(asked)
    for metric, each in found.metrics.items():
        assert read.figure(f"compared.{metric}.difference") == each.difference
    assert read.figure("drift.both") == found.drift["both"].distance
    fell = -found.metrics["mean_iou"].difference
    assert page.verdict.startswith(f"Needs a look: Mean IoU fell by {fell:.3f}")
    text = " ".join(read.text.split())
    assert f"1 image that was ok in {sides['old']} failed now." in text
    for heading in ("Came 1 image came.png", "Gone 1 image 0.png", "Was ok, and failed now 1 image 11.png"):
        assert heading in text
    for name in NAMES:
        iou = found.classes[name]["iou"]
        assert f"{name}{iou.old:.3f} \N{RIGHTWARDS ARROW} {iou.new:.3f}" in text


# --- with a run ---


def draw(folder: Path, *numbers: int) -> None:
    for number in numbers:
        image = np.random.default_rng(number).integers(0, 256, (12, 16), dtype=np.uint8)
        for name, pixels in (("images", image), ("truth", (image >= 100).astype(np.uint8))):
            path = folder / name / f"{number:03d}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels).save(path)


def unfolded(result: Result) -> str:
    """What was printed, as a long path stands on several lines."""
    return "".join(result.output.split())


@pytest.mark.usefixtures("in_tasks")
def test_a_run_makes_one_where_it_is_asked_to(tmp_path: Path) -> None:
    draw(tmp_path, 1, 2)
    words = ["run", str(tmp_path / "images"), "--truth", str(tmp_path / "truth"), "--model", "threshold"]
    words += ["--output", str(tmp_path / "r")]
    plain = CliRunner().invoke(cli, words)
    assert (plain.exit_code, (tmp_path / "r/report.html").exists()) == (0, False)
    again = CliRunner().invoke(cli, [*words, "--report"])
    assert (again.exit_code, f"{tmp_path}/r/report.html" in unfolded(again)) == (0, True)
    assert "2 done before" in again.output  # a page changes nothing of what is computed
    assert len(ReadPage.of(tmp_path / "r/report.html").all("img")) == 8
    assert verify(str(tmp_path / "r")).ok
    (tmp_path / "r/report.html").unlink()
    (tmp_path / "r/report.html").mkdir()
    refused = CliRunner().invoke(cli, [*words, "--set", "output.report=true"])
    assert refused.exit_code == 1
    assert "the run has finished, but its page cannot be made" in refused.output


@pytest.mark.usefixtures("in_tasks")
def test_every_night_makes_one_with_its_verdict(tmp_path: Path) -> None:
    draw(tmp_path, *range(6))
    job = {
        "source": {"path": str(tmp_path / "images"), "truth": str(tmp_path / "truth")},
        "segmentor": {"kind": "threshold", "levels": [100], "actors": 1},
        "output": str(tmp_path / "r"),
        "night": {"max_drop": {"mean_iou": 0.01}, "bootstrap": 20},
    }
    (tmp_path / "night.yaml").write_text(yaml.safe_dump(job))

    def night(*words: str) -> Result:
        return CliRunner().invoke(cli, ["night", str(tmp_path / "night.yaml"), *words])

    first = night()
    assert (first.exit_code, f"{tmp_path}/r/report.html" in unfolded(first)) == (0, True)
    good = ReadPage.of(tmp_path / "r/report.html")
    assert "comparison" not in [each["id"] for each in good.all("section")]
    assert night("--recompute", "--set", "segmentor.levels=[150]").exit_code == 4
    bad = ReadPage.of(tmp_path / "r/report.html")
    assert bad.figure("compared.mean_iou.old") == 1
    (sentence, *_) = json.loads((tmp_path / "r/run.json").read_text())["night"]["sentences"]
    assert sentence[1:] in bad.text
    # by hand it is compared with the same night
    by_hand = ReadPage.of(batchseg.report(tmp_path / "r", images=0).path)
    assert by_hand.figure("compared.mean_iou.difference") == bad.figure("compared.mean_iou.difference")
    (tmp_path / "r/report.html").unlink()
    assert night("--recompute", "--set", "night.report=false").exit_code == 0
    assert not (tmp_path / "r/report.html").exists()
