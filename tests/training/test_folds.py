"""Cross-validation: what each fold predicts, what all of it is together, and how it goes on."""

from __future__ import annotations

import json
import signal
from collections import Counter
from dataclasses import replace
from pathlib import Path
from threading import Event, Thread
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner, Result
from PIL import Image
from safetensors.torch import load_file

import batchseg
from batchseg.cli.group import cli
from batchseg.config.base import METRICS
from batchseg.config.load import read_config
from batchseg.config.train import TrainConfig
from batchseg.errors import SourceError
from tests.report_pages import ReadPage

SIDE, IMAGES = 32, 12
TINY = {"mode": "none", "widths": [8, 8, 8, 8], "decoder_width": 8, "size": SIDE}


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A dark half and a bright one of each image, and a manifest that says whose they are."""
    folder, rng = tmp_path_factory.mktemp("pairs"), np.random.default_rng(3)
    rows = []
    for number in range(IMAGES):
        truth = np.zeros((SIDE, SIDE), np.uint8)
        truth[:, rng.integers(8, 24) :] = 1
        picture = (60 + 120 * truth + rng.normal(0, 10, truth.shape)).clip(0, 255).astype(np.uint8)
        for name, pixels in (("images", picture), ("masks", truth)):
            (folder / name).mkdir(exist_ok=True)
            Image.fromarray(pixels).save(folder / name / f"{number:02d}.png")
        row = {"image": f"images/{number:02d}.png", "truth": f"masks/{number:02d}.png"}
        rows.append({**row, "id": f"{number:02d}", "patient": f"p{number // 2}", "site": "north"})
    import pyarrow as pa

    pq.write_table(pa.Table.from_pylist(rows), folder / "manifest.parquet")
    return folder


def config(pairs: Path, output: Path, **more: Any) -> TrainConfig:
    base: dict[str, Any] = {
        "source": str(pairs / "manifest.parquet"),
        "output": str(output),
        "model": TINY,
        "epochs": 2,
        "batch_size": 4,
        "warmup_steps": 2,
        "folds": 2,
        "group": "patient",
    }
    return read_config(TrainConfig, overrides={**base, **more})


def rows_of(place: Path) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = batchseg.open_results(str(place)).images.to_pylist()
    return found


@pytest.mark.usefixtures("ray_session")
def test_every_image_is_predicted_once_by_a_model_that_never_saw_its_group(
    pairs: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    told: list[dict[str, Any]] = []
    result = batchseg.train(config(pairs, out, report=True), told.append)
    assert isinstance(result, batchseg.FoldsResult)
    assert [news["fold"] for news in told if "fold" in news] == [1, 2]
    whole = rows_of(out / "results")
    assert sorted(row["id"] for row in whole) == [f"{number:02d}" for number in range(IMAGES)]
    fingerprints = {row["id"]: row["fingerprint"] for row in whole}
    for fold in (1, 2):
        predicted = rows_of(out / f"fold-{fold}" / "results")
        split = pq.read_table(out / f"fold-{fold}" / "model" / "split.parquet").to_pylist()
        seen = {int(row["id"]) // 2 for row in split if row["split"] != "left_out"}
        assert predicted and not seen & {int(row["id"]) // 2 for row in predicted}
        assert len(seen) == 3
        assert {fingerprints[row["id"]] for row in predicted} == {predicted[0]["fingerprint"]}
        assert result.record["folds"][fold - 1]["images"] == len(predicted) == 6
    assert len({*fingerprints.values()}) == 2

    # the tables of the folds are those of the whole, and so are their sums
    tables = [batchseg.open_results(str(out / f"fold-{fold}" / "results")) for fold in (1, 2)]
    joined = batchseg.open_results(str(out / "results"))
    for column in ("support", "predicted_pixels"):
        parts = [np.array(table.classes[column].to_pylist()) for table in tables]
        assert joined.classes[column].to_pylist() == sum(parts).tolist()  # type: ignore[union-attr]
    assert joined.pixels.num_rows == sum(table.pixels.num_rows for table in tables)
    matrix = np.zeros((2, 2), np.int64)
    for number in range(IMAGES):
        truth = np.asarray(Image.open(pairs / "masks" / f"{number:02d}.png"))
        mask = joined.mask(f"{number:02d}")
        np.add.at(matrix, (truth.ravel(), mask.ravel()), 1)
    iou = np.diag(matrix) / (matrix.sum(0) + matrix.sum(1) - np.diag(matrix))
    assert result.metrics["mean_iou"] == pytest.approx(iou.mean())
    assert result.metrics["accuracy"] == pytest.approx(np.trace(matrix) / matrix.sum())
    assert {*result.metrics} == {*METRICS}

    # they are ordinary results, and the models an ensemble
    report = batchseg.verify(str(out / "results"))
    assert report.ok and report.rows == report.masks == IMAGES, report.problems
    assert batchseg.suspects(str(out / "results")).probed == IMAGES
    assert Path(batchseg.report(str(out / "results")).path).exists()
    for model in (result.model, out):
        found = batchseg.run(
            pairs / "images", model=model, truth=pairs / "masks", output=tmp_path / f"by-{Path(model).name}"
        )
        assert found.statuses == {"ok": IMAGES}
    assert found.record["config"]["segmentor"]["kind"] == "ensemble"
    assert found.record["split"] == {"train": 12} or found.record["split"]["train"] > 0

    history = pq.read_table(result.history)
    assert history["fold"].to_pylist() == [1, 1, 2, 2]
    of_classes = pq.read_table(out / "class_history.parquet")
    assert Counter(of_classes["fold"].to_pylist()) == {1: 4, 2: 4}
    assert result.page == str(out / "report.html")
    page = ReadPage.of(result.page)
    assert len(page.all("polyline", **{"data-curve": "mean_iou"})) == 2
    assert any(given["href"] == "results/report.html" for given in page.all("a"))
    assert (out / "results" / "report.html").exists()
    assert batchseg.train(config(pairs, out)) == replace(result, page=None)  # only reported
    changed = command(pairs, out, "--folds", 3)
    assert changed.exit_code == 1 and "folds: 2 -> 3" in changed.stderr


def command(pairs: Path, output: Path, *words: object) -> Result:
    settings = [f"--set=model={json.dumps(TINY)}", "--set=warmup_steps=2", "--epochs=2", "--batch-size=4"]
    given = ("train", pairs / "manifest.parquet", "--output", output, "--group", "patient")
    return CliRunner().invoke(cli, [*map(str, (*given, *words)), *settings])


@pytest.mark.slow
@pytest.mark.usefixtures("ray_session", "heard_interrupts")
def test_an_interrupted_fold_goes_on_and_ends_as_if_it_had_not_been(pairs: Path, tmp_path: Path) -> None:
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    batchseg.train(config(pairs, whole))
    ended = Event()

    def watch() -> None:
        while not ended.wait(0.01):
            if any((cut / "fold-2" / "state").glob("epoch-*.pt")):
                signal.raise_signal(signal.SIGINT)
                return

    watcher = Thread(target=watch)
    watcher.start()
    try:
        with pytest.raises(KeyboardInterrupt, match=r"^fold 2 of 2: interrupted; "):
            batchseg.train(config(pairs, cut))
    finally:
        ended.set()
        watcher.join()
    first = (cut / "fold-1" / "model" / "model.safetensors").read_bytes()
    folds = (cut / "folds.parquet").read_bytes()
    batchseg.train(config(pairs, cut))
    assert (cut / "folds.parquet").read_bytes() == folds
    assert (cut / "fold-1" / "model" / "model.safetensors").read_bytes() == first
    for fold in ("1", "2"):
        ours, theirs = (load_file(place / "folds" / fold / "model.safetensors") for place in (cut, whole))
        assert all(ours[name].equal(theirs[name]) for name in theirs)
    columns = ("id", "mask", "mean_iou", "accuracy", "truth_pixels")
    found = [
        sorted(tuple(row[name] for name in columns) for row in rows_of(place / "results"))
        for place in (cut, whole)
    ]
    assert found[0] == found[1]
    for name in (
        "class_history.parquet",
        "fold-2/class_history.parquet",
        "fold-2/validation_pictures.parquet",
    ):
        assert pq.read_table(cut / name).equals(pq.read_table(whole / name))


@pytest.mark.parametrize(
    ("words", "code", "sentence"),
    [
        (("--folds", 7), 1, "folds is 7, and there are 6 values of the column patient"),
        (("--folds", 2, "--set", "group=site"), 1, "the column site has one value for all images, 'north'"),
        (("--folds", 2, "--set", "group=ward"), 1, "group names the column ward"),
        (("--folds", 2, "--validation", "0*"), 2, "folds parts the images, and so do the globs"),
        (("--folds", 1), 2, "folds"),
    ],
    ids=str,
)
def test_what_cannot_be_folded_says_so(
    pairs: Path, tmp_path: Path, words: tuple[object, ...], code: int, sentence: str
) -> None:
    result = command(pairs, tmp_path / "out", *words)
    assert result.exit_code == code and sentence in result.stderr and "Traceback" not in result.stderr
    assert not (tmp_path / "out" / "train.json").exists()


def test_a_folder_has_no_groups(pairs: Path, tmp_path: Path) -> None:
    source = {"path": str(pairs / "images"), "truth": str(pairs / "masks")}
    with pytest.raises(SourceError, match="it has no columns of its own, as a manifest may have"):
        batchseg.train(config(pairs, tmp_path / "out", source=source))
