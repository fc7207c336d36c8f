"""What labelling tools export, as the truths of runs: the same figures as from label files."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import annotation_files as files
import duckdb
import numpy as np
import pytest
import raster_scenes
import rasterio
import yaml
from click.testing import CliRunner
from image_files import save
from numpy.typing import NDArray
from PIL import Image

import batchseg
from batchseg.cli.group import cli
from batchseg.errors import LabelMapError, SourceError

pytestmark = [pytest.mark.usefixtures("in_process")]

NAMES = ("background", "car", "road sign", "tree")
SIZE = (24, 36)
Ids = NDArray[np.uint8]


def map_of(seed: int) -> Ids:
    random = np.random.default_rng(seed)
    ids = np.zeros(SIZE, np.uint8)
    for class_id in random.integers(0, 4, 12):
        top, left = (random.integers(0, side) for side in SIZE)
        ids[top : top + 9, left : left + 9] = class_id
    ids[0, :3] = 1, 2, 3
    return ids


MAPS = {f"day/{index}.png": map_of(index) for index in range(5)}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Images that the threshold model takes for their truth, but for a tenth of the pixels."""
    for index, (name, ids) in enumerate(MAPS.items()):
        random = np.random.default_rng(50 + index)
        noise = np.where(random.random(SIZE) < 0.1, random.integers(0, 4, SIZE), ids).astype(np.uint8)
        for kind, data in (("images", save(noise * np.uint8(80), "PNG")), ("masks", save(ids, "PNG"))):
            (tmp_path / kind / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / kind / name).write_bytes(data)
    (tmp_path / "labels.yaml").write_text(yaml.safe_dump({"classes": [*NAMES]}))
    return tmp_path


def run(
    folder: Path, truth: Path, output: str = "out", more: dict[str, Any] | None = None, **settings: Any
) -> batchseg.RunResult:
    given = {"segmentor": {"kind": "threshold", "levels": [40, 120, 200]}, **settings, **(more or {})}
    return batchseg.run(
        folder / "images",
        truth=truth,
        output=folder / output,
        labels=given.pop("labels", folder / "labels.yaml"),
        settings=given,
    )


def table(out: Path, sql: str) -> list[tuple[Any, ...]]:
    return duckdb.sql(sql.replace("IMAGES", f"'{out}/images/*.parquet'")).fetchall()


def counts(out: Path) -> list[tuple[Any, ...]]:
    return duckdb.sql(
        f"select id, truth, predicted, pixels from '{out}/pixels/*.parquet' order by all"
    ).fetchall()


def record(out: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((out / "run.json").read_text())
    return found


def write(path: Path, content: Any) -> Path:
    path.write_bytes(content if isinstance(content, bytes) else json.dumps(content).encode())
    return path


def test_figures_are_those_of_label_files(folder: Path) -> None:
    expected = run(folder, folder / "masks", "expected")
    for kind, path in files.write_all(folder / "truth", MAPS, NAMES).items():
        result = run(folder, path, kind)
        assert counts(folder / kind) == counts(folder / "expected"), kind
        assert result.metrics == expected.metrics
        assert record(folder / kind)["truth_read"] == (
            "by the names of classes; pixels that nobody annotated are 'background'; later "
            "annotations lie on top"
        )
        assert {row[0] for row in table(folder / kind, "select truth_status from IMAGES")} == {"ok"}


def test_the_next_night_scores_what_was_corrected(folder: Path) -> None:
    truth = write(folder / "truth.json", files.coco(MAPS, NAMES))
    first = run(folder, truth)
    assert (first.segmented, first.scored) == (5, 0)
    assert (run(folder, truth).scored, run(folder, truth).done_before) == (0, 5)
    corrected = {"day/new.png": map_of(9), **MAPS, "day/3.png": map_of(8)}
    result = run(folder, write(truth, files.coco(corrected, NAMES)))
    assert (result.segmented, result.scored, result.done_before) == (0, 1, 4)
    Image.fromarray(corrected["day/3.png"]).save(folder / "masks/day/3.png")
    run(folder, folder / "masks", "expected")
    assert counts(folder / "out") == counts(folder / "expected")
    assert record(folder / "out")["notes"] == [
        f"{truth}: 1 annotated image is not among those of the source, such as day/new.png"
    ]


def test_from_label_files_to_annotations_all_is_scored_anew(folder: Path) -> None:
    run(folder, folder / "masks")
    result = run(folder, write(folder / "truth.zip", files.cvat_masks(MAPS, NAMES)))
    assert (result.segmented, result.scored, result.done_before) == (0, 5, 0)


def test_without_a_background_pixels_of_nobody_count_nowhere(folder: Path) -> None:
    (folder / "labels.yaml").write_text(yaml.safe_dump({"classes": ["road", *NAMES[1:]]}))
    run(folder, write(folder / "truth.json", files.coco(MAPS, NAMES)))
    support = duckdb.sql(f"select class_name, support from '{folder}/out/classes.parquet'").fetchall()
    whole = np.stack([*MAPS.values()])
    assert dict(support) == {
        "road": 0,
        **{name: np.count_nonzero(whole == at) for at, name in enumerate(NAMES) if at},
    }
    assert "nobody annotated count nowhere" in record(folder / "out")["truth_read"]


UNKNOWN = ("background", "car", "lorry", "tree")


def test_an_unknown_class_is_refused_before_anything_is_computed(folder: Path) -> None:
    for kind, path in files.write_all(folder / "truth", MAPS, UNKNOWN).items():
        with pytest.raises(LabelMapError) as caught:
            run(folder, path)
        assert str(caught.value) == (
            f"{path}: 'lorry' is annotated, and is no class of the label map (background, car, road "
            "sign, tree); rename it in the labelling tool, or give a label map (--labels FILE) that "
            "has it among the synonyms of a class, or in ignored_names (--accept failing_truth "
            "goes on all the same)"
        ), kind
        assert not (folder / "out" / "run.json").exists()


def test_a_label_map_says_what_further_names_mean(folder: Path) -> None:
    truth = write(folder / "truth.json", files.coco(MAPS, UNKNOWN))
    classes = [*NAMES[:2], {"name": NAMES[2], "synonyms": ["Lorry"]}, NAMES[3]]
    (folder / "labels.yaml").write_text(yaml.safe_dump({"classes": classes}))
    run(folder, folder / "masks", "expected")
    run(folder, truth)
    assert counts(folder / "out") == counts(folder / "expected")
    (folder / "labels.yaml").write_text(yaml.safe_dump({"classes": [*NAMES], "ignored_names": ["LORRY"]}))
    assert run(folder, truth).scored == 5
    for name, ids in MAPS.items():
        Image.fromarray(np.where(ids == 2, 255, ids).astype(np.uint8)).save(folder / "masks" / name)
    run(folder, folder / "masks", "ignored")
    assert counts(folder / "out") == counts(folder / "ignored")


def test_names_of_merged_classes_mean_what_they_are_merged_into(folder: Path) -> None:
    merge = {"thing": ["car", "road sign"]}
    run(folder, folder / "masks", "expected", merge=merge)
    run(folder, write(folder / "truth.json", files.coco(MAPS, NAMES)), merge=merge)
    assert counts(folder / "out") == counts(folder / "expected")


def test_accepted_unknown_classes_cost_their_images(folder: Path) -> None:
    maps = {name: np.where(ids == 2, 0, ids).astype(np.uint8) for name, ids in MAPS.items()}
    maps["day/0.png"] = MAPS["day/0.png"]
    run(folder, write(folder / "truth.json", files.coco(maps, UNKNOWN)), accept=["failing_truth"])
    found = dict(table(folder / "out", "select id, truth_status from IMAGES"))
    assert found.pop("day/0.png") == "out_of_range"
    assert {*found.values()} == {"ok"}


def test_another_size_is_a_mismatch(folder: Path) -> None:
    maps: Mapping[str, Ids] = {**MAPS, "day/1.png": MAPS["day/1.png"][:, :-1]}
    run(folder, write(folder / "truth.json", files.coco(maps, NAMES)))
    found = table(folder / "out", "select id, truth_status, error from IMAGES where truth_status <> 'ok'")
    assert [row[:2] for row in found] == [("day/1.png", "mismatch")]


@pytest.mark.parametrize("setting", [{"values": "ids"}, {"threshold": 128}])
def test_what_pixel_values_mean_is_no_question(folder: Path, setting: dict[str, Any]) -> None:
    truth = write(folder / "truth.json", files.coco(MAPS, NAMES))
    with pytest.raises(
        LabelMapError, match=f"truth.{next(iter(setting))}: says what pixels of label files mean"
    ):
        run(folder, truth, more={"truth": setting})


def test_damaged_files_change_nothing(folder: Path) -> None:
    truth = write(folder / "truth.json", files.coco(MAPS, NAMES))
    run(folder, truth)
    before = counts(folder / "out")
    truth.write_bytes(truth.read_bytes()[:-40])
    with pytest.raises(SourceError, match="is no file of annotations that is read"):
        run(folder, truth)
    assert counts(folder / "out") == before


def test_masks_are_evaluated_against_annotations(folder: Path) -> None:
    expected = batchseg.evaluate(
        folder / "masks", truth=folder / "masks", output=folder / "expected", labels=folder / "labels.yaml"
    )
    for name in MAPS:
        path = folder / "masks" / name
        path.rename(path.with_name(f"{path.stem}_pred.png"))
    truth = write(folder / "truth.json", files.label_studio({n[4:]: i for n, i in MAPS.items()}, NAMES))
    result = batchseg.evaluate(
        folder / "masks",
        truth=truth,
        output=folder / "out",
        labels=folder / "labels.yaml",
        settings={"mask_suffix": "_pred="},
    )
    assert result.metrics == expected.metrics
    assert result.metrics["accuracy"] == 1
    with pytest.raises(SourceError, match="leave truth_suffix"):
        batchseg.evaluate(
            folder / "masks",
            truth=truth,
            output=folder / "out",
            labels=folder / "labels.yaml",
            settings={"truth_suffix": "_pred="},
        )


def test_doctor_tells_what_is_annotated(folder: Path) -> None:
    truth = write(folder / "truth.json", files.coco({**MAPS, "x.png": map_of(7)}, UNKNOWN))
    report = batchseg.doctor(folder / "images", truth=truth)
    assert report.sample is not None and report.unmatched is not None
    whole = np.stack([*MAPS.values()])
    assert report.sample.classes == {
        name or "": np.count_nonzero(whole == at)
        for at, name in enumerate(("(annotated by nobody)", *UNKNOWN[1:]))
    }
    assert (report.unmatched.files, report.unmatched.examples) == (1, ["x.png"])
    report = batchseg.doctor(folder / "images", truth=truth, labels=folder / "labels.yaml")
    assert report.sample is not None
    assert "failing_truth" in report.counts
    assert report.sample.outside == {"'lorry'": np.count_nonzero(whole == 2)}
    done = CliRunner().invoke(cli, ["doctor", str(folder / "images"), "--truth", str(truth)])
    assert "1 truth files have no image, such as x.png" in done.stdout
    missing = batchseg.doctor(folder / "images", truth=write(truth, files.coco({"x.png": map_of(7)}, NAMES)))
    assert [each.kind for each in missing.problems] == ["source"]


def test_a_relative_path_in_a_file_and_a_triptych(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(folder / "truth.xml", files.cvat_xml(MAPS, NAMES))
    job = {
        "source": {"path": "images", "truth": "truth.xml"},
        "segmentor": {"kind": "threshold", "levels": [40, 120, 200]},
        "labels": "labels.yaml",
        "output": {"path": "out"},
    }
    (folder / "job.yaml").write_text(yaml.safe_dump(job))
    monkeypatch.chdir(folder)
    done = CliRunner().invoke(cli, ["run", "--config", "job.yaml"])
    assert done.exit_code == 0, done.output
    assert record(folder / "out")["images"]["without_truth"] == 0
    assert (
        "by the names of classes"
        in CliRunner().invoke(cli, ["run", "--config", "job.yaml", "--dry-run"]).stdout
    )


def test_a_sample_has_its_truths(folder: Path) -> None:
    truth = write(folder / "truth.json", files.coco(MAPS, NAMES))
    result = run(folder, truth, source={"sample": 2})
    assert (result.segmented, result.without_truth) == (2, 0)
    assert record(folder / "out")["notes"] == []


@pytest.mark.slow
@pytest.mark.usefixtures("ray_session")
def test_a_triptych_shows_what_was_annotated(folder: Path) -> None:
    run(folder, folder / "masks", "expected")
    run(folder, write(folder / "truth.json", files.coco(MAPS, NAMES)))
    for out in ("expected", "out"):
        done = CliRunner().invoke(
            cli, ["overlay", str(folder / out), "--kind", "triptych", "--format", "png"]
        )
        assert done.exit_code == 0, done.output
    drawn = sorted((folder / "out" / "overlays").rglob("*.png"))
    assert len(drawn) == 5
    for path in drawn:
        other = folder / "expected" / path.relative_to(folder / "out")
        assert path.read_bytes() == other.read_bytes()


@pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
def test_large_rasters_are_scored_part_by_part(tmp_path: Path) -> None:
    scene = raster_scenes.make_scene(tmp_path)
    with rasterio.open(scene / "truth/a.tif") as file:
        ids = file.read(1)
    names = [f"class_{index}" for index in range(raster_scenes.CLASSES)]
    (tmp_path / "labels.yaml").write_text(yaml.safe_dump({"classes": names}))
    (scene / "truth/a.tif").unlink()
    annotated = {"a.tif": np.where(ids == 255, 0, ids + 1).astype(np.uint8)}
    truth = write(tmp_path / "truth.json", files.coco(annotated, ["nobody", *names]))
    Image.fromarray(ids).save(scene / "truth/a.png")
    labels = {"labels": str(tmp_path / "labels.yaml")}
    for out, path in (("expected", scene / "truth"), ("out", truth)):
        raster_scenes.run(scene, out, {"part": 100}, source={"truth": str(path)}, **labels)
    assert raster_scenes.parts_told(scene, "out")["computed"] > 1
    assert raster_scenes.results_of(scene, "out")[2] == raster_scenes.results_of(scene, "expected")[2]
