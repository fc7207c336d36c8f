"""`batchseg explain`: what the masks of a run rest on, by flag, file and library."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import yaml
from click.testing import CliRunner, Result
from PIL import Image

import batchseg
from batchseg.cli.group import cli
from batchseg.config.load import merge
from batchseg.results.explanations import EXPLANATIONS
from tests.report_pages import ReadPage

pytestmark = [pytest.mark.usefixtures("in_process")]

CORNER = f"{Path(__file__).parent / 'corner_model.py'}:Corner"
HEIGHT, WIDTH = 64, 96


def command(*words: object) -> Result:
    return CliRunner().invoke(cli, ["explain", *map(str, words)], catch_exceptions=False)


def run(folder: Path, model: Any, **more: Any) -> Path:
    base = {"source": str(folder / "images"), "segmentor": model, "output": str(folder / "results")}
    batchseg.run(batchseg.load_config(overrides=merge(base, more)))
    return folder / "results"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two noisy images, dark but for the corner of the first."""
    (tmp_path / "images").mkdir()
    rng = np.random.default_rng(7)
    for name in ("lit", "dark"):
        pixels = rng.integers(0, 100, (HEIGHT, WIDTH, 3), dtype=np.uint8)
        if name == "lit":
            pixels[: HEIGHT // 8, : WIDTH // 8] = 230
        Image.fromarray(pixels).save(tmp_path / "images" / f"{name}.png")
    return tmp_path


def table(results: Path) -> list[dict[str, Any]]:
    found = pq.read_table(results / "explanations/explanations.parquet")
    assert found.schema.equals(EXPLANATIONS)
    rows: list[dict[str, Any]] = found.to_pylist()
    return rows


def content(results: Path) -> dict[str, bytes]:
    """All that a run has written."""
    return {
        str(path.relative_to(results)): path.read_bytes()
        for path in results.rglob("*")
        if path.is_file() and "explanations" not in path.parts
    }


def heat_of(picture: Path) -> np.ndarray:
    """Where the second panel of a picture is orange, at the size of the image."""
    with Image.open(picture) as opened:
        pixels = np.asarray(opened.convert("RGB")).astype(int)
    times = 4  # 96 pixels are shown as 384
    side = pixels[:, pixels.shape[1] - WIDTH * times :]
    top = next(row for row in range(len(side)) if (side[row].sum(1) < 600).all())
    panel = side[top : top + HEIGHT * times]
    return (panel[..., 0] - panel[..., 2])[::times, ::times]


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory, sample_data: Path) -> Path:
    """Results of the sample model on two of its images, with truth."""
    from without_ray import stay_in_process

    folder = tmp_path_factory.mktemp("digits")
    with pytest.MonkeyPatch.context() as patch:
        stay_in_process(patch)
        include = ("day/b/scene_02.jpg", "day/a/scene_07.jpg")
        source = {
            "path": str(sample_data / "images"),
            "truth": str(sample_data / "masks"),
            "include": include,
        }
        return run(folder, str(sample_data / "model"), source=source)


def test_the_sample_model_looks_at_its_digits(digits: Path) -> None:
    before = content(digits)
    report = batchseg.explain(digits, methods=["occlusion", "language"], settings={"grid": 5})
    assert (report.chosen, report.explained, report.problems) == (2, 2, [])
    batchseg.explain(digits, ids=["day/b/scene_02.jpg"], methods=["gradients"])
    rows = table(digits)
    assert [(row["id"], row["method"]) for row in rows] == [
        ("day/a/scene_07.jpg", "language"),
        ("day/a/scene_07.jpg", "occlusion"),
        ("day/b/scene_02.jpg", "gradients"),
        ("day/b/scene_02.jpg", "language"),
        ("day/b/scene_02.jpg", "occlusion"),
    ]
    names = batchseg.open_results(str(digits)).classes["class_name"].to_pylist()
    for row in rows:
        mask = np.asarray(Image.open(digits / f"masks/{row['id'].removesuffix('.jpg')}.png"))
        largest = int(np.bincount(mask.ravel(), minlength=len(names))[1:].argmax()) + 1
        assert (row["class_id"], row["class_name"]) == (largest, names[largest])
        assert row["area_share"] == pytest.approx((mask == largest).mean())
        assert row["target"] > 0.7
        # far above chance: of the squares, which are coarse, 2 times, and of the pixels 5 times as much
        least = {"occlusion": 2, "gradients": 5, "language": 1.2}[row["method"]]
        assert row["inside_share"] > least * row["area_share"]
        with Image.open(digits / row["picture"]) as picture:
            assert (picture.mode, picture.height > 320) == ("RGB", True)
    language = [row for row in rows if row["method"] == "language"]
    assert all(0 < row["language_off_changed"] < 0.2 for row in language)
    assert {row["language_off_changed"] for row in rows if row["method"] != "language"} == {None}
    assert {row["grid"] for row in rows if row["method"] == "occlusion"} == {5}
    assert content(digits).keys() == before.keys()
    assert all(content(digits)[name] == data for name, data in before.items())


@pytest.mark.usefixtures("ray_session")
def test_the_page_shows_them_while_the_masks_are_those(digits: Path, tmp_path: Path) -> None:
    results = tmp_path / "results"
    shutil.copytree(digits, results)
    batchseg.explain(results, ids=["day/b/scene_02.jpg"], methods=["language"])
    with_them = ReadPage.of(batchseg.report(results, output=tmp_path / "with.html", images=1).path)
    assert "What decisions rest on" in with_them.text
    assert "day/b/scene_02.jpg, three, language" in " ".join(with_them.text.split())
    rows = pq.read_table(results / "explanations/explanations.parquet")
    other = rows.set_column(rows.column_names.index("fingerprint"), "fingerprint", [["another"] * len(rows)])
    pq.write_table(other, results / "explanations/explanations.parquet")
    without = ReadPage.of(batchseg.report(results, output=tmp_path / "without.html", images=1).path)
    assert "What decisions rest on" not in without.text


def test_by_default_occlusion_and_language(digits: Path, tmp_path: Path) -> None:
    shutil.copytree(digits, tmp_path / "results")
    (tmp_path / "explain.yaml").write_text(
        yaml.safe_dump({"results": str(tmp_path / "results"), "worst": 1, "grid": 2})
    )
    result = command("--config", tmp_path / "explain.yaml", "--json")
    told = json.loads(result.stdout)
    assert (result.exit_code, told["chosen"]) == (0, 1)
    assert [row["method"] for row in told["rows"]] == ["occlusion", "language"]


def test_a_model_that_looks_at_a_corner_is_found_out(folder: Path) -> None:
    results = run(folder, CORNER)
    result = command(results, "lit.png", "--method", "occlusion", "--grid", 8)
    assert (result.exit_code, "1 of 1 images explained" in result.output) == (0, True)
    (row,) = table(results)
    assert (row["class_name"], row["area_share"]) == ("lit", 0.5)
    assert row["target"] == pytest.approx(1)
    assert row["inside_share"] == 0.0  # it never looks at what it finds
    orange = heat_of(results / "explanations/lit.occlusion.png")
    assert (orange[:8, :12] > 60).all()
    rest = orange.copy()
    rest[: 3 * 8, : 3 * 12] = 0
    assert rest.max() <= 5


def test_a_second_call_replaces_rows_of_the_same_images_and_method(folder: Path) -> None:
    results = run(folder, "threshold")
    assert command(results, "--grid", 3).exit_code == 0
    first = table(results)
    assert command(results, "lit.png", "--grid", 5, "--class", "dark").exit_code == 0
    second = table(results)
    assert [row["id"] for row in second] == ["dark.png", "lit.png"]
    assert second[0] == first[0]
    assert (second[1]["class_name"], second[1]["grid"]) == ("dark", 5)
    (folder / "images/dark.png").unlink()
    run(folder, "threshold", prune=True)
    assert not (results / "explanations/dark.occlusion.png").exists()
    assert command(results, "--grid", 3).exit_code == 0
    assert [row["id"] for row in table(results)] == ["lit.png"]


def test_the_worst_come_first_and_no_more_than_asked_for(folder: Path) -> None:
    (folder / "truth").mkdir()
    for name, share in (("lit", 0.1), ("dark", 0.9)):
        truth = np.zeros((HEIGHT, WIDTH), np.uint8)
        truth[: round(HEIGHT * share)] = 1
        Image.fromarray(truth).save(folder / f"truth/{name}.png")
    results = run(
        folder, "threshold", source={"path": str(folder / "images"), "truth": str(folder / "truth")}
    )
    report = batchseg.explain(results, worst=1, class_name="dark", settings={"grid": 2})
    assert [row["id"] for row in report.rows] == ["dark.png"]


def test_views_and_ensembles_are_asked_as_they_decide(folder: Path) -> None:
    members = [{"kind": "threshold", "levels": [60]}, {"kind": "custom", "model": CORNER}]
    ensemble = {"kind": "ensemble", "members": members, "merge": {"lit or bright": ["bright", "lit"]}}
    results = run(folder, ensemble, views={"flip": ["horizontal"]})
    (row,) = batchseg.explain(results, ids=["lit.png"], class_name="lit or bright", settings={"grid": 4}).rows
    assert 0 < row["target"] < 1
    for method in ("gradients", "language"):
        result = command(results, "--method", method)
        assert (result.exit_code, "several models or views" in result.output) == (2, True)


def test_a_relative_model_is_found_where_the_run_was_started(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copy(CORNER.rpartition(":")[0], folder / "mine.py")
    monkeypatch.chdir(folder)
    results = run(folder, "./mine.py:Corner")
    monkeypatch.chdir("/")
    assert batchseg.explain(results, ids=["lit.png"], settings={"grid": 2}).explained == 1


def test_what_cannot_be_explained_is_said_of_each_image(folder: Path) -> None:
    Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(folder / "images/gone.png")
    (folder / "images/broken.png").write_bytes(b"no image")
    results = run(folder, CORNER)
    (folder / "images/gone.png").unlink()
    result = command(results, "lit.png", "dark.png", "gone.png", "broken.png", "--grid", 2)
    assert result.exit_code == 3
    assert "1 of 4 images explained" in result.output
    assert "dark.png: its mask has no class but background" in result.output
    assert "gone.png: its mask has no class but background" in result.output
    assert "broken.png: has no mask: " in result.output
    result = command(results, "gone.png", "--class", "background")
    assert (result.exit_code, "gone.png: there is no such file" in result.output) == (3, True)
    assert "has no 'lit'" in command(results, "dark.png", "--class", "lit").output
    Image.fromarray(np.zeros((HEIGHT, WIDTH, 3), np.uint8)).save(folder / "images/lit.png")
    result = command(results, "lit.png")
    assert "the model decides as in its mask in 50% of the pixels alone" in result.output
    Image.fromarray(np.zeros((9, 9, 3), np.uint8)).save(folder / "images/lit.png")
    assert "it is 9 x 9 pixels by now, its mask 96 x 64" in command(results, "lit.png").output
    assert [row["id"] for row in table(results)] == ["lit.png"]


def test_a_model_that_fails_when_asked_costs_its_image_alone(folder: Path) -> None:
    results = run(folder, CORNER.replace(":Corner", ":Failing"))
    result = command(results, "lit.png")
    assert result.exit_code == 3
    assert "lit.png: the model failed: RuntimeError: a grey square" in result.output


def test_a_model_that_is_gone_or_another_is_refused(folder: Path) -> None:
    shutil.copy(CORNER.rpartition(":")[0], folder / "mine.py")
    results = run(folder, f"{folder}/mine.py:Corner")
    (folder / "mine.py").write_text((folder / "mine.py").read_text().replace("> 128", "> 120"))
    result = command(results)
    assert (result.exit_code, "is another model by now than in the run" in result.output) == (1, True)
    record = json.loads((results / "run.json").read_text())
    record["config"]["segmentor"]["model"] = f"{folder}/gone.py:Corner"
    (results / "run.json").write_text(json.dumps(record))
    result = command(results)
    assert (result.exit_code, "the model of its run cannot be opened" in result.output) == (1, True)
    assert not (results / "explanations").exists()


@pytest.mark.parametrize(
    ("words", "code", "sentence"),
    [
        (["missing.png", "lit.png"], 2, "the results have no image missing.png"),
        (["--class", "sky"], 2, "there is no class 'sky'; there are dark, bright"),
        (["--method", "gradients"], 2, "the method gradients: threshold has none to look at"),
        (["--method", "language"], 2, "threshold has no language branch to switch off"),
        (["--grid", "1"], 2, "grid"),
        (["--worst", "0"], 2, "worst"),
    ],
)
def test_wrong_usage_is_one_sentence(folder: Path, words: list[str], code: int, sentence: str) -> None:
    results = run(folder, "threshold")
    result = command(results, *words)
    assert (result.exit_code, sentence in result.output) == (code, True)
    assert "Traceback" not in result.output


def test_results_without_a_model_are_refused(folder: Path) -> None:
    result = command(folder / "nothing")
    assert (result.exit_code, "holds no results of batchseg" in result.output) == (1, True)
    results = run(folder, "threshold")
    masks = {
        "masks": str(results / "masks"),
        "truth": str(results / "masks"),
        "output": str(folder / "scores"),
    }
    labels = folder / "labels.yaml"
    labels.write_text(yaml.safe_dump({"classes": ["dark", "bright"]}))
    batchseg.evaluate(
        batchseg.read_config(batchseg.EvaluateConfig, overrides={**masks, "labels": str(labels)})
    )
    result = command(folder / "scores")
    assert (result.exit_code, "holds scores of masks from elsewhere" in result.output) == (1, True)
    tiled = folder / "tiled"
    run(folder, "threshold", tiling=32, output=str(tiled))
    result = command(tiled)
    assert (result.exit_code, "saw pictures in windows (tiling)" in result.output) == (1, True)
    (results / "run.json").unlink()
    result = command(results)
    assert (result.exit_code, "run.json is missing" in result.output) == (1, True)


def test_masks_that_were_decided_again_are_refused(folder: Path) -> None:
    model = {"kind": "custom", "model": CORNER.replace(":Corner", ":Sure")}
    output = {"path": str(folder / "results"), "probabilities": "top2"}
    results = run(folder, model, output=output)
    (row,) = batchseg.explain(results, ids=["lit.png"], settings={"grid": 2}).rows
    assert row["target"] == pytest.approx(0.75)
    batchseg.decide(results, output=folder / "again", none_below=0.4)
    result = command(folder / "again")
    assert (result.exit_code, "were decided again without a model" in result.output) == (1, True)


def test_without_captum_gradients_are_refused_and_occlusion_works(
    digits: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(digits, tmp_path / "results")
    for name in [name for name in sys.modules if name.partition(".")[0] == "captum"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "captum", None)
    result = command(tmp_path / "results", "--method", "gradients")
    assert (result.exit_code, "pip install 'batchseg[explain]'" in result.output) == (2, True)
    result = command(tmp_path / "results", "--worst", 1, "--method", "occlusion", "--grid", 2)
    assert result.exit_code == 0
