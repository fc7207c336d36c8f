"""Library calls with plain arguments do what their configurations do, and name what is wrong with them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from result_tables import tables

import batchseg
from batchseg.errors import ConfigError


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Four images, half of each bright, with a truth that says so."""
    pixels = np.repeat(np.array([[0], [255]], np.uint8), 6, axis=1)
    for name, values in (("images", pixels), ("truth", pixels // 255)):
        (tmp_path / name).mkdir()
        for index in range(4):
            Image.fromarray(values).save(tmp_path / name / f"{index}.png")
    (tmp_path / "labels.yaml").write_text("classes: [night, day]")
    return tmp_path / "images"


@pytest.mark.usefixtures("in_tasks")
def test_run_and_evaluate(photos: Path, tmp_path: Path) -> None:
    others: dict[str, Any] = {"truth": tmp_path / "truth", "labels": str(tmp_path / "labels.yaml")}
    counts: list[int] = []
    settings = {"segmentor": {"levels": [100], "model": "nowhere"}, "source": {"exclude": ["3.png"]}}
    result = batchseg.run(
        photos,
        lambda tally: counts.append(tally.done),
        model="threshold",
        output=tmp_path / "a",
        settings=settings,
        **others,
    )
    assert (result.statuses, result.metrics["mean_iou"], counts[-1]) == ({"ok": 3}, 1.0, 3)
    config = batchseg.load_config(
        overrides={
            "source": {"path": str(photos), "truth": str(tmp_path / "truth"), "exclude": ["3.png"]},
            "segmentor": {"kind": "threshold", "levels": [100]},
            "output": str(tmp_path / "b"),
            "labels": others["labels"],
        }
    )
    batchseg.run(config)
    assert tables(tmp_path / "a") == tables(tmp_path / "b")
    again = batchseg.evaluate(tmp_path / "a" / "masks", output=tmp_path / "c", **others)
    assert (again.scored, again.metrics["mean_iou"]) == (3, 1.0)


def test_doctor(photos: Path, tmp_path: Path) -> None:
    report = batchseg.doctor(photos, model={"kind": "threshold"}, truth=tmp_path / "truth")
    assert (report.images, report.with_truth, report.ok) == (4, 4, True)
    assert report.sample is not None
    assert report.sample.classes == {"dark": 24, "bright": 24}
    labelled = batchseg.doctor(photos, truth=tmp_path / "truth", labels=tmp_path / "labels.yaml")
    assert labelled.sample is not None
    assert labelled.sample.classes == {"night": 24, "day": 24}


@pytest.mark.parametrize(
    ("call", "arguments", "sentence"),
    [
        (batchseg.run, {"model": "threshold"}, "the argument `output` is missing"),
        (batchseg.run, {"output": "out"}, "the argument `model` is missing"),
        (batchseg.evaluate, {"output": "out", "labels": "voc"}, "the argument `truth` is missing"),
        (batchseg.doctor, {"settings": {"truths": -1}}, "truths: Input should be greater"),
        (batchseg.run, {"model": "threshold", "output": "o", "settings": {"prone": True}}, "mean prune?"),
        (
            batchseg.run,
            {"model": "threshold", "output": "o", "settings": [1]},
            "`settings` must be a mapping",
        ),
    ],
)
def test_what_is_wrong_is_named(call: Any, arguments: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ConfigError) as raised:
        call("photos", **arguments)
    assert sentence in str(raised.value)


def test_a_whole_configuration_has_it_all() -> None:
    config = batchseg.RunConfig(source="photos", segmentor="threshold", output="out")
    with pytest.raises(ConfigError, match="`labels` was given beside a whole RunConfig"):
        batchseg.run(config, labels="voc")
    with pytest.raises(ConfigError, match="`source` must be a path, a URI or a RunConfig, not int"):
        batchseg.run(3)  # type: ignore[arg-type]
