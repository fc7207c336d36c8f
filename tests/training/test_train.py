"""`batchseg train` with real Ray Train, on pictures that the tests draw, and what stops it."""

from __future__ import annotations

import json
import resource
import shutil
import signal
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from threading import Event, Thread
from typing import Any

import duckdb
import numpy as np
import psutil
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
import yaml
from click.testing import CliRunner, Result
from PIL import Image
from safetensors.torch import load_file
from segmentors.llm.language_models import save_language_models, scenes
from transformers import (
    AutoModelForSemanticSegmentation,
    BertConfig,
    BertModel,
    SegformerConfig,
    SegformerForSemanticSegmentation,
    SegformerImageProcessor,
)

import batchseg
from batchseg.cli.group import cli
from batchseg.config.base import METRICS
from batchseg.config.load import read_config
from batchseg.config.train import TrainConfig
from batchseg.errors import ModelError, OutputError, SourceError
from batchseg.training.kept import Kept
from batchseg.training.one import earlier_record

SIDE = 64
LANGUAGE = "reader.language_model."
CLASSES = ["air", "organ", "vessel", "lesion"]
SMALL = {"widths": [16, 24, 32, 32], "decoder_width": 32, "size": SIDE}


def slice_of(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Four classes in three shades of grey: a bright disc is a lesion in the organ, a vessel in air."""
    rows, columns = np.mgrid[:SIDE, :SIDE]

    def disc(row: float, column: float, radius: float) -> np.ndarray:
        return (rows - row) ** 2 + (columns - column) ** 2 < radius**2

    truth = np.zeros((SIDE, SIDE), np.uint8)
    left = 20 + 4 * rng.random()
    truth[disc(32, left, 17)] = 1
    truth[disc(32 + rng.integers(-6, 7), left + rng.integers(-5, 6), 7)] = 3
    truth[disc(rng.integers(14, 50), 52, 7)] = 2
    shades = np.array([30, 110, 200, 200]) + rng.integers(-10, 11)
    return np.clip(shades[truth] + rng.normal(0, 8, truth.shape), 0, 255).astype(np.uint8), truth


@pytest.fixture(scope="module")
def slices(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of 40 slices and their truth, a label map, and a small language model."""
    folder, rng = tmp_path_factory.mktemp("slices"), np.random.default_rng(2)
    for index in range(40):
        for name, pixels in zip(("images", "truth"), slice_of(rng), strict=True):
            path = folder / name / f"patient_{index % 4}" / f"{index:02d}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels).save(path)
    (folder / "labels.yaml").write_text(yaml.safe_dump({"classes": CLASSES}))
    torch.manual_seed(0)
    sizes = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 48}
    BertModel(BertConfig(**sizes, vocab_size=20, max_position_embeddings=32)).save_pretrained(folder / "bert")
    return folder


def settings(slices: Path, output: Path, **more: Any) -> TrainConfig:
    base = {
        "source": {"path": str(slices / "images"), "truth": str(slices / "truth")},
        "output": str(output),
        "labels": str(slices / "labels.yaml"),
        "model": {"language_model": str(slices / "bert"), **SMALL},
        "validation": ["patient_3/*"],
        "warmup_steps": 10,
        "augmentation": {"scale": [1, 1.2]},
    }
    return read_config(TrainConfig, overrides={**base, **more})


def command(*words: object) -> Result:
    return CliRunner().invoke(cli, ["train", *(str(word) for word in words)])


@pytest.mark.usefixtures("ray_session")
@pytest.mark.slow
def test_a_folder_of_slices_becomes_a_model_that_run_uses(slices: Path, tmp_path: Path) -> None:
    told: list[dict[str, Any]] = []
    config = settings(slices, tmp_path / "out", epochs=12, batch_size=5)
    result = batchseg.train(config, told.append)
    history = pq.read_table(result.history).to_pylist()
    assert [row["step"] for row in history] == [6 * epoch for epoch in range(1, 13)]
    assert [news["epoch"] for news in told if "epoch" in news] == history
    # the language model stays what it was, to float16
    learnt, source = (load_file(f"{folder}/model.safetensors") for folder in (result.model, slices / "bert"))
    taken = {key.removeprefix(LANGUAGE): value for key, value in learnt.items() if key.startswith(LANGUAGE)}
    assert len(taken) > 30
    assert all(source[key].half().equal(taken[key]) for key in taken if "word_embeddings" not in key)
    best = max(history, key=lambda row: row["mean_iou"])
    assert best["mean_iou"] > history[0]["mean_iou"] + 0.1
    assert result.best_epoch == best["epoch"] and result.metrics == {name: best[name] for name in METRICS}

    results = tmp_path / "results"
    source = {"path": config.source.path, "truth": config.source.truth}
    found = batchseg.run(
        batchseg.load_config(
            overrides={
                "source": source,
                "segmentor": {"model": result.model, "precision": "fp32"},
                "output": str(results),
                "split": "validation",
            }
        )
    )
    assert found.record["split"] == {"train": 30, "validation": 10} and found.listed == 10
    # float16 on disk and float32 in use, against whatever precision the training had
    assert found.metrics["mean_iou"] == pytest.approx(best["mean_iou"], abs=0.02)
    names = duckdb.sql(f"select class_name from '{results}/classes.parquet' order by class_id").fetchall()
    assert [name for (name,) in names] == CLASSES

    # asked again, a finished training is only reported; with other settings it is refused
    assert batchseg.train(config) == result
    refused = command("--output", tmp_path / "out", "--config", as_file(config, tmp_path), "--epochs", 99)
    assert refused.exit_code == 1 and "epochs: 12 -> 99" in refused.stderr


def as_file(config: TrainConfig, folder: Path) -> Path:
    path = folder / "train.yaml"
    path.write_text(yaml.safe_dump(config.model_dump(mode="json")))
    return path


@pytest.mark.usefixtures("ray_session")
@pytest.mark.slow
def test_a_text_head_keeps_what_reads_its_names(tmp_path: Path) -> None:
    save_language_models(tmp_path)
    pixels, labels = scenes()
    for index in range(4):
        picture = (pixels[index % 2].permute(1, 2, 0) * 50 + 120).clamp(0, 255).byte().numpy()
        for name, array in (("images", picture), ("truth", labels[index % 2].byte().numpy())):
            (tmp_path / name).mkdir(exist_ok=True)
            Image.fromarray(array).save(tmp_path / name / f"{index}.png")
    (tmp_path / "labels.yaml").write_text("classes: [background, disc, bar]")
    model = {"language_model": str(tmp_path / "bert"), "head": "text", "open_vocabulary": True, **SMALL}
    config = settings(tmp_path, tmp_path / "out", model=model, validation=0.5, epochs=2, batch_size=2)
    result = batchseg.train(config)
    (pair,) = result.record["class_cosines"]
    assert pair["classes"] == ["disc", "bar"] and -1 <= pair["read"] < 0.99
    image = np.asarray(Image.open(tmp_path / "images" / "0.png"))
    named = {"model": result.model, "classes": ["bar", "traffic light"], "precision": "fp32"}
    prepare, segmentor = batchseg.load_segmentor(named, precision="fp32")
    (prediction,) = segmentor.segment([prepare(image)])
    assert prediction.labels_HW.shape == (SIDE, SIDE) and prediction.labels_HW.max() <= 1


@pytest.mark.usefixtures("ray_session")
@pytest.mark.slow
def test_a_segformer_goes_on_with_other_classes(slices: Path, tmp_path: Path) -> None:
    shape = {"depths": [1, 1, 1, 1], "hidden_sizes": [8, 16, 24, 32], "decoder_hidden_size": 32}
    torch.manual_seed(1)
    known = SegformerForSemanticSegmentation(SegformerConfig(**shape, num_labels=2))
    known.save_pretrained(tmp_path / "known")
    SegformerImageProcessor(size={"height": SIDE, "width": SIDE}).save_pretrained(tmp_path / "known")
    manifest = tmp_path / "list.parquet"
    files = sorted((slices / "images").rglob("*.png"))
    rows = [
        {
            "image": str(path),
            "truth": str(path).replace("/images/", "/truth/"),
            "split": ("train", "train", "test", "val")[index % 4],
        }
        for index, path in enumerate(files)
    ]
    rows[0]["truth"] = str(tmp_path / "nowhere.png")
    pq.write_table(pa.Table.from_pylist(rows), manifest)
    result = CliRunner().invoke(
        cli,
        [
            *("train", str(manifest), "--model", str(tmp_path / "known"), "--output", str(tmp_path / "out")),
            *("--labels", str(slices / "labels.yaml"), "--epochs", "2", "--batch-size", "4", "--json"),
            *("--set", "accumulate=2", "--set", "learning_rate=0.01", "--set", "class_weights.lesion=2"),
        ],
    )
    assert result.exit_code == 0, result.output
    record = json.loads(result.stdout)
    assert record["images"] == {"train": 20, "validation": 10}
    assert record["steps"] == 2 * (20 // 8)
    assert [fault["id"] for fault in record["faults"]] == [rows[0]["image"]]
    learnt = AutoModelForSemanticSegmentation.from_pretrained(tmp_path / "out" / "model")
    assert list(learnt.config.id2label.values()) == CLASSES
    assert learnt.config.calibration_temperature == record["temperature"]
    before, after = known.state_dict(), learnt.state_dict()
    kernels = [key for key, value in before.items() if "decode" not in key and value.ndim == 4]
    assert not all(torch.allclose(after[key].float(), before[key], atol=1e-3) for key in kernels)


@pytest.mark.usefixtures("ray_session")
@pytest.mark.slow
def test_a_loss_that_is_no_number_stops_and_keeps_the_last_good_epoch(slices: Path, tmp_path: Path) -> None:
    files = sorted((slices / "images").rglob("*.png"))[:12]
    for path in files:
        for name in ("images", "truth"):
            copy = tmp_path / name / path.name
            copy.parent.mkdir(exist_ok=True)
            pixels = np.asarray(Image.open(str(path).replace("/images/", f"/{name}/")))
            Image.fromarray(pixels if name == "images" else np.minimum(pixels, 2)).save(copy)

    def spoil(news: dict[str, Any]) -> None:
        """After the first epoch the truth shows a class whose weight is beyond all bounds."""
        if news.get("epoch", {}).get("epoch") == 1:
            for path in files:
                Image.fromarray(np.full((SIDE, SIDE), 3, np.uint8)).save(tmp_path / "truth" / path.name)

    config = settings(
        slices,
        tmp_path / "out",
        source={"path": str(tmp_path / "images"), "truth": str(tmp_path / "truth")},
        validation=0.25,
        class_weights={"lesion": 3e38},
        epochs=1000,
        patience=1000,
    )
    with pytest.raises(ModelError, match=r"not a finite number at step \d+; the best epoch before it, \d+,"):
        batchseg.train(config, spoil)
    weights = AutoModelForSemanticSegmentation.from_pretrained(tmp_path / "out" / "model").state_dict()
    assert all(value.isfinite().all() for value in weights.values())
    assert pq.read_table(tmp_path / "out" / "history.parquet").num_rows >= 1


@pytest.mark.usefixtures("ray_session")
def test_weights_beyond_bounds_after_the_last_step_are_not_saved(slices: Path, tmp_path: Path) -> None:
    # a step of Adam is as long as the rate: 1e6 is a number in float32, and none in the file's float16
    config = settings(slices, tmp_path / "out", epochs=1, batch_size=30, warmup_steps=0, learning_rate=1e6)
    with pytest.raises(ModelError, match="a weight is not a finite number in float16 at step 1; no epoch"):
        batchseg.train(config)
    assert not (tmp_path / "out" / "model").exists()


@pytest.mark.usefixtures("ray_session")
@pytest.mark.slow
def test_a_full_disk_at_an_epoch_stops_and_goes_on_later(slices: Path, tmp_path: Path) -> None:
    """The worker may write no file as large as its state: as where there is no room for it."""
    config = settings(slices, tmp_path / "out", model={"mode": "none", **SMALL}, epochs=3, batch_size=10)
    kept = Kept(tmp_path / "out" / "state")

    def fill(news: dict[str, Any]) -> None:
        if news.get("epoch", {}).get("epoch") == 1:
            for process in psutil.Process().children(recursive=True):
                if "TrainWorker" in " ".join(process.cmdline()):
                    resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (50_000, resource.RLIM_INFINITY))

    with pytest.raises(OutputError, match="state: cannot be written: a file broke off, as where the disk"):
        batchseg.train(config, fill)
    first = kept.finished
    assert first >= 1 and not (tmp_path / "out" / "model").exists()
    told: list[dict[str, Any]] = []
    assert batchseg.train(config, told.append).epochs == 3
    assert min(news["step"] for news in told if "step" in news) >= 3 * first


@pytest.mark.usefixtures("ray_session")
@pytest.mark.slow
def test_a_model_of_settings_that_came_to_nothing_is_not_gone_on_with(slices: Path, tmp_path: Path) -> None:
    few = {"epochs": 1, "batch_size": 30}
    with pytest.raises(SourceError, match="no image is for validation"):
        batchseg.train(settings(slices, tmp_path / "out", validation=["nobody/*"], seed=1, **few))
    model = {"mode": "none", "widths": [8, 16, 16, 16], "decoder_width": 16, "size": SIDE}
    result = batchseg.train(settings(slices, tmp_path / "out", model=model, **few))
    assert json.loads(Path(result.model, "config.json").read_text())["widths"] == model["widths"]


@pytest.mark.parametrize("name", ["run.json", "runs/1.json", "images/part.parquet"])
def test_results_of_a_run_are_no_place_for_a_training(slices: Path, tmp_path: Path, name: str) -> None:
    kept = tmp_path / "out" / name
    kept.parent.mkdir(parents=True)
    kept.write_text("{}")
    result = command("--config", as_file(settings(slices, tmp_path / "out"), tmp_path))
    assert (result.exit_code, result.stderr.count("\n")) == (1, 1), result.stderr
    assert f"holds {name.partition('/')[0]}, as the results of `batchseg run` do" in result.stderr
    assert [path for path in (tmp_path / "out").rglob("*") if path.is_file()] == [kept]


def interrupted(config: TrainConfig, when: Callable[[], bool]) -> tuple[str, list[dict[str, Any]]]:
    """Train until something is so, then as after Ctrl-C: what is said, and what was told before."""
    ended, told = Event(), list[dict[str, Any]]()

    def watch() -> None:
        while not ended.wait(0.01):
            if when():
                signal.raise_signal(signal.SIGINT)
                return

    watcher = Thread(target=watch)
    watcher.start()
    try:
        with pytest.raises(KeyboardInterrupt) as caught:
            batchseg.train(config, told.append)
    finally:
        ended.set()
        watcher.join()
    return str(caught.value), told


@pytest.mark.usefixtures("ray_session", "heard_interrupts")
def test_an_interrupt_repeats_no_epoch_and_parts_the_images_as_before(slices: Path, tmp_path: Path) -> None:
    """Also where epochs are not validated; images that came in between are not part of it."""
    for name in ("images", "truth"):
        shutil.copytree(slices / name / "patient_0", tmp_path / name)
    config = settings(
        slices,
        tmp_path / "out",
        source={"path": str(tmp_path / "images"), "truth": str(tmp_path / "truth")},
        model={"mode": "none", **SMALL},
        validation=0.3,
        batch_size=3,
        epochs=1000,
        validate_every=1000,
    )
    kept = Kept(tmp_path / "out" / "state")
    sentence, _ = interrupted(config, lambda: kept.finished >= 2)
    first = kept.finished
    goes_on = f"and the same command goes on from there with epoch {first + 1}"
    assert sentence == f"interrupted; epochs 1 to {first} are kept, {goes_on}"
    split = (tmp_path / "out" / "split.parquet").read_bytes()
    for name in ("images", "truth"):
        shutil.copy(tmp_path / name / "00.png", tmp_path / name / "later.png")

    sentence, told = interrupted(config, lambda: kept.finished > first)
    assert f"epochs 1 to {kept.finished} are kept" in sentence
    assert all(
        news["step"] >= first * 2 for news in told if "step" in news
    )  # 2 steps an epoch: 7 of 10 learn
    last = kept.last()
    assert last is not None and last["state"]["epoch"] == kept.finished
    assert last["state"]["step"] == len(last["state"]["losses"]) == 2 * kept.finished
    assert (tmp_path / "out" / "split.parquet").read_bytes() == split
    parts = pq.read_table(tmp_path / "out" / "split.parquet")
    assert Counter(parts["split"].to_pylist()) == {"train": 7, "validation": 3}
    assert "later.png" not in parts["id"].to_pylist()


@pytest.mark.usefixtures("ray_session", "heard_interrupts")
def test_an_interrupt_in_the_first_epoch_says_that_it_is_not_kept(slices: Path, tmp_path: Path) -> None:
    config = settings(slices, tmp_path / "out", model={"mode": "none", **SMALL})
    sentence, _ = interrupted(config, (tmp_path / "out" / "train.json").exists)
    assert sentence == "interrupted in epoch 1, which is not kept; the same command begins with it again"


@pytest.mark.parametrize(
    ("changes", "code", "sentence"),
    [
        ({"model": {"language_model": "bert", "size": 128}}, 1, "model.size 128: the image gives 65 tokens"),
        ({"model": {"language_model": "bert", "layers": [1, 2], **SMALL}}, 1, "layers 0 to 1, not 1 to 2"),
        ({"model": {"mode": "none", "language_model": "bert"}}, 2, "language_model is needed by every mode"),
        ({"model": {"language_model": "bert", "backbone_weights": "x.pt"}}, 2, "backbone_weights"),
        ({"validation": ["nobody/*"]}, 1, "no image is for validation: there are 40 images"),
        ({"validation": ["*"]}, 1, "no image is left to learn from"),
        ({"class_weights": {"bone": 2.0}}, 2, "class_weights: 'bone' is no class; they are air, organ"),
        (
            {"labels": None, "model": {"language_model": "bert", "head": "text", **SMALL}},
            1,
            "needs the names of its classes: give --labels",
        ),
        ({"labels": "two.yaml"}, 2, "do not fit the label map"),
        ({"model": "bert"}, 1, "is a bert model; those that can be trained here"),
        pytest.param(  # the hub is asked, and asked again
            {"model": "nowhere"}, 1, "model nowhere: cannot be loaded", marks=pytest.mark.slow
        ),
        ({"model": "./nowhere"}, 1, "model ./nowhere: cannot be loaded: there is no such folder"),
        ({"model": {"mode": "none", "widths": [8, 0, 8, 8]}}, 2, "widths"),
        ({"seed": 2**70}, 2, "seed"),
        ({"batch_size": 10**6}, 2, "batch_size"),
        ({"output": "s3://bucket/out"}, 1, "must be a folder on a disk"),
        ({"output": "THE_IMAGES"}, 1, "images: results would lie among the images"),
        ({"augmentation": {"scale": [2, 1]}}, 2, "augmentation.scale"),
        ({"epoch": 3}, 2, "epoch"),
        (
            {"model": {"mode": "none", "colour": 1}},
            2,
            "colour: unknown key; did you mean augmentation.colour?\n",
        ),
        ({"validation": 5}, 2, "  validation: Input should be less than 1 (given: 5)\n"),
        ({"device": "cuda"}, 2, "device is cuda, but Ray sees no GPU"),
        ({"workers": 999}, 2, "workers is 999, but each takes a CPU, and there is room for "),
    ],
    ids=str,
)
@pytest.mark.usefixtures("ray_session")
def test_what_cannot_be_trained_says_so(
    slices: Path, tmp_path: Path, changes: dict[str, Any], code: int, sentence: str
) -> None:
    (slices / "two.yaml").write_text("classes: [air, organ]")
    config = settings(slices, tmp_path / "out").model_dump(mode="json")
    text = yaml.safe_dump({**config, **changes}).replace(": bert", f": {slices / 'bert'}")
    path = tmp_path / "train.yaml"
    text = text.replace("two.yaml", str(slices / "two.yaml"))
    path.write_text(text.replace("THE_IMAGES", str(slices / "images")))
    result = command("--config", path)
    assert result.exit_code == code, result.output
    assert sentence in result.stderr and "Traceback" not in result.stderr
    assert not (slices / "images" / "state").exists()


def test_masks_of_0_and_255_are_refused_before_anything_is_learnt(tmp_path: Path) -> None:
    for number in range(4):
        for name, pixels in (
            ("images", np.zeros((8, 8), np.uint8)),
            ("truth", 255 * np.eye(8, dtype=np.uint8)),
        ):
            (tmp_path / name).mkdir(exist_ok=True)
            Image.fromarray(pixels).save(tmp_path / name / f"{number}.png")
    (tmp_path / "labels.yaml").write_text("classes: [background, object]")
    config = settings(tmp_path, tmp_path / "out", model={"mode": "none", **SMALL}, validation=0.25)
    result = command("--config", as_file(config, tmp_path))
    assert (result.exit_code, "`truth_ids: [255]`" in result.stderr) == (2, True)
    assert "Traceback" not in result.stderr and not (tmp_path / "out" / "train.json").exists()


def test_settings_that_came_later_do_not_make_it_another_training(slices: Path, tmp_path: Path) -> None:
    config = settings(slices, tmp_path)
    recorded = config.model_dump(mode="json")
    later = ("sampling", "auxiliary", "tiling")
    before = {name: value for name, value in recorded.items() if name not in later}
    (tmp_path / "train.json").write_text(json.dumps({"status": "started", "config": before}))
    assert earlier_record(config, tmp_path) is not None
    with pytest.raises(OutputError, match="sampling: 'uniform' -> 'balanced'"):
        earlier_record(config.model_copy(update={"sampling": "balanced"}), tmp_path)
