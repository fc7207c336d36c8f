"""From a proposal over its review to masks in other ids: they are those of probabilities summed by numpy."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from command_line import command
from PIL import Image

import batchseg

MINE = {"ignore_index": 77, "classes": ["void digit", "even", {"name": "odd", "colour": "#ff0000"}, "rest"]}
GOES = {"one": "odd", "three": "odd", "five": "odd", "two": "even", "four": "even", "background": "rest"}
IDS = {"even": 1, "odd": 2, "rest": 3}


@pytest.fixture
def relation(sample_data: Path, tmp_path: Path) -> Path:
    """Proposed, and not reviewed."""
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(MINE))
    path = tmp_path / "relation.yaml"
    batchseg.map_labels(sample_data / "model", tmp_path / "mine.yaml", output=path)
    return path


def review(path: Path) -> None:
    content = yaml.safe_load(path.read_text())
    for row in content["classes"]:
        row |= {"target": GOES.get(row["source"]), "reviewed": True}
    path.write_text(yaml.safe_dump(content))


def settings() -> dict[str, object]:
    return {"source": {"limit": 3}, "segmentor": {"device": "cpu", "precision": "fp32", "batch_size": 1}}


@pytest.mark.usefixtures("in_tasks")
def test_a_run_refuses_a_proposal_and_takes_it_once_it_is_reviewed(
    sample_data: Path, tmp_path: Path, relation: Path
) -> None:
    images, model = str(sample_data / "images"), str(sample_data / "model")
    refused = command("run", images, "--model", model, "--output", tmp_path / "out", "--merge", relation)
    assert refused.exit_code == 2
    assert "11 of its 11 rows are not reviewed, 'background', 'zero', 'one' and 8 more" in refused.stderr
    assert len(refused.stderr.strip().splitlines()) == 1

    review(relation)
    job = {"model": model, "settings": settings() | {"merge": str(relation)}}
    done = batchseg.run(images, output=str(tmp_path / "out"), **job)
    assert done.record["model"]["classes"] == ["void digit", "even", "odd", "rest"]
    preparer, segmentor = batchseg.load_segmentor({"model": model, "precision": "fp32"})
    own = ["background", "zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]
    voids = 0
    for mask in sorted((tmp_path / "out" / "masks").rglob("*.png")):
        name = mask.relative_to(tmp_path / "out" / "masks").with_suffix("")
        (image,) = (sample_data / "images").glob(f"{name}.*")
        picture_HWC = np.array(Image.open(image).convert("RGB"))
        (scores,) = segmentor.segmentor.scores([preparer(picture_HWC)])
        logits_CHW = scores.maps.float().numpy().astype(np.float64)
        p_CHW = np.exp(logits_CHW - logits_CHW.max(0))
        p_CHW /= p_CHW.sum(0)
        sums_CHW = np.full((5, *p_CHW.shape[1:]), np.finfo(np.float32).tiny)
        for at, each in enumerate(own):  # digits that go to none are a class of their own: void
            sums_CHW[IDS.get(GOES.get(each, ""), 4)] += p_CHW[at]
        logs = torch.from_numpy(np.log(sums_CHW))[None].float()
        size = np.array(Image.open(mask)).shape
        wanted_HW = torch.nn.functional.interpolate(logs, size, mode="bilinear")[0].argmax(0).numpy()
        wanted_HW = np.where(wanted_HW == 4, 77, wanted_HW)
        found_HW = np.array(Image.open(mask))
        assert {*np.unique(found_HW)} <= {1, 2, 3, 77}
        assert np.mean(found_HW != wanted_HW) < 1e-4  # ties
        voids += int((found_HW == 77).sum())
    assert voids > 0
    again = batchseg.run(images, output=str(tmp_path / "out"), **job)
    assert again.segmented == 0


@pytest.mark.usefixtures("in_tasks")
def test_probabilities_that_were_kept_are_decided_by_a_relation_as_the_model_would(
    sample_data: Path, tmp_path: Path, relation: Path
) -> None:
    review(relation)
    images, model = str(sample_data / "images"), str(sample_data / "model")
    kept = settings() | {"output": {"probabilities": "full"}, "objects": {"classes": ["one"]}}
    batchseg.run(images, model=model, output=str(tmp_path / "kept"), settings=kept)
    found = command(
        "decide", tmp_path / "kept", "--output", tmp_path / "again", "--merge", relation, "--quiet"
    )
    assert found.exit_code == 0, found.stderr
    batchseg.run(
        images, model=model, output=str(tmp_path / "run"), settings=settings() | {"merge": str(relation)}
    )
    masks = sorted((tmp_path / "run" / "masks").rglob("*.png"))
    assert len(masks) == 3
    for mask in masks:
        one_HW = np.array(Image.open(mask))
        other_HW = np.array(
            Image.open(tmp_path / "again" / "masks" / mask.relative_to(tmp_path / "run" / "masks"))
        )
        assert np.mean(one_HW != other_HW) < 0.005  # probabilities are kept in 1/255


@pytest.mark.usefixtures("in_tasks")
@pytest.mark.parametrize("more", [{"tiling": {"size": 96}}, {"views": {"flip": ["vertical"]}}])
def test_windows_and_views_leave_none_of_the_classes_void_as_well(
    sample_data: Path, tmp_path: Path, relation: Path, more: dict[str, object]
) -> None:
    review(relation)
    done = batchseg.run(
        str(sample_data / "images"),
        model=str(sample_data / "model"),
        output=str(tmp_path / "out"),
        settings=settings() | {"merge": str(relation)} | more,
    )
    assert done.failed == 0
    masks = [np.array(Image.open(mask)) for mask in (tmp_path / "out" / "masks").rglob("*.png")]
    values = np.unique(np.concatenate([mask.ravel() for mask in masks]))
    assert {*values} <= {1, 2, 3, 77}
    assert 77 in values


@pytest.mark.usefixtures("in_tasks")
def test_a_model_of_label_maps_takes_a_relation_and_truth_is_read_in_the_targets_ids(tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    (tmp_path / "truth").mkdir()
    grey = np.zeros((4, 6), np.uint8)
    grey[:, 2:4], grey[:, 4:] = 120, 240
    Image.fromarray(grey).save(tmp_path / "photos" / "a.png")
    Image.fromarray(np.repeat([[40, 40, 50, 50, 50, 50]], 4, 0).astype(np.uint8)).save(
        tmp_path / "truth" / "a.png"
    )
    mine = {"classes": [{"name": "bright", "truth_ids": [50]}, {"name": "dark", "truth_ids": [40]}]}
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(mine))
    (tmp_path / "levels.yaml").write_text(yaml.safe_dump({"classes": ["night", "dusk", "day"]}))
    rows = [("night", "dark"), ("dusk", None), ("day", "bright")]
    content = {
        "from": "levels.yaml",
        "to": "mine.yaml",
        "classes": [{"source": one, "target": other, "reviewed": True} for one, other in rows],
    }
    (tmp_path / "relation.yaml").write_text(yaml.safe_dump(content))
    given = ("run", tmp_path / "photos", "--model", "threshold", "--set", "segmentor.levels=[100, 200]")
    given = (*given, "--merge", tmp_path / "relation.yaml", "--truth", tmp_path / "truth", "--quiet")
    strange = command(*given, "--output", tmp_path / "out")
    assert "was made for the classes of levels.yaml, and the model has others" in strange.stderr
    swapped = command(*given, "--output", tmp_path / "out", "--labels", tmp_path / "mine.yaml")
    assert "is where the relation" in swapped.stderr
    done = command(*given, "--output", tmp_path / "out", "--labels", tmp_path / "levels.yaml")
    assert done.exit_code == 0, done.stderr
    mask_HW = np.array(Image.open(tmp_path / "out" / "masks" / "a.png"))
    assert mask_HW[0].tolist() == [1, 1, 255, 255, 0, 0]
    images = batchseg.open_results(str(tmp_path / "out")).images
    assert images["accuracy"].to_pylist() == pytest.approx([2 / 3])  # void is wrong where there is truth
