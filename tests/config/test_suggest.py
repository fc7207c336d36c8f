"""What a wrong key probably means, wherever it stands."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import batchseg
from batchseg.config.doctor import DoctorConfig
from batchseg.config.evaluate import EvaluateConfig
from batchseg.config.train import TrainConfig
from batchseg.errors import ConfigError, LabelMapError

JOB = {"source": "photos", "segmentor": "threshold", "output": "results"}


@pytest.mark.parametrize(
    ("setting", "sentence"),
    [
        ("outptu=a", "outptu: unknown key; did you mean output?"),
        ("segmenter=a", "segmenter: unknown key; did you mean segmentor?"),
        ("source.thruth=a", "source.thruth: unknown key; did you mean truth?"),
        ("source.Include=[a]", "source.Include: unknown key; did you mean include?"),
        ("segmentor.batch-size=4", "segmentor.batch-size: unknown key; did you mean batch_size?"),
        ("segmentor.level=[4]", "segmentor.level: unknown key; did you mean levels?"),
        ("ray.job.nam=a", "ray.job.nam: unknown key; did you mean name?"),
        ("truth=masks", "truth: says how truths are read; their folder is source.truth (--truth)"),
        ("overlays=true", "overlays: unknown key; did you mean output.overlays?"),
        ("moon=full", "moon: unknown key\n"),
        ("gates.minimum.mean_ion=0.5", "unknown metric 'mean_ion'; did you mean mean_iou?; available"),
    ],
)
def test_a_wrong_key(setting: str, sentence: str) -> None:
    with pytest.raises(ConfigError) as raised:
        batchseg.load_config(settings=[setting], overrides=JOB)
    assert sentence in f"{raised.value}\n"


@pytest.mark.parametrize(
    ("kind", "missing"),
    [
        (batchseg.RunConfig, {"source": "the argument SOURCE", "segmentor": "--model", "output": "--output"}),
        (
            EvaluateConfig,
            {"masks": "the argument MASKS", "truth": "the argument TRUTH", "labels": "--labels"},
        ),
        (DoctorConfig, {"source": "the argument SOURCE"}),
        (TrainConfig, {"source": "the argument SOURCE", "output": "--output"}),
        (batchseg.CompareConfig, {"old": "the argument OLD", "new": "the argument NEW"}),
    ],
)
def test_what_is_missing_says_what_gives_it(kind: Any, missing: dict[str, str]) -> None:
    with pytest.raises(ConfigError) as raised:
        batchseg.read_config(kind)
    for key, given in missing.items():
        assert f"  {key}: is required; give {given}\n" in f"{raised.value}\n"


def test_a_source_without_a_path() -> None:
    with pytest.raises(ConfigError, match=r"source\.path: is required; give the argument SOURCE"):
        batchseg.load_config(overrides={**JOB, "source": {"truth": "masks"}})


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("classes: [{name: a, color: '#ffffff'}, b]", "classes.0.color: unknown key; did you mean colour?"),
        (
            "classes: [{name: a, truth_id: [1]}, b]",
            "classes.0.truth_id: unknown key; did you mean truth_ids?",
        ),
        ("clases: [a, b]", "clases: unknown key; did you mean classes?"),
        ("classes: [a, b]\nignored_ids: [3]", "ignored_ids: unknown key"),
    ],
)
def test_a_wrong_key_of_a_label_map(tmp_path: Path, text: str, sentence: str) -> None:
    (tmp_path / "labels.yaml").write_text(text)
    with pytest.raises(LabelMapError) as raised:
        batchseg.load_label_map(str(tmp_path / "labels.yaml"))
    assert sentence in str(raised.value)


def test_a_label_map_that_is_not_there() -> None:
    with pytest.raises(LabelMapError, match=r"did you mean cityscapes\?"):
        batchseg.load_label_map("cityscape")
