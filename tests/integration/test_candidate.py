"""Try, then promote: another model beside good results, which are not touched until it takes their place."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result
from PIL import Image

import batchseg
from batchseg.cli.group import cli
from batchseg.errors import BatchsegError, OutputError
from batchseg.inspect.verify import verify
from batchseg.results.folder import Held

pytestmark = [pytest.mark.usefixtures("in_tasks")]

GOOD, WORSE = 100, 150  # the truth's level is that of the good model
IMAGES = 5


def draw(scene: Path, *numbers: int) -> None:
    for number in numbers:
        image = np.random.default_rng(number).integers(0, 256, (12, 16), np.uint8)
        for name, pixels in (("images", image), ("truth", (image >= GOOD).astype(np.uint8))):
            path = scene / name / f"{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels).save(path)


@pytest.fixture
def scene(tmp_path: Path) -> Path:
    draw(tmp_path, *range(IMAGES))
    return tmp_path


def settings(scene: Path, level: int, **more: Any) -> dict[str, Any]:
    return {
        "source": {"path": str(scene / "images"), "truth": str(scene / "truth")},
        "segmentor": {"kind": "threshold", "levels": [level]},
        "output": str(scene / "results"),
        **more,
    }


def run(scene: Path, level: int, **more: Any) -> Any:
    return batchseg.run(batchseg.load_config(overrides=settings(scene, level, **more)))


def contents(scene: Path) -> dict[str, bytes]:
    """Of the good results."""
    root = scene / "results"
    found = {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}
    return {name: data for name, data in found.items() if not name.startswith("candidate/")}


def level_of(scene: Path, below: str = "results") -> set[int]:
    """By which model the masks are."""
    found = set()
    for path in (scene / below / "masks").glob("*.png"):
        image = np.asarray(Image.open(scene / "images" / path.name))
        mask = np.asarray(Image.open(path))
        found |= {level for level in (GOOD, WORSE) if np.array_equal(mask, image >= level)}
    return found


def batchseg_command(*words: str) -> Result:
    return CliRunner().invoke(cli, list(words))


def words(scene: Path, level: int, *more: str) -> list[str]:
    source = [
        "run",
        str(scene / "images"),
        "--truth",
        str(scene / "truth"),
        "--output",
        str(scene / "results"),
    ]
    return [*source, "--model", "threshold", "--set", f"segmentor.levels=[{level}]", *more]


def test_a_better_model_is_tried_and_promoted(scene: Path) -> None:
    run(scene, WORSE)
    before = contents(scene)
    result = run(scene, GOOD, candidate=True)
    assert (result.exit_code, result.segmented, result.metrics["mean_iou"]) == (0, IMAGES, 1.0)
    assert result.compared.metrics["mean_iou"].new == 1.0
    assert contents(scene) == before
    assert (level_of(scene), level_of(scene, "results/candidate")) == ({WORSE}, {GOOD})
    assert verify(str(scene / "results")).ok and verify(str(scene / "results/candidate")).ok
    first = json.loads(before["run.json"])["run_id"]

    assert batchseg.promote(str(scene / "results")).promoted
    assert level_of(scene) == {GOOD}
    assert not (scene / "results" / "candidate").exists()
    runs = {path.stem for path in (scene / "results" / "runs").iterdir()}
    assert runs == {first, result.run_id}
    assert verify(str(scene / "results")).ok
    again = run(scene, GOOD)
    assert (again.segmented, again.scored, again.done_before) == (0, 0, IMAGES)


def test_a_candidate_whose_gates_fail_is_never_promoted_and_the_good_masks_stay(scene: Path) -> None:
    run(scene, GOOD)
    before = contents(scene)
    result = batchseg_command(*words(scene, WORSE, "--recompute", "--candidate", "--min", "mean_iou=0.9"))
    assert result.exit_code == 4
    assert "mean_iou is 0." in result.stderr and "its minimum is 0.9" in result.stderr
    assert "which was not touched" in result.output and "--drop` removes it" in result.output
    refused = batchseg_command("promote", str(scene / "results"))
    assert refused.exit_code == 1
    assert "cannot be promoted: its gates failed; mean_iou is" in refused.stderr
    assert contents(scene) == before
    shown = batchseg_command("verify", str(scene / "results"))
    assert shown.exit_code == 0
    assert "candidate" in shown.output and "cannot be promoted: its gates failed" in shown.output
    dropped = batchseg_command("promote", str(scene / "results"), "--drop")
    assert (dropped.exit_code, "was removed from" in dropped.output) == (0, True)
    assert contents(scene) == before
    assert not (scene / "results" / "candidate").exists()


def test_a_candidate_with_other_names_says_how_it_can_be_compared(scene: Path) -> None:
    run(scene, GOOD)
    names = {"classes": [{"name": "night"}, {"name": "day"}]}
    (scene / "labels.yaml").write_text(json.dumps(names))
    labels = {"labels": str(scene / "labels.yaml")}
    refused = run(scene, WORSE, candidate=True, **labels)
    assert refused.exit_code == 4
    (sentence,) = refused.gates
    assert "the classes differ" in sentence and "first run the model of the good results" in sentence
    renamed = run(scene, GOOD, **labels)
    assert (renamed.segmented, renamed.scored) == (0, 0)
    again = run(scene, WORSE, candidate=True, **labels)
    assert (again.exit_code, again.segmented, again.gates) == (0, 0, [])


def test_other_gates_judge_the_same_candidate_anew_without_computing_it(scene: Path) -> None:
    run(scene, GOOD)
    assert run(scene, WORSE, candidate=True, gates={"minimum": {"mean_iou": 0.99}}).exit_code == 4
    accepted = run(scene, WORSE, candidate=True)
    assert (accepted.exit_code, accepted.segmented, accepted.done_before) == (0, 0, IMAGES)
    shown = batchseg_command("promote", str(scene / "results"))
    assert (shown.exit_code, "took the place of the results" in shown.output) == (0, True)
    assert level_of(scene) == {WORSE}


def test_what_is_known_to_be_broken_does_not_fail_a_candidate(scene: Path) -> None:
    (scene / "images" / "torn.png").write_bytes(b"no image")
    assert run(scene, WORSE).exit_code == 3
    assert run(scene, GOOD, candidate=True).exit_code == 3  # nobody has said anything yet
    batchseg.acknowledge(str(scene / "results"), status="unreadable")
    for segmented in (0, IMAGES):  # the candidate that lies there, and one from the beginning
        result = run(scene, GOOD, candidate=True)
        assert (result.exit_code, result.segmented, result.failed, result.acknowledged) == (
            0,
            segmented,
            0,
            1,
        )
        assert verify(str(scene / "results/candidate")).ok
        if not segmented:
            batchseg.drop_candidate(str(scene / "results"))
    batchseg.promote(str(scene / "results"))
    assert verify(str(scene / "results")).ok
    again = run(scene, GOOD)
    assert (again.exit_code, again.computed, again.acknowledged) == (0, 0, 1)

    (scene / "images" / "torn.png").write_bytes(b"another file, no image either")
    changed = run(scene, WORSE, candidate=True)
    assert (changed.segmented, changed.failed, changed.acknowledged) == (IMAGES, 1, 0)


def test_ordinary_runs_leave_a_candidate_alone(scene: Path) -> None:
    run(scene, GOOD)
    run(scene, WORSE, candidate=True)
    tried = {path: path.read_bytes() for path in (scene / "results/candidate").rglob("*") if path.is_file()}
    draw(scene, 7)
    assert run(scene, GOOD).segmented == 1
    assert {path: path.read_bytes() for path in tried} == tried
    with pytest.raises(OutputError, match="1 images that have masks are not in the candidate"):
        batchseg.promote(str(scene / "results"))
    assert run(scene, WORSE, candidate=True).segmented == 1
    assert batchseg.promote(str(scene / "results")).promoted
    assert level_of(scene) == {WORSE}


def test_results_within_the_source_are_passed_over(scene: Path) -> None:
    source = {"path": str(scene), "exclude": ["truth/*"]}
    batchseg.run(batchseg.load_config(overrides=settings(scene, GOOD, source=source)))
    tried = settings(scene, WORSE, source=source, candidate=True)
    assert batchseg.run(batchseg.load_config(overrides=tried)).listed == IMAGES
    again = batchseg.run(batchseg.load_config(overrides=settings(scene, GOOD, source=source)))
    assert (again.listed, again.segmented) == (IMAGES, 0)


def test_a_part_of_the_images_is_no_candidate(scene: Path) -> None:
    run(scene, GOOD)
    part = {"path": str(scene / "images"), "truth": str(scene / "truth"), "include": ["0.png"]}
    result = run(scene, WORSE, candidate=True, source=part)
    assert result.exit_code == 4
    assert result.gates == [
        f"{IMAGES - 1} images that have masks are not in the candidate; run it over all images, or with "
        "--prune where the source no longer lists them"
    ]
    assert run(scene, WORSE, candidate=True).exit_code == 0


def test_an_interrupted_candidate_is_resumed_and_not_promoted_before(
    scene: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(scene, GOOD)
    run(scene, WORSE, candidate=True)  # whose verdict must not speak for what comes
    before = contents(scene)
    real = Held.commit

    def commit(self: Held, part: str, rows: Any) -> None:
        real(self, part, rows)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(Held, "commit", commit)
        run(scene, 200, candidate=True, recompute=True)
    assert contents(scene) == before
    with pytest.raises(OutputError, match="its last run was interrupted"):
        batchseg.promote(str(scene / "results"))
    assert run(scene, 200, candidate=True).exit_code == 0
    assert contents(scene) == before
    assert verify(str(scene / "results" / "candidate")).ok


def test_another_candidate_needs_recompute(scene: Path) -> None:
    run(scene, GOOD)
    run(scene, WORSE, candidate=True)
    with pytest.raises(OutputError, match="holds the candidate of another model; --recompute replaces it"):
        run(scene, 200, candidate=True)
    draw(scene, 8)
    (scene / "images" / "0.png").unlink()  # rows that no source lists any more do not stand in the way
    result = run(scene, 200, candidate=True, recompute=True)
    assert (result.segmented, result.listed) == (IMAGES, IMAGES)


def test_where_there_is_nothing_to_try(scene: Path) -> None:
    with pytest.raises(OutputError, match="holds no results that a candidate could be held against"):
        run(scene, GOOD, candidate=True)
    config = batchseg.load_config(overrides=settings(scene, GOOD, candidate=True))
    with pytest.raises(OutputError, match="holds no results that a candidate could be held against"):
        batchseg.dry_run(config)
    with pytest.raises(BatchsegError):  # a run that does nothing leaves no results, but a folder
        run(scene, GOOD, source={"path": str(scene / "images"), "include": ["*.tif"]})
    with pytest.raises(OutputError, match="holds no results that a candidate could be held against"):
        run(scene, GOOD, candidate=True)
    run(scene, GOOD)
    with pytest.raises(OutputError, match="holds the masks of this model already"):
        run(scene, GOOD, candidate=True)
    assert not (scene / "results" / "candidate").exists()
    with pytest.raises(OutputError, match="has no candidate"):
        batchseg.promote(str(scene / "results"))
    with pytest.raises(OutputError, match="holds no results of batchseg"):
        batchseg.promote(str(scene / "images"))


def test_a_preview_counts_what_the_candidate_needs(scene: Path) -> None:
    run(scene, GOOD)
    config = batchseg.load_config(overrides=settings(scene, WORSE, candidate=True))
    assert batchseg.dry_run(config)["images"]["to_segment"] == IMAGES
    batchseg.run(config)
    assert batchseg.dry_run(config)["images"]["to_segment"] == 0


def test_a_folder_of_that_name_which_is_somebody_elses(scene: Path) -> None:
    run(scene, GOOD)
    mine = scene / "results" / "candidate" / "notes.txt"
    mine.parent.mkdir()
    mine.write_text("mine")
    with pytest.raises(OutputError, match=r"is no candidate of batchseg \(it holds notes.txt\)"):
        run(scene, WORSE, candidate=True)
    with pytest.raises(OutputError, match="has no candidate"):
        batchseg.drop_candidate(str(scene / "results"))
    assert mine.read_text() == "mine"


def test_overlays_go_along(scene: Path) -> None:
    overlays = {"path": str(scene / "results"), "overlays": True}
    run(scene, GOOD, output=overlays)
    run(scene, WORSE, output=overlays, candidate=True)
    tried = (scene / "results" / "candidate" / "overlays" / "1.jpg").read_bytes()
    batchseg.promote(str(scene / "results"))
    assert (scene / "results" / "overlays" / "1.jpg").read_bytes() == tried


def test_as_json(scene: Path) -> None:
    run(scene, GOOD)
    result = batchseg_command(*words(scene, WORSE, "--candidate", "--json"))
    facts = json.loads(result.stdout)["candidate"]
    assert facts["good"] == str(scene / "results")
    assert facts["compared"]["metrics"]["mean_iou"]["old"] == 1.0
    size = sum(path.stat().st_size for path in (scene / "results/candidate").rglob("*") if path.is_file())
    assert 0 < facts["size_bytes"] < size  # without the record that says so
    done = json.loads(batchseg_command("promote", str(scene / "results"), "--json").stdout)
    assert (done["promoted"], done["model"]) == (True, "threshold")
