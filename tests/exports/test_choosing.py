"""Which images are exported, and what is said where something is wrong."""

from __future__ import annotations

import builtins
import json
import shutil
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
from click.testing import CliRunner, Result
from exported import NAMES, blobs, write_masks
from PIL import Image
from written_results import finish, write_part

import batchseg
from batchseg.cli.group import cli
from batchseg.config.export import OF_POLYGONS
from batchseg.config.load import read_config
from batchseg.errors import BatchsegError, ConfigError, OutputError
from batchseg.exports.formats import FORMATS
from batchseg.results.folder import Results

STORE = "s3://data/out?endpoint_override=127.0.0.1:9&scheme=http&region=us-east-1"
MAPS = {f"{name}.png": blobs(seed, (12, 15)) for seed, name in enumerate("abcdef")}


@pytest.fixture
def results(tmp_path: Path) -> Path:
    """The first is the worst: its mean IoU is 0, that of the others 0.1, 0.2 and so on."""
    return write_masks(tmp_path / "results", MAPS, failed=("bad.png",))


def export(results: Path, **settings: Any) -> batchseg.ExportReport:
    out = results.parent / "out.json"
    given = {"overwrite": True, **settings}
    return batchseg.export(str(results), to=given.pop("to", "coco"), output=out, settings=given)


def exported(results: Path, **settings: Any) -> list[str]:
    report = export(results, **settings)
    found = json.loads((results.parent / "out.json").read_text())["images"]
    assert report.written == report.chosen == len(found)
    return [image["file_name"] for image in found]


def command(*words: object) -> Result:
    return CliRunner().invoke(cli, ["export", *map(str, words)], catch_exceptions=False)


def test_every_format_has_a_name() -> None:
    assert set(get_args(batchseg.ExportConfig.model_fields["to"].annotation)) == set(FORMATS)
    assert {name for name, kind in FORMATS.items() if kind.is_placed} == set(OF_POLYGONS)


def test_all_some_and_the_worst(results: Path) -> None:
    assert exported(results) == sorted(MAPS)
    assert exported(results, where="mean_iou >= 0.2 and id <> 'd.png'") == ["c.png", "e.png", "f.png"]
    assert exported(results, images=2) == ["a.png", "b.png"]
    assert exported(results, images=2, where="mean_iou > 0.25") == ["d.png", "e.png"]
    assert exported(results, images=99) == sorted(MAPS)
    assert exported(results, where="id like 'z%'") == []


def test_the_least_certain_are_the_worst_without_truth(tmp_path: Path) -> None:
    columns = {
        name: {"mean_iou": None, "confidence_mean": 0.9 - place / 10} for place, name in enumerate(MAPS)
    }
    results = write_masks(tmp_path / "results", MAPS, columns)
    assert exported(results, images=2) == ["f.png", "e.png"]


def test_only_the_last_row_of_an_image_counts(results: Path) -> None:
    row = {"a.png": {"mask": "masks/0.png", "width": 15, "height": 12, "mean_iou": 0.9, "uri": "/new.jpg"}}
    part = write_part(results, {"a.png": (MAPS["a.png"], None)}, "20270101T000000-aaaaaa", NAMES, row)
    finish(part, "20270101T000000-aaaaaa", 1, NAMES, "interrupted")
    assert sorted(exported(results)) == sorted(MAPS)
    assert exported(results, where="mean_iou < 0.05") == []
    assert exported(results, where="uri = '/new.jpg'") == ["a.png"]


def test_the_worst_of_several_parts(results: Path) -> None:
    """The worst images are in the first part and in the last, and neither alone has them all."""
    again = {"b.png": 0.01, "c.png": 0.9}
    rows = {
        name: {"mask": "masks/0.png", "width": 15, "height": 12, "mean_iou": mean_iou, "uri": "/i.jpg"}
        for name, mean_iou in again.items()
    }
    maps = {name: (MAPS[name], None) for name in again}
    part = write_part(results, maps, "20270101T000000-aaaaaa", NAMES, rows)
    finish(part, "20270101T000000-aaaaaa", 2, NAMES, "interrupted")
    assert exported(results, images=3) == ["a.png", "b.png", "d.png"]
    assert exported(results, images=99)[-1] == "c.png"


@pytest.mark.parametrize(
    ("where", "why"),
    [
        ("mean_iu < 0.5", r"cannot be used: .*mean_iu.*; the columns are id, uri, status, .*mean_iou"),
        ("mean_iou <", "cannot be used: .*syntax error"),
        ("mean_iou", "is no condition: it gives double"),
        ("mean_iou < 0.5; drop table images", "cannot be used"),
        ("mean_iou < 0.5) or (true", "cannot be used"),
        ("mean_iou < 0.5 union select true", "cannot be used"),
        ("sum(mean_iou) > 1", "cannot be used"),
        ("exists (select 1 from read_csv('/etc/passwd'))", "cannot be used"),
        ("(select count(*) from '/etc/passwd') > 0", "cannot be used"),
        ("exists (from read_text('/etc/passwd'))", "cannot be used"),
        ("exists (select 1 from part)", "cannot be used"),
    ],
)
def test_a_condition_that_is_none(results: Path, where: str, why: str) -> None:
    with pytest.raises(ConfigError, match="(?s)^where: .*" + why) as caught:
        export(results, where=where)
    assert "\n" not in str(caught.value) and where in str(caught.value)
    assert not (results.parent / "out.json").exists()


def test_a_condition_cannot_write(results: Path) -> None:
    with pytest.raises(ConfigError):
        export(results, where=f"(copy (select 1) to '{results}/x.csv') is null")
    assert not (results / "x.csv").exists()


@pytest.mark.parametrize("to", sorted(FORMATS))
def test_masks_deleted_since_are_named_and_the_rest_is_exported(results: Path, to: str) -> None:
    (results / "masks/1.png").unlink()
    Image.fromarray(np.zeros((3, 4), np.uint8)).save(results / "masks/2.png")
    (results / "masks/3.png").write_bytes(b"no picture")
    Image.fromarray(np.zeros((12, 15, 3), np.uint8)).save(results / "masks/4.png")
    shown = command(results, results.parent / "out", "--to", to)
    assert shown.exit_code == 3
    lines = shown.stdout.splitlines()
    assert lines[0].startswith("2 of 6 images with ") and lines[0].endswith(
        f"objects in {results.parent / 'out'}"
    )
    for line in (
        "b.png: its mask masks/1.png cannot be used: there is no such file",
        "c.png: its mask masks/2.png cannot be used: it is 4 x 3 pixels, not 15 x 12",
        "e.png: its mask masks/4.png cannot be used: it does not hold class ids",
    ):
        assert line in lines
    assert sum(line.startswith("d.png: its mask masks/3.png cannot be used: ") for line in lines) == 1


def test_a_row_that_names_a_file_elsewhere(tmp_path: Path) -> None:
    masks = ("masks/../../secret.png", "masks//etc/passwd", "secret.png")
    columns = {name: {"mask": mask} for name, mask in zip(MAPS, masks, strict=False)}
    Image.fromarray(np.zeros((12, 15), np.uint8)).save(tmp_path / "secret.png")
    report = export(write_masks(tmp_path / "results", MAPS, columns))
    assert report.lacking == 3 and all("is no file below masks/" in why for _, why in report.problems)


@pytest.mark.parametrize(
    ("package", "to", "settings"),
    [
        ("pycocotools", "coco", {}),
        ("shapely", "geojson", {}),
        ("pyproj", "geoparquet", {}),
        ("duckdb", "cvat", {"where": "mean_iou < 1"}),
    ],
)
def test_a_package_that_is_not_installed(
    results: Path, monkeypatch: pytest.MonkeyPatch, package: str, to: str, settings: dict[str, Any]
) -> None:
    real = builtins.__import__

    def without(name: str, *more: Any, **others: Any) -> Any:
        if name.partition(".")[0] == package:
            raise ImportError(name)
        return real(name, *more, **others)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(ConfigError, match=rf"package {package}: pip install 'batchseg\[export\]'"):
        export(results, to=to, **settings)
    assert not (results.parent / "out.json").exists()


def test_an_output_that_is_there(results: Path) -> None:
    out = results.parent / "out.json"
    out.write_text("precious")
    assert command(results, out, "--to", "coco").exit_code == 1
    assert out.read_text() == "precious"
    assert command(results, out, "--to", "coco", "--overwrite").exit_code == 0
    assert out.read_text().startswith("{")
    with pytest.raises(OutputError, match="is a file, and coco-panoptic is a folder"):
        batchseg.export(str(results), to="coco-panoptic", output=out)
    with pytest.raises(OutputError, match="is a folder, and coco is a file"):
        batchseg.export(str(results), to="coco", output=results.parent, settings={"overwrite": True})


@pytest.mark.parametrize("below", ["images/o.parquet", "run.json", "masks/0.png", ""])
def test_an_output_among_the_results(results: Path, below: str) -> None:
    with pytest.raises(OutputError, match="belongs to the results"):
        settings = {"overwrite": True}
        batchseg.export(str(results), to="geoparquet", output=results / below, settings=settings)


def test_a_folder_that_is_there(results: Path) -> None:
    out = results.parent / "out"
    out.mkdir()
    assert command(results, out, "--to", "coco-panoptic").exit_code == 0
    refused = command(results, out, "--to", "coco-panoptic")
    assert refused.exit_code == 1 and "is not empty" in refused.stderr
    assert command(results, out, "--to", "coco-panoptic", "--overwrite", "--images", 1).exit_code == 0
    assert len([*(out / "panoptic").iterdir()]) == 1
    (out / "precious").write_text("")
    refused = command(results, out, "--to", "coco-panoptic", "--overwrite")
    assert refused.exit_code == 1 and (out / "precious").exists()


@pytest.mark.parametrize("to", sorted(FORMATS))
def test_whole_or_not_at_all(results: Path, to: str) -> None:
    def interrupt(done: int, total: int) -> None:
        if done == 3:
            raise KeyboardInterrupt

    out = results.parent / "out"
    with pytest.raises(KeyboardInterrupt):
        batchseg.export(str(results), interrupt, to=to, output=out)
    assert [path.name for path in results.parent.iterdir()] == ["results"]


def test_wrong_usage(results: Path, tmp_path: Path) -> None:
    unknown = command(results, tmp_path / "o", "--to", "yolo")
    assert unknown.exit_code == 2 and "coco-panoptic" in unknown.stderr
    assert command(results, tmp_path / "o").exit_code == 2
    assert command(results, "--to", "coco").exit_code == 2
    assert command(results, tmp_path / "o", "--to", "coco", "--simplify", "1").exit_code == 2
    assert "holds no results" in command(tmp_path / "nowhere", tmp_path / "o", "--to", "coco").stderr
    with pytest.raises(BatchsegError, match="name one on a local disk"):
        batchseg.export(str(results), to="coco-panoptic", output=STORE)
    with pytest.raises(BatchsegError, match="argument `to` is missing"):
        batchseg.export(str(results), output="o")


def test_results_that_do_not_say_what_the_classes_are(results: Path) -> None:
    (results / "run.json").unlink()
    assert export(results).written == 6  # classes.parquet says it
    (results / "classes.parquet").unlink()
    with pytest.raises(
        OutputError, match=r"neither run\.json nor classes\.parquet says what the classes are"
    ):
        export(results)


def test_colours_are_those_of_the_record(results: Path) -> None:
    found = Results(str(results))
    colours = [[1, 2, 3], [4, 5, 6], [7, 8, 9], [10, 11, 12]]
    label_map = {"names": NAMES, "colours": colours, "ignore_index": 255, "remap": None, "read_colours": []}
    found.write_record({**(found.record() or {}), "run_id": "r", "truth_label_map": label_map})
    shutil.rmtree(results / "runs")
    report = export(results, to="label-studio")
    assert 'value="boat" background="#0a0b0c"' in report.remarks[0]


def test_a_configuration_file(results: Path, tmp_path: Path) -> None:
    file = tmp_path / "export.yaml"
    file.write_text(
        f"results: {results}\nto: geojson\noutput: {tmp_path}/o.geojson\nimages: 3\nsimplify: 1.5\n"
    )
    assert read_config(batchseg.ExportConfig, file).images == 3
    shown = command("--config", file, "--images", 2, "--json")
    assert shown.exit_code == 0
    assert json.loads(shown.stdout)["written"] == 2
    assert command("--config", file, "--quiet", "--overwrite").stdout == ""
