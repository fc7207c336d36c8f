"""Probabilities in whole runs, and masks that are decided again from them."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import rasterio
from click.testing import CliRunner
from PIL import Image
from rasterio.crs import CRS
from rasterio.transform import Affine
from sklearn.metrics import accuracy_score

import batchseg
from batchseg.cli.group import cli
from batchseg.errors import BatchsegError, ConfigError, LabelMapError, OutputError
from batchseg.inspect.verify import verify
from tests.segmentors.tiny_checkpoints import CLASSES, build

pytestmark = [
    pytest.mark.usefixtures("in_tasks"),
    pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning"),
]

UTM = {"crs": CRS.from_epsg(32632), "transform": Affine(10, 0, 5e5, 0, -10, 5e6)}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build("segformer", tmp_path_factory.mktemp("segformer"))


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three images with truths, of two sizes."""
    folder, rng = tmp_path_factory.mktemp("source"), np.random.default_rng(3)
    for name, (height, width) in (("a.png", (120, 90)), ("sub/b.jpg", (77, 130)), ("c.png", (120, 90))):
        for kind in ("images", "truth"):
            (folder / kind / name).parent.mkdir(parents=True, exist_ok=True)
        coarse = rng.integers(0, 256, (6, 6, 3), np.uint8)
        picture = Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)
        picture.save(folder / "images" / name)
        truth = rng.integers(0, CLASSES, (height, width), dtype=np.uint8)
        Image.fromarray(truth).save((folder / "truth" / name).with_suffix(".png"))
    return folder


def run(
    source: Path, model: Path, output: Path, kept: str | None = "full", **more: Any
) -> batchseg.RunResult:
    folder, truth = more.pop("images", source / "images"), more.pop("truth", source / "truth")
    settings = {
        "source": {"path": str(folder), "truth": truth and str(truth), "exclude": more.pop("exclude", [])},
        "segmentor": {"model": str(model), "precision": "fp32", **more.pop("segmentor", {})},
        "output": {"path": str(output), "probabilities": kept, **more.pop("output", {})},
    }
    return batchseg.run(batchseg.load_config(overrides={**settings, **more}))


def masks(results: Path) -> dict[str, np.ndarray]:
    root = results / "masks"
    found = {}
    for path in sorted(root.rglob("*.*")):
        with Image.open(path) as picture:
            found[path.relative_to(root).as_posix()] = np.array(picture)
    return found


def rows(results: Path) -> dict[str, dict[str, Any]]:
    return {row["id"]: row for row in pq.read_table(results / "images").to_pylist()}


def files(results: Path) -> list[str]:
    root = results / "probabilities"
    return sorted(path.relative_to(root).as_posix() for path in root.rglob("*.*"))


def codes(results: Path, mask: str, kept: str = "full") -> np.ndarray:
    """By numpy alone."""
    file = np.load(results / "probabilities" / f"{mask}.{kept}.npz")
    height, width = file["shape"]
    p = np.zeros((len(file["p_0_0"]), height, width), np.uint8)
    for name in file.files:
        if name.startswith("p_"):
            top, left = map(int, name.split("_")[1:])
            chunk = file[name]
            p[:, top : top + chunk.shape[1], left : left + chunk.shape[2]] = chunk
    return p


@pytest.fixture(scope="module")
def done(source: Path, model: Path, tmp_path_factory: pytest.TempPathFactory, ray_session: None) -> Path:
    """A run that kept all."""
    output = tmp_path_factory.mktemp("done")
    run(source, model, output)
    return output


def test_a_run_keeps_what_it_decided_by(done: Path) -> None:
    assert files(done) == ["a.png.full.npz", "c.png.full.npz", "sub/b.png.full.npz"]
    for name, mask in masks(done).items():
        p = codes(done, name)
        assert p.shape == (CLASSES, *mask.shape) and (p.argmax(0) == mask).all()
    names = np.load(done / "probabilities/a.png.full.npz")["names"].tolist()
    assert names == [f"class {index}" for index in range(CLASSES)]
    assert verify(str(done)).counts == {}


def test_the_same_decision_makes_the_same_masks_and_figures(done: Path, tmp_path: Path) -> None:
    result = batchseg.decide(str(done), output=str(tmp_path / "new"))
    before, after = masks(done), masks(tmp_path / "new")
    assert before.keys() == after.keys()
    assert all(np.array_equal(before[name], after[name]) for name in before)
    record = json.loads((done / "run.json").read_text())
    assert result.metrics == record["metrics"] and result.metrics["mean_iou"] is not None
    assert (result.segmented, result.record["images"]["decided"]) == (0, 3)
    for name, row in rows(tmp_path / "new").items():
        old = rows(done)[name]
        assert row["status"] == "ok" and row["fingerprint"] != old["fingerprint"]
        for column in ("mask", "mean_iou", "confidence_mean", "entropy_p95", "height", "source_version"):
            assert row[column] == old[column]
    assert verify(str(tmp_path / "new")).counts == {}
    report = batchseg.compare(batchseg.CompareConfig(old=str(done), new=str(tmp_path / "new"), bootstrap=0))
    assert report.exit_code == 0
    again = batchseg.decide(str(done), output=str(tmp_path / "new"))
    assert (again.done_before, again.computed) == (3, 0)


def test_none_below_is_that_of_the_run(source: Path, model: Path, done: Path, tmp_path: Path) -> None:
    run(source, model, tmp_path / "run", None, segmentor={"none_below": 0.6})
    words = ["decide", str(done), "--output", str(tmp_path / "new"), "--none-below", "0.6", "--quiet"]
    assert CliRunner().invoke(cli, words).exit_code == 0
    expected, found = masks(tmp_path / "run"), masks(tmp_path / "new")
    for name, mask in expected.items():
        top = codes(done, name).max(0)
        sure = np.abs(top / 255 - 0.6) > 1.5 / 255
        assert (mask == found[name])[sure].all()
        assert (found[name] == 255).any() and (found[name] == 255).sum() == (top < 0.6 * 255).sum()
    total = {name: rows(folder)["a.png"]["accuracy"] for name, folder in (("new", tmp_path / "new"),)}
    with Image.open(source / "truth/a.png") as picture:
        assert total["new"] == accuracy_score(np.array(picture).ravel(), found["a.png"].ravel())


def test_merging_adds(source: Path, done: Path, tmp_path: Path) -> None:
    merge = {"thing": ["class 1", "class 4"], "stuff": ["class 0", "class 2"]}
    result = batchseg.decide(str(done), output=str(tmp_path / "new"), merge=merge)
    assert result.record["model"]["classes"] == ["stuff", "thing", "class 3", "class 5"]
    for name, mask in masks(tmp_path / "new").items():
        p = codes(done, name).astype(int)
        assert (mask == np.stack([p[0] + p[2], p[1] + p[4], p[3], p[5]]).argmax(0)).all()
    row = rows(tmp_path / "new")["c.png"]
    assert row["confidence_mean"] is None and row["mask"] == "masks/c.png"
    with Image.open(source / "truth/c.png") as picture:
        truth = np.array([0, 1, 0, 2, 1, 3])[np.array(picture)]
    assert row["accuracy"] == accuracy_score(truth.ravel(), masks(tmp_path / "new")["c.png"].ravel())
    with pytest.raises(OutputError, match=r"holds other masks .* --recompute"):
        batchseg.decide(str(done), output=str(tmp_path / "new"))
    more = {"output": str(tmp_path / "new"), "settings": {"recompute": True, "none_below": 0.4}}
    assert batchseg.decide(str(done), **more).record["images"]["decided"] == 3
    with pytest.raises(LabelMapError, match="'lorry', which is no class"):
        batchseg.decide(str(done), output=str(tmp_path / "other"), merge={"car": ["lorry", "class 1"]})


def test_another_label_map_reads_truths_and_merges(source: Path, done: Path, tmp_path: Path) -> None:
    names = "\n".join(f"  - {{name: class {index}, truth_ids: [{(index + 1) % 6}]}}" for index in range(6))
    (tmp_path / "labels.yaml").write_text(f"classes:\n{names}\nmerge: {{both: [class 0, class 5]}}\n")
    result = batchseg.decide(str(done), output=str(tmp_path / "new"), labels=str(tmp_path / "labels.yaml"))
    assert result.record["model"]["classes"] == ["both", "class 1", "class 2", "class 3", "class 4"]
    found = masks(tmp_path / "new")["a.png"]
    p = codes(done, "a.png").astype(int)
    assert (found == np.stack([p[0] + p[5], *p[1:5]]).argmax(0)).all()
    with Image.open(source / "truth/a.png") as picture:
        truth = np.array([0, 0, 1, 2, 3, 4])[np.array(picture)]
    row = rows(tmp_path / "new")["a.png"]
    assert row["accuracy"] == accuracy_score(truth.ravel(), found.ravel())
    (tmp_path / "labels.yaml").write_text("classes: [a, b, c]\n")
    with pytest.raises(LabelMapError, match="3 classes, but the model predicts 6"):
        batchseg.decide(str(done), output=str(tmp_path / "b"), labels=str(tmp_path / "labels.yaml"))


def test_the_label_map_of_the_run_is_needed_no_more(source: Path, model: Path, tmp_path: Path) -> None:
    """Nor is its model: the record has all that reads truths."""
    names = "".join(f"  - {{name: class {index}, truth_ids: [{(index + 1) % 6}]}}\n" for index in range(6))
    (tmp_path / "labels.yaml").write_text(f"classes:\n{names}")
    copied = shutil.copytree(model, tmp_path / "model")
    result = run(source, copied, tmp_path / "out", "top2", labels=str(tmp_path / "labels.yaml"))
    shutil.rmtree(copied)
    (tmp_path / "labels.yaml").unlink()
    again = batchseg.decide(str(tmp_path / "out"), output=str(tmp_path / "new"))
    assert again.metrics == result.metrics and again.statuses == {"ok": 3}


def test_windows_and_ensembles_are_decided_again(source: Path, model: Path, tmp_path: Path) -> None:
    other = build("upernet", tmp_path / "upernet")
    members = {"segmentor": {"members": [str(model), str(other)], "weights": [1, 2], "precision": "fp32"}}
    shared = {"source": {"path": str(source / "images"), "truth": str(source / "truth")}}
    for name, more in (("windows", {"tiling": 64, "segmentor": str(model)}), ("ensemble", members)):
        job = {**shared, **more, "output": {"path": str(tmp_path / name), "probabilities": "full"}}
        first = batchseg.run(batchseg.load_config(overrides=job))
        assert first.statuses == {"ok": 3}
        again = batchseg.decide(str(tmp_path / name), output=str(tmp_path / f"{name} again"))
        assert again.metrics == first.metrics
        found = masks(tmp_path / f"{name} again")
        assert all(np.array_equal(found[each], mask) for each, mask in masks(tmp_path / name).items())


def test_a_threshold_is_set_and_taken_back(source: Path, tmp_path: Path) -> None:
    model = build("segformer", tmp_path / "model", classes=2)
    run(source, model, tmp_path / "plain", "top2", truth=None)
    strict = {"threshold": 0.8, "none_below": 0.7}
    run(source, model, tmp_path / "strict", "full", truth=None, segmentor=strict)
    settings = {"settings": {"threshold": 0.8}, "none_below": 0.7}
    batchseg.decide(str(tmp_path / "plain"), output=str(tmp_path / "a"), **settings)
    back = {"settings": {"threshold": 0.5}, "none_below": 0}
    batchseg.decide(str(tmp_path / "strict"), output=str(tmp_path / "b"), **back)
    batchseg.decide(str(tmp_path / "strict"), output=str(tmp_path / "c"))
    found = {name: masks(tmp_path / name) for name in ("plain", "strict", "a", "b", "c")}
    for name, mask in found["strict"].items():
        p = codes(tmp_path / "strict", name).astype(int)
        sure = (np.abs(p[1] - 0.8 * 255) > 1.5) & (np.abs(p.max(0) - 0.7 * 255) > 1.5)
        assert (found["a"][name] == mask)[sure].all() and (found["c"][name] == mask)[sure].all()
        assert {*np.unique(mask)} == {0, 1, 255} and sure.mean() > 0.9
        even = np.abs(p[0] - p[1]) <= 1
        assert (found["b"][name] == found["plain"][name])[~even].all()


def test_top2_decides_what_two_classes_can(source: Path, model: Path, done: Path, tmp_path: Path) -> None:
    run(source, model, tmp_path / "two", "top2")
    assert files(tmp_path / "two") == ["a.png.top2.npz", "c.png.top2.npz", "sub/b.png.top2.npz"]
    batchseg.decide(str(tmp_path / "two"), output=str(tmp_path / "new"), none_below=0.6)
    batchseg.decide(str(done), output=str(tmp_path / "full"), none_below=0.6)
    new, full = masks(tmp_path / "new"), masks(tmp_path / "full")
    assert all(np.array_equal(new[name], full[name]) for name in full)
    with pytest.raises(ConfigError, match=r"two classes a pixel \(top2\), and merging adds those of all"):
        batchseg.decide(
            str(tmp_path / "two"), output=str(tmp_path / "b"), merge={"x": ["class 0", "class 1"]}
        )


def test_a_later_wish_for_probabilities_is_done(source: Path, model: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    run(source, model, out, None)
    with pytest.raises(OutputError, match=r"kept no probabilities; run it again with output\.probabilities"):
        batchseg.decide(str(out), output=str(tmp_path / "new"))
    result = run(source, model, out, "top2")
    assert result.segmented == 3
    sentence = "3 images have masks without the probabilities asked for, and are segmented again"
    assert result.record["notes"][-1] == sentence
    assert run(source, model, out, "top2").done_before == 3
    (out / "probabilities/c.png.top2.npz").unlink()
    assert run(source, model, out, "top2").segmented == 1
    assert run(source, model, out, "full").segmented == 3
    assert files(out) == ["a.png.full.npz", "c.png.full.npz", "sub/b.png.full.npz"]
    assert run(source, model, out, None).done_before == 3


def test_they_go_with_their_masks(source: Path, model: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    run(source, model, out)
    run(source, model, out, exclude=["sub/*"], prune=True)
    assert files(out) == ["a.png.full.npz", "c.png.full.npz"]
    run(source, model, out, "top2", exclude=["sub/*"], candidate=True, segmentor={"none_below": 0.5})
    assert files(out) == ["a.png.full.npz", "c.png.full.npz"]
    batchseg.promote(str(out))
    assert files(out) == ["a.png.top2.npz", "c.png.top2.npz"]


def test_what_is_damaged_or_missing_costs_its_image(source: Path, model: Path, tmp_path: Path) -> None:
    out, new = tmp_path / "out", tmp_path / "new"
    run(source, model, out)
    (out / "probabilities/a.png.full.npz").write_bytes(b"no zip")
    (out / "probabilities/c.png.full.npz").unlink()
    result = batchseg.decide(str(out), output=str(new))
    assert (result.statuses, result.exit_code) == ({"ok": 1, "unreadable": 2}, 3)
    found = rows(new)
    assert "probabilities/a.png.full.npz cannot be used: it is damaged" in found["a.png"]["error"]
    assert "probabilities/c.png.full.npz is not there; the same run again" in found["c.png"]["error"]
    assert found["c.png"]["mask"] is None
    (out / "probabilities/a.png.full.npz").write_bytes((out / "masks/a.png").read_bytes())
    batchseg.decide(str(out), output=str(new))
    assert "no file of probabilities (no whole zip); delete it" in rows(new)["a.png"]["error"]
    (out / "probabilities/a.png.full.npz").unlink()
    assert run(source, model, out).segmented == 2
    assert batchseg.decide(str(out), output=str(new)).statuses == {"ok": 2}
    file = np.load(out / "probabilities/a.png.full.npz")
    np.savez(out / "probabilities/c.png.full.npz", **{**file, "names": file["names"][:4]})
    result = batchseg.decide(str(out), output=str(tmp_path / "third"))
    assert (
        "it has 4 classes and 90 x 120 pixels, and the results 6"
        in rows(tmp_path / "third")["c.png"]["error"]
    )


def test_images_that_the_run_did_not_see_are_named(source: Path, model: Path, tmp_path: Path) -> None:
    images = tmp_path / "images"
    images.mkdir()
    for name in ("a.png", "c.png"):
        (images / name).write_bytes((source / "images" / name).read_bytes())
    shown: dict[str, Any] = {"images": images, "truth": None}
    run(source, model, tmp_path / "out", **shown)
    (images / "d.png").write_bytes((source / "images/a.png").read_bytes())
    result = batchseg.decide(str(tmp_path / "out"), output=str(tmp_path / "new"))
    assert result.statuses == {"ok": 2, "unreadable": 1}
    assert "there is no mask of it, as it is now" in rows(tmp_path / "new")["d.png"]["error"]
    run(source, model, tmp_path / "out", **shown)
    assert batchseg.decide(str(tmp_path / "out"), output=str(tmp_path / "new")).statuses == {"ok": 1}
    settings = {"truth": str(source / "truth")}
    scored = batchseg.decide(str(tmp_path / "out"), output=str(tmp_path / "new"), settings=settings)
    assert (scored.scored, scored.metrics["accuracy"] is not None) == (2, True)


def test_bad_input_is_one_sentence(source: Path, done: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="the threshold segmentor answers with label maps"):
        batchseg.load_config(
            overrides={
                "source": "a",
                "segmentor": "threshold",
                "output": {"path": "b", "probabilities": "full"},
            }
        )
    with pytest.raises(ConfigError, match="choose another --output"):
        batchseg.decide(str(done), output=str(done))
    with pytest.raises(ConfigError, match="choose an --output outside of these results"):
        batchseg.decide(str(done), output=str(done / "masks"))
    assert not (done / "masks/run.json").exists()
    with pytest.raises(BatchsegError, match="tells two classes apart, and there are 6"):
        batchseg.decide(str(done), output=str(tmp_path / "o"), settings={"threshold": 0.3})
    with pytest.raises(OutputError, match="holds no results of `batchseg run`"):
        batchseg.decide(str(source), output=str(tmp_path / "o"))
    shown = CliRunner().invoke(cli, ["decide", "--output", "x"])
    assert shown.exit_code == 2 and "give the argument RESULTS" in shown.stderr
    (tmp_path / "job.yaml").write_text(f"results: {done}\nnone_below: 0.5\n")
    words = ["decide", "--config", str(tmp_path / "job.yaml"), "--output", str(tmp_path / "o"), "--json"]
    shown = CliRunner().invoke(cli, words)
    assert json.loads(shown.stdout)["decided"]["none_below"] == 0.5


def test_a_class_of_label_maps_fails_with_a_sentence(source: Path, tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(
        "class Mine:\n"
        "    labels = ['a', 'b']\n"
        "    def __init__(self, device): ...\n"
        "    def segment(self, images):\n"
        "        return [image[..., 0] // 128 for image in images]\n"
    )
    shown = {"source": {"path": str(source / "images")}, "segmentor": {"model": f"{tmp_path}/mine.py:Mine"}}
    job = {**shown, "output": {"path": str(tmp_path / "out"), "probabilities": "full"}}
    result = batchseg.run(batchseg.load_config(overrides=job))
    assert result.statuses == {"model_failed": 3}
    assert "which have no probabilities; leave output.probabilities" in result.faults["model_failed"]


def raster(folder: Path) -> Path:
    """A raster on the map with a corner without data, and its truth."""
    rng = np.random.default_rng(0)
    coarse = rng.integers(1, 256, (9, 9, 3), np.uint8)
    pixels = np.array(Image.fromarray(coarse).resize((700, 560), Image.Resampling.BICUBIC)).clip(1)
    pixels[:100, :80] = 0
    truth = rng.integers(0, CLASSES, (560, 700), dtype=np.uint8)
    for kind, values in (("images", pixels), ("truth", truth[..., None])):
        (folder / kind).mkdir(parents=True)
        height, width, count = values.shape
        size = {"height": height, "width": width, "count": count, "dtype": "uint8"}
        nodata = {"nodata": 0} if kind == "images" else {}
        with rasterio.open(folder / kind / "r.tif", "w", driver="GTiff", **size, **UTM, **nodata) as file:
            file.write(values.transpose(2, 0, 1))
    return folder


@pytest.mark.parametrize("kept", ["full", "top2"])
def test_rasters_keep_the_same_whatever_the_parts(
    model: Path, tmp_path: Path, kept: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = raster(tmp_path / "scene")
    tiling = {"size": 128, "overlap": 0.25}
    for name, part in (("one", 4096), ("many", 300)):
        result = run(place, model, tmp_path / name, kept, tiling={**tiling, "part": part})
        assert result.statuses == {"ok": 1}
    one, many = (
        (tmp_path / name / f"probabilities/r.tif.{kept}.npz").read_bytes() for name in ("one", "many")
    )
    assert one == many
    mask = masks(tmp_path / "many")["r.tif"]
    p = codes(tmp_path / "many", "r.tif", kept)
    assert (mask[:100, :80] == 255).all() and not p[:, :100, :80].any()
    assert p.max(0)[100:].all() and p.max(0)[:, 80:].all()
    batchseg.decide(str(tmp_path / "many"), output=str(tmp_path / "new"), none_below=0.5)
    again = masks(tmp_path / "new")["r.tif"]
    assert np.array_equal(again, np.where((p.max(0) < 0.5 * 255) | (mask == 255), 255, mask))
    with rasterio.open(tmp_path / "new/masks/r.tif") as file:
        assert (file.crs, file.transform, file.nodata) == (UTM["crs"], UTM["transform"], 255)
    monkeypatch.setattr("batchseg.stages.by_window.HELD_PIXELS", 1000)
    if kept == "full":  # as a large one, by window
        from batchseg.config.base import Limits

        record = json.loads((tmp_path / "many/run.json").read_text())
        record["config"]["limits"] = Limits(max_pixels=1000).model_dump(mode="json")
        (tmp_path / "many/run.json").write_text(json.dumps(record))
        batchseg.decide(str(tmp_path / "many"), output=str(tmp_path / "large"), none_below=0.5)
        assert (tmp_path / "large/masks/r.tif").read_bytes() == (tmp_path / "new/masks/r.tif").read_bytes()
        small, large = rows(tmp_path / "new")["r.tif"], rows(tmp_path / "large")["r.tif"]
        assert [large[name] for name in ("accuracy", "mean_iou", "truth_pixels", "status")] == [
            small[name] for name in ("accuracy", "mean_iou", "truth_pixels", "status")
        ]
