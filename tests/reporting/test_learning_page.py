"""The page of a training, read back: its figures are those of the tables, and so are its lines."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner
from PIL import Image

import batchseg
from batchseg.cli.group import cli
from batchseg.images.encode import encode_picture, encode_png
from batchseg.labels.label_map import LabelMap
from batchseg.labels.recorded import record_label_map
from batchseg.results.learning import Learning, history_of_classes
from batchseg.storage.location import locate
from tests.report_pages import ReadPage

EVIL = "<script>alert(1)</script>"


def write_training(root: Path, classes: int = 4, epochs: int = 5, seed: int = 0, **record: Any) -> Learning:
    """A training of which the third epoch is the best, and two of three pictures are still there."""
    rng = np.random.default_rng(seed)
    label_map = LabelMap.from_names([EVIL, *(f"class {number}" for number in range(1, classes))])
    root.mkdir(parents=True)
    history, rows = [], []
    for epoch in range(1, epochs + 1):
        iou_C = rng.uniform(0, 1, classes).round(3)
        mean_iou = 0.9 if epoch == 3 else 0.1 * epoch
        loss, rate = 2 / epoch, 1e-3 / epoch
        history.append({"epoch": epoch, "loss": loss, "learning_rate": rate, "mean_iou": mean_iou})
        rows += history_of_classes(epoch, label_map.names, iou_C.tolist(), [100] * (classes - 1) + [0])
    pictures = []
    for number in range(3):
        truth_HW = rng.integers(0, classes + 1, (20, 30)).astype(np.uint8)
        if number < 2:
            Image.fromarray(rng.integers(0, 255, (20, 30, 3)).astype(np.uint8)).save(root / f"{number}.png")
        png = encode_png(truth_HW, label_map.colours, 255)
        facts = {"id": f"{number}.png", "uri": str(root / f"{number}.png"), "epoch": 3, "mean_iou": 0.5}
        maps = {"width": 30, "height": 20, "accuracy": 0.625, "truth": png, "predicted": png}
        pictures.append({**facts, **maps, "prompt": None})
    learning = Learning(history, rows, pictures)
    learning.write(locate(str(root)))
    plan = {"settings": {"epochs": epochs}, "sentence": "planned for 9 images", "data": {"images": 9}}
    settings = {"source": {"kind": "folder", "path": str(root)}, "output": str(root), "epochs": epochs}
    job = {"env": {"TOKEN": "s3cret"}}
    begun = {"config": {**settings, "ray": {"job": job}}, "plan": plan, "notes": ["no image shows class 3"]}
    whole = {
        **begun,
        "status": "started",
        "label_map": record_label_map(label_map),
        "epochs": epochs,
        **record,
    }
    (root / "train.json").write_text(json.dumps(whole))
    return learning


FINISHED = {
    "status": "finished",
    "steps": 50,
    "best_epoch": 3,
    "images": {"train": 9, "validation": 3},
    "metrics": {"mean_iou": 0.9},
    "temperature": 1.25,
    "train_s": 60.0,
    "validation_s": 5.0,
}


def lines(page: ReadPage, key: str) -> list[list[tuple[float, float]]]:
    found = [given["points"] for given in page.all("polyline", **{"data-curve": key})]
    points = ([tuple(map(float, point.split(","))) for point in str(each).split()] for each in found)
    return [[(x, y) for x, y in each] for each in points]


def test_figures_and_lines_are_those_of_the_tables(tmp_path: Path) -> None:
    learning = write_training(tmp_path / "out", **FINISHED)
    made = batchseg.report(tmp_path / "out")
    assert (made.path, made.level, made.pictures) == (str(tmp_path / "out/report.html"), "good", 3)
    assert made.verdict == (
        "Finished: The best of 5 epochs is epoch 3: mean IoU 0.900 over 3 validation images."
    )
    page = ReadPage.of(made.path)
    for row in learning.history:
        for name in ("loss", "learning_rate", "mean_iou"):
            assert page.figures[f"epoch.{row['epoch']}.{name}"] == {str(row[name])}
    best = [row for row in learning.classes if row["epoch"] == 3]
    for row in best[:-1]:
        assert page.figures[f"class.{row['class_id']}.iou"] == {str(row["iou"])}
        highest = max(each["iou"] for each in learning.classes if each["class_id"] == row["class_id"])
        assert page.figures[f"class.{row['class_id']}.highest"] == {str(highest)}
    assert "class.3.iou" not in page.figures and page.figures["class.3.truth_pixels"] == {"0"}
    assert "No validation image shows 1 of the classes" in page.text
    # 0 is at 144 and the top of the axis at 12; of shares that is 1, of others the highest value
    (line,) = lines(page, "mean_iou")
    assert [(144 - y) / 132 for _, y in line] == pytest.approx([0.1, 0.2, 0.9, 0.4, 0.5], abs=1e-4)
    assert [x for x, _ in line] == pytest.approx(np.linspace(42, 348, 5).tolist())
    (line,) = lines(page, "loss")
    assert [2 * (144 - y) / 132 for _, y in line] == pytest.approx([2 / n for n in range(1, 6)], abs=1e-3)
    assert len(lines(page, "learning_rate")) == 1 and lines(page, "giou") == []
    sections = [given["id"] for given in page.all("section")]
    assert sections == ["curves", "images", "learnt", "epochs", "plan", "run"]
    assert "Planned for 9 images." in page.text and "No image shows class 3." in page.text


def test_the_page_is_as_closed_as_that_of_results(tmp_path: Path) -> None:
    write_training(tmp_path / "out", **FINISHED)
    made = batchseg.report(tmp_path / "out", output=tmp_path / "page.html")
    page, text = ReadPage.of(made.path), Path(made.path).read_text()
    assert EVIL in page.text and len(page.all("script")) == 1 and "s3cret" not in text
    names = {name for _, given in page.tags for name in given}
    assert not {name for name in names if name.startswith("on")} | {"style"} & names
    for _, given in page.tags:
        for name in ("src", "href"):
            assert str(given.get(name, "#")).startswith(("#", "data:"))
    assert "prefers-color-scheme: dark" in page.raw["style"]


def test_pictures_whose_source_is_gone_stand_without_it(tmp_path: Path) -> None:
    write_training(tmp_path / "out", **FINISHED)
    page = ReadPage.of(batchseg.report(tmp_path / "out").path)
    layers = [str(given["class"]).split()[1] for given in page.all("img")]
    assert layers.count("photo") == 2 and layers.count("truth") == layers.count("predicted") == 3
    assert "The image cannot be shown, so truth and prediction stand alone: " in page.text
    assert page.figures["image.2.png.accuracy"] == {"0.625"}
    few = batchseg.report(tmp_path / "out", images=1)
    assert few.pictures == 1 and batchseg.report(tmp_path / "out", images=0).pictures == 0


def test_a_window_whose_photo_is_lacking_stands_without_it(tmp_path: Path) -> None:
    learning = write_training(tmp_path / "out", **FINISHED)
    for number, row in enumerate(learning.pictures):
        row |= {"id": "0.png", "window": [0, 30 * number, 20, 30], "photo": None}
    photo = np.random.default_rng(0).integers(0, 255, (20, 30, 3)).astype(np.uint8)
    learning.pictures[1]["photo"] = encode_picture(photo, "jpeg")
    learning.write(locate(str(tmp_path / "out")))
    page = ReadPage.of(batchseg.report(tmp_path / "out").path)
    layers = [str(given["class"]).split()[1] for given in page.all("img")]
    assert layers.count("photo") == 1 and layers.count("truth") == 3  # the picture that lies there is another
    assert page.text.count("the training could not read this window any more") == 2
    assert all(f"0.png (window at row 0, column {left})" in page.text for left in (0, 30, 60))


def test_what_is_under_way_shows_what_is_there(tmp_path: Path) -> None:
    write_training(tmp_path / "out")
    made = batchseg.report(tmp_path / "out")
    assert made.level == "look" and "it was stopped, or is still under way" in made.verdict
    page = ReadPage.of(made.path)
    assert "The best epoch is epoch 3 so far: mean IoU 0.900." in page.text
    assert len(lines(page, "mean_iou")[0]) == 5
    for name in ("history", "class_history", "validation_pictures"):
        (tmp_path / "out" / f"{name}.parquet").unlink()
    nothing = batchseg.report(tmp_path / "out")
    assert "Up to now 0 epochs are validated" in nothing.verdict


@pytest.mark.parametrize("classes", [2, 150])
def test_many_classes_are_a_table_that_can_be_sorted(tmp_path: Path, classes: int) -> None:
    learning = write_training(tmp_path / "out", classes=classes, epochs=100, **FINISHED)
    made = batchseg.report(tmp_path / "out")
    page = ReadPage.of(made.path)
    assert made.size_bytes < 1_500_000
    best = {row["class_id"]: row["iou"] for row in learning.classes if row["epoch"] == 3}
    shown = [name for name in page.figures if name.startswith("class.") and name.endswith(".iou")]
    rising = sorted((iou, index) for index, iou in best.items() if iou is not None)
    assert shown == [f"class.{index}.iou" for _, index in rising]
    assert len([1 for tag, given in page.tags if given.get("class") == "spark"]) == classes


def test_folds_have_a_line_each_and_a_link_to_what_they_predicted(tmp_path: Path) -> None:
    out = tmp_path / "out"
    whole = write_training(out, **FINISHED)
    kept = [write_training(out / f"fold-{fold}", seed=fold, **FINISHED) for fold in (1, 2)]
    facts = {"learnt_from": 6, "best_epoch": 3, "metrics": {"mean_iou": 0.75}}
    record = json.loads((out / "train.json").read_text())
    folds = [{"fold": fold, "images": 4, **facts} for fold in (1, 2)]
    record |= {"folds": folds, "config": {**record["config"], "folds": 2}}
    del record["label_map"]  # each fold has its own
    (out / "train.json").write_text(json.dumps(record))
    (out / "results").mkdir()
    (out / "results" / "report.html").write_text("")
    made = batchseg.report(out)
    assert made.verdict.endswith(
        "8 images, each predicted by one of 2 models that had not seen it: mean IoU 0.900."
    )
    page = ReadPage.of(made.path)
    assert [len(line) for line in lines(page, "loss")] == [5, 5]
    assert [given["href"] for given in page.all("a") if "report" in str(given["href"])] == [
        "results/report.html"
    ]
    first, second = (
        next(row["iou"] for row in each.classes if (row["epoch"], row["class_id"]) == (3, 1)) for each in kept
    )
    assert page.figures["class.1.iou"] == {str((first + second) / 2)}
    assert page.figures["class.1.iou.2"] == {str(second)}
    assert page.figures["fold.2.mean_iou"] == {"0.75"} and made.pictures == 6
    assert len(whole.history) == 5
    elsewhere = ReadPage.of(batchseg.report(out, output=tmp_path / "page.html").path)
    assert not [given for given in elsewhere.all("a") if "results" in str(given["href"])]


def test_what_is_refused_says_so(tmp_path: Path) -> None:
    out = tmp_path / "out"
    write_training(out)
    refused = CliRunner().invoke(cli, ["report", str(out), "--against", str(out)])
    assert refused.exit_code == 2 and "against (--against) compares results" in refused.output
    shown = CliRunner().invoke(cli, ["report", str(out), "--json"])
    assert json.loads(shown.stdout)["pictures"] == 3
    (out / "class_history.parquet").write_bytes(b"no table")
    refused = CliRunner().invoke(cli, ["report", str(out)])
    assert refused.exit_code == 1 and "class_history.parquet: cannot be read" in refused.output
    (out / "train.json").write_text("{")
    refused = CliRunner().invoke(cli, ["report", str(out)])
    assert refused.exit_code == 1 and "train.json: cannot be read" in refused.output
    assert pq.read_table(out / "history.parquet").num_rows == 5
