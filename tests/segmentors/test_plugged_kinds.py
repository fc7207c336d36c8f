"""Kinds that other packages bring: a small one is written, with the files that an installer leaves."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from PIL import Image

import batchseg
from batchseg.config.kinds import infer_segmentor
from batchseg.config.load import read_config, validate_segmentor
from batchseg.config.run import RunConfig
from batchseg.errors import ConfigError, ModelError
from batchseg.segmentors.registry import open_checkpoint

CODE = '''
"""Pixels brighter than a level, by a package of its own."""

import hashlib
from typing import Literal

import numpy as np
from pydantic import Field

import batchseg


class BrightConfig(batchseg.SegmentorConfig):
    """Brightness against a level."""

    kind: Literal["bright"] = "bright"
    model: str = Field(description="Any name that ends in .bright.")
    level: int = Field(100, ge=1, le=255, description="From which level on a pixel is bright.")


class BrightCheckpoint:
    channels, stride, notes = 3, 1, ()
    label_map = batchseg.LabelMap.from_names(("dark", "bright"))

    def __init__(self, level):
        self.level = level

    @property
    def fingerprint(self):
        return hashlib.sha256(f"bright {self.level}".encode()).hexdigest()

    def preparer(self, as_is=False):
        return prepare

    def load(self, device, precision, threads=None):
        return BrightModel(self.level)


def prepare(image, scale=None):
    return batchseg.ModelInput(image[None], image.shape[:2], {})


class BrightModel:
    def __init__(self, level):
        self.level = level

    def scores(self, inputs):
        return [
            batchseg.Scores("labels", (each.pixels_THWC[0].mean(-1) >= self.level).astype(np.uint8))
            for each in inputs
        ]


class Bright:
    configuration = BrightConfig

    @staticmethod
    def open(config):
        if config.model.startswith("none"):
            raise KeyError(config.model)
        return BrightCheckpoint(config.level)

    @staticmethod
    def recognises(model):
        return model.endswith(".bright")


bright = Bright()
'''

Install = Callable[..., Path]


def write_package(folder: Path, code: str = CODE, entries: str = "bright = bright_kind:bright") -> Path:
    """As an installer leaves it: a module, and the folder of its metadata."""
    name = "bright_kind"
    info = folder / f"{name}-1.0.dist-info"
    info.mkdir(parents=True)
    (folder / f"{name}.py").write_text(code)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name.replace('_', '-')}\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[batchseg.segmentors]\n{entries}\n")
    return folder


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Install:
    def make(**given: str) -> Path:
        folder = write_package(tmp_path / "site", **given)
        monkeypatch.syspath_prepend(str(folder))
        monkeypatch.delitem(sys.modules, "bright_kind", raising=False)
        return folder

    return make


def segmentor(data: Any) -> Any:
    return validate_segmentor(infer_segmentor(data))


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    folder.mkdir()
    for index in range(2):
        pixels = np.random.default_rng(index).integers(0, 256, (20, 30, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{index}.png")
    return folder


def check_masks(photos: Path, output: Path, level: int) -> None:
    for photo in photos.iterdir():
        expected = np.array(Image.open(photo)).mean(-1) >= level
        assert np.array_equal(np.array(Image.open(output / "masks" / photo.name)), expected)


def test_its_settings_are_validated_as_strictly_as_ours(install: Install) -> None:
    install()
    config = segmentor({"kind": "bright", "model": "m", "level": 7})
    assert (config.level, config.device, config.name) == (7, "auto", "m")
    for settings, words in (
        ({"levle": 7}, "levle: unknown key"),
        ({"level": 0}, "level: Input should be greater than or equal to 1"),
        ({"none_below": 0.5}, "none_below: unknown key"),
    ):
        with pytest.raises(ConfigError, match=words):
            segmentor({"kind": "bright", "model": "m", **settings})


def test_its_setting_called_as_one_of_our_kinds_is_named(install: Install) -> None:
    install(code=CODE.replace("SegmentorConfig", "ScoringConfig"))
    data = {"kind": "bright", "model": "m", "threshold": 2}
    with pytest.raises(ConfigError, match="threshold: Input should be less than 1"):
        segmentor(data)
    with pytest.raises(ConfigError, match=r"segmentor\.threshold: Input should be less than 1"):
        read_config(RunConfig, overrides={"source": "photos", "output": "out", "segmentor": data})


def test_it_recognises_its_names(install: Install) -> None:
    install()
    assert segmentor("weights.bright").kind == "bright"
    assert segmentor({"model": "weights.bright", "level": 9}).level == 9
    assert infer_segmentor("weights.other")["kind"] == "huggingface"
    assert infer_segmentor("module:Class.bright")["kind"] == "bright"


def test_a_run_by_the_library_and_its_record(install: Install, photos: Path, in_process: None) -> None:
    install()
    output = photos.parent / "out"
    result = batchseg.run(
        photos, model="weights.bright", settings={"segmentor": {"level": 90}}, output=output
    )
    assert result.exit_code == 0
    check_masks(photos, output, 90)
    record = batchseg.open_results(str(output)).record["config"]["segmentor"]
    assert (record["kind"], record["model"], record["level"]) == ("bright", "weights.bright", 90)
    assert (
        RunConfig.model_validate(batchseg.open_results(str(output)).record["config"]).segmentor.kind
        == "bright"
    )
    again = batchseg.run(photos, model={"kind": "bright", "model": "other", "level": 90}, output=output)
    assert again.exit_code == 0


def test_a_run_by_a_file_in_workers_of_their_own(photos: Path, tmp_path: Path) -> None:
    folder, job, output = write_package(tmp_path / "site"), tmp_path / "job.yaml", tmp_path / "out"
    content = {
        "source": str(photos),
        "segmentor": {"kind": "bright", "model": "m", "level": 120},
        "output": str(output),
    }
    job.write_text(yaml.safe_dump(content))
    paths = os.pathsep.join([str(folder), str(Path(batchseg.__file__).parent.parent)])
    done = subprocess.run(
        [sys.executable, "-m", "batchseg", "run", "--config", str(job), "--set", "segmentor.level=80"],
        env={**os.environ, "PYTHONPATH": paths},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    check_masks(photos, output, 80)


def test_it_may_be_a_member_of_an_ensemble(install: Install) -> None:
    install()
    config = segmentor({"members": ["a.bright", {"kind": "bright", "model": "b", "level": 3}]})
    assert [member.kind for member in config.members] == ["bright", "bright"]
    assert open_checkpoint(config).label_map.names == ("dark", "bright")
    assert config.model_dump(mode="json")["members"][1]["level"] == 3


def test_an_instance_of_its_configuration_is_taken(install: Install) -> None:
    install()
    import bright_kind  # type: ignore[import-not-found]

    job = RunConfig(source="photos", output="out", segmentor=bright_kind.BrightConfig(model="m", level=5))
    assert (
        open_checkpoint(job.segmentor).fingerprint
        == open_checkpoint(segmentor({"kind": "bright", "model": "n", "level": 5})).fingerprint
    )


# -- packages that cannot be used


def test_one_that_cannot_be_imported_is_told_to_who_names_it_alone(install: Install) -> None:
    install(code="import nothing_of_that_name")
    assert segmentor("threshold").kind == "threshold"
    assert segmentor("weights.bright").kind == "huggingface"
    with pytest.raises(ConfigError) as caught:
        segmentor({"kind": "bright", "model": "m"})
    assert "the kind 'bright' of the package bright-kind cannot be imported (ModuleNotFoundError" in str(
        caught.value
    )
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("bright = object()", "has no configuration; see batchseg/CONTRIBUTING.md"),
        ("class bright:\n    configuration = dict", "has no open"),
        (
            "class bright:\n    configuration = dict\n    open = print",
            "the configuration of the kind 'bright' must be a SegmentorConfig",
        ),
    ],
)
def test_one_that_lacks_something_is_refused(code: str, words: str, install: Install) -> None:
    install(code=code)
    with pytest.raises(ConfigError, match=words):
        segmentor({"kind": "bright", "model": "m"})


@pytest.mark.parametrize("name", ["threshold", "onnx", "ensemble"])
def test_one_of_the_name_of_ours_is_refused(name: str, install: Install) -> None:
    install(entries=f"{name} = bright_kind:bright")
    given = {"members": ["a", "b"]} if name == "ensemble" else {"model": "m"}
    given = {} if name == "threshold" else given
    with pytest.raises(
        ConfigError, match=f"the kind '{name}' is batchseg's own, and the package bright-kind"
    ):
        segmentor({"kind": name, **given})


def test_two_of_one_name_are_refused(
    install: Install, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install()
    info = tmp_path / "more" / "other_kind-2.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: other-kind\nVersion: 2.0\n")
    (info / "entry_points.txt").write_text("[batchseg.segmentors]\nbright = other_kind:bright\n")
    monkeypatch.syspath_prepend(str(tmp_path / "more"))
    with pytest.raises(ConfigError, match=r"is brought by several packages, the package .* and the package"):
        segmentor({"kind": "bright", "model": "m"})


def test_a_fault_of_its_opener_is_one_sentence(install: Install) -> None:
    install()
    with pytest.raises(ModelError, match=r"none: the kind 'bright' cannot open it: KeyError: 'none'"):
        open_checkpoint(segmentor({"kind": "bright", "model": "none"}))


def test_a_kind_that_nobody_brings_lists_those_there_are(install: Install) -> None:
    install()
    with pytest.raises(ConfigError, match=r"kind 'brigth' is not known.*; did you mean bright\?") as caught:
        segmentor({"kind": "brigth", "model": "m"})
    assert "huggingface" in str(caught.value)
