"""Scaled decoding and the profile, through the command line, the configuration file and the library."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result
from PIL import Image

import batchseg
from batchseg.cli.group import cli
from batchseg.errors import ConfigError

pytestmark = [pytest.mark.usefixtures("ray_session")]


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory, sample_data: Path) -> Path:
    """Sample scenes as JPEGs eight times as large, so that the model's input is much smaller."""
    folder = tmp_path_factory.mktemp("large")
    for path in sorted((sample_data / "images").rglob("*.*"))[:4]:
        with Image.open(path) as picture:
            size = (8 * picture.width + 3, 8 * picture.height + 1)
            picture.convert("RGB").resize(size, Image.Resampling.BICUBIC).save(folder / f"{path.stem}.jpg")
    return folder


def overrides(images: Path, model: Path, output: Path, **segmentor: Any) -> dict[str, Any]:
    return {
        "source": str(images),
        "segmentor": {"model": str(model), "precision": "fp32", **segmentor},
        "output": str(output),
    }


def threshold_run(sample_data: Path, output: Path, *more: str) -> Result:
    words = ["run", str(sample_data / "images"), "--model", "threshold", "--output", str(output)]
    return CliRunner().invoke(cli, [*words, *more])


@pytest.mark.slow
def test_scaled_decoding_changes_few_pixels_and_no_size(
    large: Path, sample_data: Path, tmp_path: Path
) -> None:
    model = sample_data / "model"
    for name, scaled in (("whole", False), ("scaled", True)):
        job = overrides(large, model, tmp_path / name, scaled_decode=scaled)
        assert batchseg.run(batchseg.load_config(overrides=job)).statuses == {"ok": 4}
    same = []
    for path in (tmp_path / "whole" / "masks").iterdir():
        one, other = (
            np.asarray(Image.open(tmp_path / name / "masks" / path.name)) for name in ("whole", "scaled")
        )
        with Image.open(large / f"{path.stem}.jpg") as picture:
            assert one.shape == other.shape == (picture.height, picture.width)
        same.append((one == other).mean())
    assert min(same) > 0.99
    assert min(same) < 1  # it was in fact decoded otherwise


@pytest.mark.slow
def test_scaled_decoding_is_part_of_the_fingerprint(large: Path, sample_data: Path, tmp_path: Path) -> None:
    job = overrides(large, sample_data / "model", tmp_path / "out")
    batchseg.run(batchseg.load_config(overrides=job))
    words = ["run", str(large), "--model", str(sample_data / "model"), "--precision", "fp32"]
    words += ["--output", str(tmp_path / "out"), "--set", "segmentor.scaled_decode=true"]
    refused = CliRunner().invoke(cli, words)
    assert refused.exit_code == 1
    assert "segmentor.scaled_decode: False -> True" in refused.stderr


@pytest.mark.slow
def test_a_profile_shows_the_stages_and_the_operations(sample_data: Path, tmp_path: Path) -> None:
    config = tmp_path / "run.yaml"
    config.write_text(
        f"source: {sample_data / 'images'}\nsegmentor: {sample_data / 'model'}\n"
        f"output: {tmp_path / 'out'}\nprofile: true\n"
    )
    done = CliRunner().invoke(cli, ["run", "--config", str(config), "--json"])
    assert done.exit_code == 0, done.output
    record = json.loads(done.stdout)
    (file,) = (tmp_path / "out" / "profiles").iterdir()
    assert record["profile"] == str(file)
    events = json.loads(gzip.decompress(file.read_bytes()))["traceEvents"]
    stages = {event["name"] for event in events if event.get("cat") == "user_annotation"}
    assert stages == {"decode", "prepare", "segment", "score", "write"}
    assert any(event["name"].startswith("aten::") for event in events)


def test_a_model_without_torch_has_a_profile_too(sample_data: Path, tmp_path: Path) -> None:
    done = threshold_run(sample_data, tmp_path, "--profile")
    assert done.exit_code == 0, done.output
    assert str(tmp_path / "profiles")[:40] in done.stderr.replace("\n", "")
    assert len(list((tmp_path / "profiles").iterdir())) == 1


def test_a_profile_that_cannot_be_written_is_one_sentence(sample_data: Path, tmp_path: Path) -> None:
    (tmp_path / "profiles").symlink_to(tmp_path / "nowhere" / "at all")
    done = threshold_run(sample_data, tmp_path, "--profile")
    assert done.exit_code == 1
    assert "the profile cannot be written: " in " ".join(done.stderr.split())
    assert "Traceback" not in done.output


@pytest.mark.parametrize("setting", ["compile", "scaled_decode"])
def test_settings_of_networks_are_refused_elsewhere(setting: str) -> None:
    with pytest.raises(
        ConfigError, match=rf"segmentor.{setting}: is a setting of the models of transformers"
    ):
        batchseg.load_config(
            settings=[f"segmentor.{setting}=true"],
            overrides={"source": "a", "segmentor": "threshold", "output": "b"},
        )


def test_a_record_and_a_line_say_where_the_time_went(sample_data: Path, tmp_path: Path) -> None:
    (tmp_path / "labels.yaml").write_text(
        "classes: [{name: a, truth_ids: [0, 1, 2, 3, 4, 5]}, {name: b, truth_ids: [6, 7, 8, 9, 10]}]"
    )
    truth = ("--truth", str(sample_data / "masks"), "--labels", str(tmp_path / "labels.yaml"))
    done = threshold_run(sample_data, tmp_path, *truth)
    assert done.exit_code == 0, done.output
    told = json.loads((tmp_path / "run.json").read_text())["timings"]
    assert set(told["stage_s"]) == {"decode", "prepare", "segment", "score", "write"}
    assert 0 < told["first_row_s"] <= told["elapsed_s"]
    assert "first image after" in done.stderr
    assert "ms an image: " in " ".join(done.stderr.split())
