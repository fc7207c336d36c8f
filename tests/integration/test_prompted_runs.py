"""Whole runs of a model that is told in words what to segment."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import yaml
from numpy.typing import NDArray
from PIL import Image

import batchseg
from batchseg.errors import BatchsegError
from tests.command_line import command
from tests.segmentors.prompted.tiny_prompted import build_prompted
from tests.segmentors.tiny_checkpoints import build

pytestmark = [
    pytest.mark.usefixtures("in_process"),
    pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning"),
]

CLASSES = ("background", "road", "red car")
SIZES = {"a.png": (70, 45), "sub/b.png": (64, 64), "c.png": (31, 90)}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_prompted("clipseg", tmp_path_factory.mktemp("clipseg"))


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three images of odd sizes with truths."""
    folder, rng = tmp_path_factory.mktemp("source"), np.random.default_rng(3)
    for name, (height, width) in SIZES.items():
        coarse = Image.fromarray(rng.integers(0, 256, (8, 8, 3), np.uint8))
        truth = Image.fromarray(rng.integers(0, len(CLASSES), (height, width), dtype=np.uint8))
        for kind, picture in (("images", coarse.resize((width, height))), ("truth", truth)):
            (folder / kind / name).parent.mkdir(parents=True, exist_ok=True)
            picture.save(folder / kind / name)
    return folder


def job(source: Path, output: Path, **settings: Any) -> Any:
    given = {"source": str(source / "images"), "output": str(output), **settings}
    return batchseg.load_config(overrides=given)


def run(source: Path, output: Path, **settings: Any) -> batchseg.RunResult:
    return batchseg.run(job(source, output, **settings))


def masks(results: Path) -> dict[str, NDArray[Any]]:
    root = results / "masks"
    return {
        str(path.relative_to(root).with_suffix("")): np.array(Image.open(path))
        for path in sorted(root.rglob("*.*"))
    }


def assert_same(one: Path, other: Path) -> None:
    found, wanted = masks(one), masks(other)
    assert found.keys() == wanted.keys() and len(found) == len(SIZES)
    for name, mask_HW in found.items():
        np.testing.assert_array_equal(mask_HW, wanted[name])


def test_classes_on_the_command_line(source: Path, model: Path, tmp_path: Path) -> None:
    """The masks are those of the library call, and every table is as it is."""
    words = ("--model", model, "--classes", ", ".join(CLASSES), "--precision", "fp32")
    results = tmp_path / "results"
    done = command("run", source / "images", *words, "--truth", source / "truth", "--output", results)
    assert done.exit_code == 0, done.output
    prepare, loaded = batchseg.load_segmentor({"model": str(model), "classes": CLASSES, "precision": "fp32"})
    for name, mask_HW in masks(results).items():
        image = np.array(Image.open(source / "images" / f"{name}.png"))
        (wanted,) = loaded.segment([prepare(image)])
        np.testing.assert_array_equal(mask_HW, wanted.labels_HW)
    rows = pq.read_table(results / "images").to_pylist()
    assert all(row["status"] == "ok" and 0 <= row["contested_fraction"] <= 1 for row in rows)
    assert all(row["presence"] is None and row["mean_iou"] is not None for row in rows)
    assert pq.read_table(results / "classes.parquet")["class_name"].to_pylist() == [*CLASSES]


def test_a_label_map_with_synonyms_and_templates(source: Path, model: Path, tmp_path: Path) -> None:
    labels = tmp_path / "mine.yaml"
    named = ["background", {"name": "road", "synonyms": ["street"]}, "red car"]
    labels.write_text(yaml.safe_dump({"classes": named}))
    run(source, tmp_path / "one", segmentor=str(model), labels=str(labels))
    labels.write_text(yaml.safe_dump({"classes": named, "prompts": ["a photo of {}", "the {}"]}))
    run(source, tmp_path / "other", segmentor=str(model), labels=str(labels))
    found, other = masks(tmp_path / "one"), masks(tmp_path / "other")
    assert any((found[name] != other[name]).any() for name in found)
    # templates are part of what a mask is computed with
    with pytest.raises(BatchsegError, match="the words of the label map changed"):
        run(source, tmp_path / "one", segmentor=str(model), labels=str(labels))


@pytest.mark.parametrize(("threshold", "differ"), [(0.5, 0.0), (0.45, 0.1)])
def test_probabilities_are_decided_again_alike(
    source: Path, model: Path, tmp_path: Path, threshold: float, differ: float
) -> None:
    """By the thresholds of the run, too, but that classes can be level in 255 levels."""
    settings = {
        "source": str(source / "images"),
        "segmentor": {
            "model": str(model),
            "classes": ["background", "road", "sky"],
            "prompting": {"threshold": threshold},
        },
        "output": {"path": str(tmp_path / "one"), "probabilities": "full"},
    }
    batchseg.run(batchseg.load_config(overrides=settings))
    batchseg.decide(str(tmp_path / "one"), output=str(tmp_path / "again"))
    found, again = masks(tmp_path / "one"), masks(tmp_path / "again")
    for name, mask_HW in found.items():
        assert (mask_HW != again[name]).mean() <= differ
    tables = [pq.read_table(tmp_path / name / "images").sort_by("id") for name in ("one", "again")]
    assert tables[0]["contested_fraction"].to_pylist() == tables[1]["contested_fraction"].to_pylist()


def test_windows_views_and_parts(source: Path, model: Path, tmp_path: Path) -> None:
    """A picture that is cut into parts has the masks and figures of one that is not."""
    big = tmp_path / "big"
    big.mkdir()
    rng = np.random.default_rng(1)
    coarse = Image.fromarray(rng.integers(0, 256, (20, 16, 3), np.uint8))
    coarse.resize((130, 170)).save(big / "big.tif")
    looking = {"segmentor": {"model": str(model), "classes": CLASSES}, "views": {"flip": ["horizontal"]}}
    for name, part in (("whole", 4096), ("parts", 60)):
        settings = {"source": str(big), "output": str(tmp_path / name), **looking}
        batchseg.run(batchseg.load_config(overrides={**settings, "tiling": {"size": 64, "part": part}}))
    whole, parts = (pq.read_table(tmp_path / name / "images").to_pylist()[0] for name in ("whole", "parts"))
    np.testing.assert_array_equal(
        *(np.array(Image.open(tmp_path / name / "masks" / "big.tif")) for name in ("whole", "parts"))
    )
    assert 0 < whole["contested_fraction"] == parts["contested_fraction"] < 1


def test_merged_classes_and_an_ensemble_with_another_model(source: Path, model: Path, tmp_path: Path) -> None:
    closed = build("segformer", tmp_path / "segformer", 3)
    content = json.loads((closed / "config.json").read_text())
    content["id2label"] = {str(index): name for index, name in enumerate(("road", "background", "tree"))}
    (closed / "config.json").write_text(json.dumps(content))
    members = [{"model": str(model), "classes": CLASSES}, str(closed)]
    run(source, tmp_path / "both", segmentor={"members": members})
    assert {*np.unique(np.concatenate([each.ravel() for each in masks(tmp_path / "both").values()]))} <= {
        *range(4)
    }
    merging = {
        "segmentor": {"model": str(model), "classes": CLASSES},
        "merge": {"thing": ["road", "red car"]},
    }
    run(source, tmp_path / "merged", **merging)
    assert max(each.max() for each in masks(tmp_path / "merged").values()) == 1


def test_a_threshold_of_a_member_is_refused(source: Path, model: Path, tmp_path: Path) -> None:
    member = {"model": str(model), "classes": CLASSES, "prompting": {"threshold": 0.3}}
    with pytest.raises(BatchsegError, match="sets a threshold in prompting"):
        job(source, tmp_path, segmentor={"members": [member, str(model)]})


def test_run_and_doctor_warn_of_negations(source: Path, model: Path, tmp_path: Path) -> None:
    words = ("--model", model, "--classes", "background, person without helmet")
    done = command("run", source / "images", *words, "--output", tmp_path / "results")
    assert done.exit_code == 0 and "person without helmet" in done.output
    looked = command("doctor", source / "images", *words)
    assert "fire on the nouns of a negation" in looked.output


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("--classes", "road"), "a class alone would take every pixel"),
        (("--classes", "background, road, road"), "names 'road' twice"),
        (("--classes", "background, " + "word " * 12), "has 50 tokens, and the model reads 40"),
        (
            ("--classes", "a,b", "--set", "segmentor.prompting.thresholds={c: 0.4}"),
            "names 'c', which is none",
        ),
    ],
)
def test_bad_words_are_one_sentence(
    words: tuple[str, ...], sentence: str, source: Path, model: Path, tmp_path: Path
) -> None:
    done = command("run", source / "images", "--model", model, "--output", tmp_path / "out", *words)
    assert done.exit_code in (1, 2) and sentence in done.output and "Traceback" not in done.output
    assert not (tmp_path / "out" / "images").exists()


def test_the_example_runs(source: Path, model: Path, tmp_path: Path) -> None:
    example = Path(__file__).parents[2] / "configs" / "prompted_street.yaml"
    given = (source / "images", "--config", example, "--model", model, "--output", tmp_path / "out")
    done = command("run", *given)
    assert done.exit_code == 0, done.output
    names = pq.read_table(tmp_path / "out" / "classes.parquet")["class_name"].to_pylist()
    assert names == ["background", "road", "car", "person", "tree"]
    assert sorted(path.stem for path in (tmp_path / "out" / "overlays").rglob("*.*")) == ["a", "b", "c"]
