"""A prompt a row with small checkpoints of transformers, held against one forward a row of the library."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

import batchseg
from batchseg.errors import BatchsegError
from batchseg.segmentors.prompted.clipseg import ClipSeg
from tests.colour_finder import there, write_scenes
from tests.command_line import command
from tests.segmentors.prompted.test_prompted_maps import naive
from tests.segmentors.prompted.tiny_prompted import build_prompted

ROWS = [
    *(("a.png", "The red box"), ("a.png", "a green box"), ("b.png", "green"), ("b.png", "the red box")),
    *(("c.png", "blue box"), ("c.png", "a person"), ("a.png", "something blue")),
]


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    for family in ("clipseg", "sam3"):
        build_prompted(family, folder / family)
    return folder


def run(manifest: Path, model: Path, **settings: Any) -> batchseg.RunResult:
    segmentor = {"model": str(model), "precision": "fp32", **settings.pop("segmentor", {})}
    given = {"source": str(manifest), "segmentor": segmentor, "output": str(manifest.parent / "out")}
    return batchseg.run(batchseg.load_config(overrides={**given, **settings}))


def images(folder: Path) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = batchseg.open_results(str(folder)).images.to_pylist()
    return rows


def wanted(folder: Path, family: str, model: Path) -> list[tuple[NDArray[np.bool_], float | None]]:
    """Mask and presence of each row, by the library alone."""
    found = []
    for name, prompt in ROWS:
        image_HWC = np.array(Image.open(folder / name))
        with torch.inference_mode():
            said = naive(family, model, image_HWC, [prompt])
            maps = said["maps"][None].float()
            sigmoid_HW = torch.nn.functional.interpolate(
                maps, image_HWC.shape[:2], mode="bilinear", align_corners=False
            )[0, 0]
        presence = float(said["presence"][0]) if "presence" in said else None
        mask_HW = (sigmoid_HW > 0.5).numpy()
        found.append((mask_HW if presence is None or presence >= 0.5 else np.zeros_like(mask_HW), presence))
    return found


@pytest.mark.usefixtures("in_process")
@pytest.mark.parametrize("family", ["clipseg", "sam3"])
def test_masks_presence_and_figures(tmp_path: Path, models: Path, family: str) -> None:
    result = run(write_scenes(tmp_path, ROWS), models / family)
    rows = images(tmp_path / "out")
    assert [row["prompt"] for row in rows] == [prompt for _, prompt in ROWS]
    ious, both, either, left_empty = [], 0, 0, []
    for (name, prompt), row, (mask_HW, presence) in zip(
        ROWS, rows, wanted(tmp_path, family, models / family), strict=True
    ):
        mine_HW = np.asarray(Image.open(tmp_path / "out" / row["mask"])) == 1
        assert (mine_HW != mask_HW).mean() <= 0.01  # ties
        assert row["presence"] == (None if presence is None else pytest.approx(presence, abs=1e-5))
        truth_HW = there(np.asarray(Image.open(tmp_path / name)), prompt)
        union = int((mine_HW | truth_HW).sum())
        ious.append((mine_HW & truth_HW).sum() / union if union else 1.0)
        both, either = both + int((mine_HW & truth_HW).sum()), either + union
        if not truth_HW.any():
            left_empty.append(not mine_HW.any())
    expected = {"giou": np.mean(ious), "ciou": both / either, "no_target_accuracy": np.mean(left_empty)}
    assert {name: result.metrics[name] for name in expected} == pytest.approx(expected, abs=1e-12)
    if family == "sam3":  # a prompt for what is not there, where the model says so
        empty = [row for row in rows if row["presence"] < 0.5]
        assert empty and all(
            np.asarray(Image.open(tmp_path / "out" / row["mask"])).max() == 0 for row in empty
        )


@pytest.mark.usefixtures("in_process")
def test_an_image_is_seen_once_and_one_prompt_computed_alone(
    tmp_path: Path, models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen, real = [], ClipSeg.see

    def see(self: ClipSeg, pixels: torch.Tensor) -> Any:
        seen.append(len(pixels))
        return real(self, pixels)

    monkeypatch.setattr(ClipSeg, "see", see)
    ids = [*map(str, range(len(ROWS)))]
    run(write_scenes(tmp_path, ROWS, id=ids), models / "clipseg")
    assert sum(seen) == 3
    before = {row["id"]: row for row in images(tmp_path / "out")}
    changed = [*ROWS[:2], ("b.png", "grass"), *ROWS[3:]]
    result = run(write_scenes(tmp_path, changed, id=ids), models / "clipseg")
    assert (result.segmented, result.scored, result.done_before, sum(seen)) == (1, 0, len(ROWS) - 1, 4)
    after = {row["id"]: row for row in images(tmp_path / "out")}
    assert [name for name in ids if after[name] != before[name]] == ["2"]


@pytest.mark.usefixtures("in_tasks")
def test_on_ray_from_the_command_line(tmp_path: Path, models: Path) -> None:
    rows = [*ROWS, ("b.png", "word " * 12), ("b.png", None)]
    manifest, out = write_scenes(tmp_path, rows), tmp_path / "out"
    words = ("--model", models / "clipseg", "--precision", "fp32", "--max-failed", "2", "--min", "ciou=0.99")
    done = command("run", manifest, *words, "--output", out)
    assert done.exit_code == 4, done.output
    assert "gIoU" in done.output and "cIoU" in done.output and "N-acc" in done.output
    found = {row["prompt"]: row for row in images(out)}
    assert "has 50 tokens, and the model reads 40" in found[("word " * 12).strip()]["error"]
    assert found[None]["status"] == "bad_prompt" and sum(row["status"] == "ok" for row in found.values()) == 7
    for (_, prompt), (mask_HW, _) in zip(ROWS, wanted(tmp_path, "clipseg", models / "clipseg"), strict=True):
        mine_HW = np.asarray(Image.open(out / found[prompt]["mask"])) == 1
        assert (mine_HW != mask_HW).mean() <= 0.01


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("--classes", "background, car"), "is given one list of classes for all"),
        (("--labels", "ade20k"), "is given one list of classes for all"),
        (("--column", "prompt=caption"), "no column `caption`, which source.columns names for prompt"),
        (("--set", "source.kind=folder"), "must be told what to segment; name classes for all images"),
    ],
)
def test_what_does_not_fit_is_one_sentence(
    tmp_path: Path, models: Path, words: tuple[str, ...], sentence: str
) -> None:
    manifest = write_scenes(tmp_path, ROWS)
    source = manifest.parent if "source.kind=folder" in words else manifest
    done = command("run", source, "--model", models / "clipseg", "--output", tmp_path / "out", *words)
    assert done.exit_code in (1, 2) and sentence in done.output and "Traceback" not in done.output
    assert not (tmp_path / "out" / "masks").exists()


@pytest.mark.usefixtures("in_process")
def test_models_that_decide_together(tmp_path: Path, models: Path) -> None:
    """Each is told the prompt; one that knows classes of its own would make the mask mean something else."""
    build_prompted("clipseg", tmp_path / "other", seed=5)
    manifest = write_scenes(tmp_path / "data", ROWS)
    members = [str(models / "clipseg"), str(tmp_path / "other")]
    both = batchseg.run(manifest, model=members, output=tmp_path / "both")
    assert both.statuses == {"ok": 7} and both.metrics["giou"] is not None
    with pytest.raises(BatchsegError, match=r"tell background, foreground, .* apart; leave out those"):
        batchseg.run(manifest, model=[members[0], "threshold"], output=tmp_path / "mixed")
