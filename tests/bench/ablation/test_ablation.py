"""The ablation's figures against scipy, and a small one from end to end."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image
from safetensors.torch import load_file
from scipy.ndimage import binary_dilation
from scipy.stats import ttest_rel
from segmentors.llm.language_models import save_language_models
from sklearn.metrics import jaccard_score

import batchseg
from batchseg.config.load import read_config
from batchseg.config.segmentor import HuggingFaceSegmentor
from batchseg.config.train import TrainConfig
from batchseg.errors import ConfigError
from batchseg.segmentors.huggingface.checkpoint import HuggingFaceCheckpoint
from batchseg.training.start import write_start
from tests.bench.ablation.ablation import ablation
from tests.bench.ablation.controls import with_control
from tests.bench.ablation.judge import Edges
from tests.bench.ablation.report import interval, paired

SMALL = {"widths": [8, 8, 8, 8], "decoder_width": 8, "size": 64}
OURS, THEIRS = [0.71, 0.69, 0.74, 0.70], [0.70, 0.70, 0.71, 0.66]


def test_an_interval_is_that_of_the_paired_t_test() -> None:
    rows = [
        {"arm": arm, "fraction": 1.0, "seed": seed, "miou_foreground": value}
        for arm, values in (("a", OURS), ("b", THEIRS))
        for seed, value in enumerate(values)
    ]
    differences = paired(pa.Table.from_pylist(rows[::-1]), "a", "b", 1.0)
    expected = ttest_rel(OURS, THEIRS).confidence_interval(0.95)
    assert interval(differences) == pytest.approx((expected.low, expected.high))


def test_edges_within_two_pixels_agree() -> None:
    rng = np.random.default_rng(5)
    predicted, truth = (np.kron(rng.integers(0, 3, (4, 5)), np.ones((9, 9), int)) for _ in range(2))

    def edge(labels: np.ndarray) -> np.ndarray:
        right = np.pad(labels[:, 1:] != labels[:, :-1], ((0, 0), (0, 1)))
        return right | np.pad(labels[1:] != labels[:-1], ((0, 1), (0, 0)))

    near = np.ones((5, 5), bool)
    ours, theirs = edge(predicted), edge(truth)
    precision = (ours & binary_dilation(theirs, near)).sum() / ours.sum()
    recall = (theirs & binary_dilation(ours, near)).sum() / theirs.sum()
    edges = Edges()
    edges.add(predicted, truth)
    assert edges.f == pytest.approx(2 * precision * recall / (precision + recall))
    assert Edges().f == 0


@pytest.fixture(scope="module")
def language_models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("language")
    save_language_models(folder)
    (folder / "labels.yaml").write_text("classes: [dark, bright]")
    return folder


def control(language_models: Path, **model: object) -> TrainConfig:
    settings = {
        "source": "unused",
        "output": "unused",
        "labels": str(language_models / "labels.yaml"),
        "model": {"language_model": str(language_models / "bert"), **SMALL, **model},
    }
    return read_config(TrainConfig, overrides=settings)


def test_controls_have_other_weights_in_the_language_model_and_nowhere_else(
    language_models: Path, tmp_path: Path
) -> None:
    config = control(language_models)
    assert with_control("frozen", config, tmp_path / "frozen") is config
    write_start(config, tmp_path / "frozen")
    arms = {"frozen": load_file(tmp_path / "frozen/model.safetensors")}
    for arm in ("random", "shuffled"):
        changed = with_control(arm, config, tmp_path / arm)
        assert (changed.model, changed.learning_rate) == (str(tmp_path / arm), 1e-3)
        start = HuggingFaceCheckpoint.open(HuggingFaceSegmentor(model=str(changed.model)))
        network = start.load("cpu", "fp32").network
        learns = {name for name, each in network.named_parameters() if each.requires_grad}
        assert learns and not any("language_model" in name for name in learns)
        arms[arm] = load_file(tmp_path / arm / "model.safetensors")
    weight = "reader.language_model.encoder.layer.0.intermediate.dense.weight"
    values = {arm: state[weight].flatten().sort()[0] for arm, state in arms.items()}
    assert not arms["shuffled"][weight].equal(arms["frozen"][weight])
    assert values["shuffled"].equal(values["frozen"]) and not values["random"].equal(values["frozen"])
    for arm in ("random", "shuffled"):
        same = {key for key, value in arms[arm].items() if value.equal(arms["frozen"][key])}
        assert {key for key in arms[arm] if "language_model" not in key} <= same


def test_a_control_needs_a_frozen_language_model(language_models: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="the arm random is a control"):
        with_control("random", control(language_models, mode="full"), tmp_path / "start")
    with pytest.raises(ConfigError, match=r"model\.mode"):
        control(language_models, mode="random_frozen")


@pytest.mark.slow
@pytest.mark.usefixtures("ray_session")
def test_arms_are_trained_alike_and_compared(tmp_path: Path) -> None:
    rng, rows = np.random.default_rng(0), []
    for index in range(16):
        truth = np.kron(rng.integers(0, 2, (2, 2)), np.ones((32, 32), int)).astype(np.uint8)
        Image.fromarray(90 + 90 * truth).save(tmp_path / f"{index}.png")
        Image.fromarray(truth).save(tmp_path / f"{index}_truth.png")
        split = ("train", "train", "validation", "test")[index % 4]
        rows.append({"image": f"{index}.png", "truth": f"{index}_truth.png", "split": split})
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "list.parquet")
    (tmp_path / "labels.yaml").write_text("classes: [dark, bright]")
    base = {
        "source": str(tmp_path / "list.parquet"),
        "output": "unused",
        "labels": str(tmp_path / "labels.yaml"),
        "epochs": 2,
        "batch_size": 4,
    }
    arms = {
        decoder: read_config(
            TrainConfig,
            overrides={
                **base,
                "model": {
                    "mode": "none",
                    "decoder": decoder,
                    "widths": [8, 8, 8, 8],
                    "decoder_width": 8,
                    "size": 64,
                },
            },
        )
        for decoder in ("fpn", "mlp")
    }
    report = ablation(arms, str(tmp_path / "out"), seeds=(0, 1), fractions=(1.0, 0.5))
    table = pq.read_table(tmp_path / "out" / "ablation.parquet").to_pylist()
    assert len(table) == 8 and {row["steps"] for row in table} == {4}
    assert "fpn minus" in report.read_text() and "50%" in report.read_text()

    # one run's figure, from the masks that `run` writes with the same model
    row = next(row for row in table if (row["arm"], row["fraction"], row["seed"]) == ("mlp", 0.5, 1))
    job = {
        "source": str(tmp_path / "list.parquet"),
        "segmentor": {"model": str(tmp_path / "out/mlp/0.5/1/model"), "precision": "fp32"},
        "output": {"path": str(tmp_path / "results"), "mask_name": "full"},
    }
    batchseg.run(batchseg.load_config(overrides=job))
    pairs = [
        (Image.open(tmp_path / f"{index}_truth.png"), Image.open(tmp_path / f"results/masks/{index}.png.png"))
        for index in range(3, 16, 4)
    ]
    truth, predicted = (
        np.concatenate([np.asarray(one).ravel() for one in each]) for each in zip(*pairs, strict=True)
    )
    assert row["miou_foreground"] == pytest.approx(
        jaccard_score(truth, predicted, labels=[1], average="macro")
    )
