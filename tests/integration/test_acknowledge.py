"""Images that are broken for good: acknowledged once, they are not tried again until their files change."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from command_line import command
from crashes import every_kill
from PIL import Image
from result_tables import tables

import batchseg
from batchseg.errors import ConfigError, OutputError
from batchseg.results.folder import Results

pytestmark = [pytest.mark.usefixtures("in_tasks")]


def save(path: Path, value: int = 200, size: tuple[int, int] = (6, 8)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full(size, value, np.uint8)).save(path)


@pytest.fixture
def scene(tmp_path: Path) -> Path:
    """Two whole images, two that cannot be read, one whose truth cannot, one whose truth is too small."""
    for name in ("a.png", "b.png", "torn_truth.png", "small_truth.png"):
        save(tmp_path / "images" / name)
        save(tmp_path / "truth" / name, 1)
    for name in ("bad_1.png", "bad_2.png"):
        (tmp_path / "images" / name).write_bytes(b"no image")
    (tmp_path / "truth" / "torn_truth.png").write_bytes(b"no truth")
    save(tmp_path / "truth" / "small_truth.png", 1, (3, 4))
    return tmp_path


def run(scene: Path, *more: object) -> dict:
    words = ("run", scene / "images", "--truth", scene / "truth", "--model", "threshold")
    result = command(*words, "--output", scene / "results", "--json", *more)
    assert result.exit_code in (0, 3), result.output
    return json.loads(result.stdout)


def acknowledged(scene: Path) -> set[str]:
    sql = f"select id from '{scene}/results/images/*.parquet' where acknowledged is not null"
    return {name for (name,) in duckdb.sql(sql).fetchall()}


BROKEN = {"bad_1.png", "bad_2.png", "torn_truth.png", "small_truth.png"}


def test_they_keep_their_rows_and_are_not_tried_again(scene: Path) -> None:
    assert (run(scene)["exit_code"], run(scene)["computed"]) == (
        3,
        {"truth_mismatch": 1, "truth_unreadable": 1, "unreadable": 2},
    )
    before = tables(scene / "results", ("acknowledged",))
    done = command("acknowledge", scene / "results", "small_truth.png", "--status", "unreadable",
                   "--status", "truth_unreadable", "--json")  # fmt: skip
    assert json.loads(done.stdout) == {
        "results": str(scene / "results"),
        "undo": False,
        "changed": {"truth_mismatch": 1, "truth_unreadable": 1, "unreadable": 2},
        "total": 4,
    }
    assert acknowledged(scene) == BROKEN
    assert tables(scene / "results", ("acknowledged",)) == before
    record = run(scene)
    assert (record["exit_code"], record["computed"]) == (0, {})
    assert (record["images"]["done_before"], record["acknowledged"]) == (6, 4)
    assert batchseg.verify(str(scene / "results")).acknowledged == 4
    shown = command("verify", scene / "results")
    assert (shown.exit_code, "4 images that failed are acknowledged" in shown.stdout) == (0, True)
    closing = command("run", scene / "images", "--truth", scene / "truth", "--model", "threshold",
                      "--output", scene / "results")  # fmt: skip
    assert (closing.exit_code, "4 that failed, and are not tried again" in closing.stderr) == (0, True)


def test_what_changes_is_tried_again_and_counts_again(scene: Path) -> None:
    run(scene)
    batchseg.acknowledge(str(scene / "results"), status=["unreadable", "truth_unreadable", "truth_mismatch"])
    save(scene / "images" / "bad_1.png")
    save(scene / "truth" / "bad_1.png", 1)
    (scene / "images" / "bad_2.png").write_bytes(b"another file, no image either")
    save(scene / "truth" / "torn_truth.png", 1)
    os.utime(scene / "images" / "small_truth.png", ns=(1, 1))  # its image is another, its truth is not
    record = run(scene)
    assert record["computed"] == {"ok": 2, "truth_mismatch": 1, "unreadable": 1}
    assert (record["exit_code"], record["acknowledged"]) == (3, 0)
    assert acknowledged(scene) == set()


def test_undo_has_them_tried_again(scene: Path) -> None:
    run(scene)
    results = str(scene / "results")
    assert batchseg.acknowledge(results, sorted(BROKEN)).total == 4
    assert batchseg.acknowledge(results, sorted(BROKEN)).changed == {}  # once is enough
    undone = batchseg.acknowledge(results, "bad_1.png", undo=True)
    assert (undone.changed, undone.total) == ({"unreadable": 1}, 3)
    assert run(scene)["computed"] == {"unreadable": 1}
    assert batchseg.acknowledge(results, status="unreadable", undo=True).changed == {"unreadable": 1}


def test_another_model_tries_only_what_a_model_failed_on(scene: Path) -> None:
    """What cannot be read cannot be read by any."""
    run(scene)
    batchseg.acknowledge(str(scene / "results"), status="unreadable")
    record = run(scene, "--recompute", "--set", "segmentor.levels=[10]")
    assert record["computed"] == {"ok": 2, "truth_mismatch": 1, "truth_unreadable": 1}
    assert record["acknowledged"] == 2


def test_what_a_model_failed_on_is_tried_by_another_model_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(Path(__file__).parent))
    save(tmp_path / "images" / "a.png")
    save(tmp_path / "images" / "thirteen.png", 13)

    def segmented(kind: str, **more: object) -> batchseg.RunResult:
        segmentor = {"model": "deadly_model:Deadly", "options": {"kind": kind}}
        settings = {"segmentor": segmentor, **more}
        return batchseg.run(tmp_path / "images", output=tmp_path / "results", settings=settings)

    assert segmented("raise").statuses == {"model_failed": 1, "ok": 1}
    assert batchseg.acknowledge(str(tmp_path / "results"), status="model_failed").total == 1
    assert segmented("raise").record["computed"] == {}
    mended = segmented("none", recompute=True).record
    assert (mended["computed"], mended["acknowledged"]) == ({"ok": 2}, 0)


def test_a_candidate_takes_over_what_no_model_can_read(scene: Path) -> None:
    (scene / "truth" / "torn_truth.png").unlink()
    (scene / "truth" / "small_truth.png").unlink()
    run(scene)
    batchseg.acknowledge(str(scene / "results"), ["bad_1.png"])
    trial = ("--candidate", "--set", "segmentor.levels=[10]")
    first = run(scene, *trial)
    assert (first["computed"], first["acknowledged"]) == ({"ok": 4, "unreadable": 1}, 1)
    batchseg.acknowledge(str(scene / "results"), status="unreadable")  # now the other one, too
    second = run(scene, *trial)
    assert (second["computed"], second["exit_code"], second["acknowledged"]) == ({}, 0, 2)
    assert batchseg.verify(str(scene / "results" / "candidate")).ok
    batchseg.promote(str(scene / "results"))
    assert acknowledged(scene) == {"bad_1.png", "bad_2.png"}
    save(scene / "images" / "bad_2.png")
    assert run(scene, *trial[1:])["computed"] == {"ok": 1}


def test_a_truth_is_tried_again_when_truths_are_read_otherwise(tmp_path: Path) -> None:
    """A JPEG holds no classes, until a threshold makes some of its grey levels."""
    for name in "abcd":
        save(tmp_path / "images" / f"{name}.png")
        save(tmp_path / "truth" / f"{name}.png", 1)
    (tmp_path / "truth" / "d.png").unlink()
    save(tmp_path / "truth" / "d.jpg", 255)
    assert run(tmp_path)["computed"] == {"ok": 3, "truth_unreadable": 1}
    batchseg.acknowledge(str(tmp_path / "results"), ["d.png"])
    assert run(tmp_path)["computed"] == {}
    assert run(tmp_path, "--truth-threshold", 1)["computed"] == {"ok": 4}


def test_a_file_that_is_missing_until_it_comes(tmp_path: Path) -> None:
    save(tmp_path / "a.png")
    names = ["a.png", "gone.png"]
    pq.write_table(
        pa.table({"image": [str(tmp_path / name) for name in names], "id": names}), tmp_path / "m.parquet"
    )
    words = ("run", tmp_path / "m.parquet", "--model", "threshold", "--output", tmp_path / "out", "--quiet")
    assert command(*words).exit_code == 3
    assert command("acknowledge", tmp_path / "out", "gone.png").exit_code == 0
    assert command(*words).exit_code == 0
    save(tmp_path / "gone.png")
    assert command(*words).exit_code == 0
    assert batchseg.open_results(str(tmp_path / "out")).images["status"].to_pylist() == ["ok", "ok"]


def test_existing_masks_that_are_broken(scene: Path) -> None:
    (scene / "labels.yaml").write_text("classes: [dark, bright]")
    words = ("evaluate", scene / "truth", scene / "truth", "--labels", scene / "labels.yaml",
             "--output", scene / "scores", "--quiet")  # fmt: skip
    assert command(*words).exit_code == 3
    assert command("acknowledge", scene / "scores", "torn_truth.png").exit_code == 0
    assert command(*words).exit_code == 0


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ([], "name the images by their ids"),
        (["nowhere.png"], "has no row of nowhere.png"),
        (["a.png"], "nothing is wrong with a.png"),
        (["--status", "unreadible"], "did you mean unreadable?"),
        (["--status", "ok"], "What fails has one of: unreadable, unsupported"),
        (["bad_1.png", "nowhere.png"], "has no row of nowhere.png"),
    ],
)
def test_what_cannot_be_acknowledged_is_a_sentence(scene: Path, words: list[str], sentence: str) -> None:
    run(scene)
    result = command("acknowledge", scene / "results", *words)
    assert (result.exit_code, sentence in result.stderr) == (2, True), result.output
    assert acknowledged(scene) == set()
    assert batchseg.verify(str(scene / "results")).interrupted is None


def test_nothing_changes_where_there_are_no_results_or_a_run_is_at_work(scene: Path) -> None:
    with pytest.raises(OutputError, match="holds no results"):
        batchseg.acknowledge(str(scene / "images"), ["a.png"])
    assert not (scene / "images" / "runs").exists()
    run(scene)
    with Results(str(scene / "results")).held(), pytest.raises(OutputError, match="another run"):
        batchseg.acknowledge(str(scene / "results"), ["bad_1.png"])
    with pytest.raises(ConfigError):
        batchseg.acknowledge(str(scene / "results"))


def halve(results: Path) -> None:
    """One part made into two, so that there is something in between."""
    (part,) = (results / "images").glob("*.parquet")
    images, pixels = (
        pq.read_table(results / kind / part.name, partitioning=None) for kind in ("images", "pixels")
    )
    for number, rows in enumerate((images.slice(0, 3), images.slice(3))):
        name = f"20990101T000000-000000-{number:05d}.parquet"
        pq.write_table(rows, results / "images" / name)
        of_rows = pixels.filter(pc.is_in(pixels["id"], rows["id"].combine_chunks()))
        pq.write_table(of_rows, results / "pixels" / name)
    for kind in ("images", "pixels"):
        (results / kind / part.name).unlink()


def test_killed_in_between_all_are_acknowledged_or_none(scene: Path) -> None:
    run(scene, "--include", "bad_*", "--include", "[ab].png")
    run(scene)
    halve(scene / "results")

    def work(step: int) -> Callable[[], object]:
        copied = shutil.copytree(scene / "results", scene / f"copy_{step}")
        (copied / ".lock").unlink(missing_ok=True)
        return lambda: batchseg.acknowledge(
            str(copied), status=["unreadable", "truth_unreadable", "truth_mismatch"]
        )

    found = set()

    def after(step: int) -> None:
        (scene / f"copy_{step}" / ".lock").unlink(missing_ok=True)  # this process lives on
        with Results(str(scene / f"copy_{step}")).held() as held:
            found.add(held.ledger.acknowledged)
            assert len(held.ledger) == 6

    every_kill(work, after)
    assert found == {0, 4}
