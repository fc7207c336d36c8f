"""Starting is cheap: the heavy libraries are loaded by what needs them."""

from __future__ import annotations

import json
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest
from PIL import Image

import batchseg

HEAVY = (
    "torch",
    "torchvision",
    "ray",
    "transformers",
    "pyarrow",
    "pandas",
    "PIL",
    "sklearn",
    "scipy",
    "jinja2",
)
COMMANDS = (
    ["--help"],
    ["--version"],
    ["run", "--help"],
    ["evaluate", "--help"],
    ["submit", "--help"],
    ["decide", "--help"],
    ["config", "schema"],
    ["config", "reference"],
    ["config", "show", "photos", "--model", "threshold", "--output", "results"],
)


def python(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)


def loaded_after(code: str) -> list[str]:
    report = f"import json, sys; json.dump([name for name in {HEAVY} if name in sys.modules], sys.stderr)"
    names: list[str] = json.loads(python(f"{code}\n{report}").stderr.splitlines()[-1])
    return names


def test_import_loads_nothing_heavy() -> None:
    assert loaded_after("import batchseg") == []
    assert loaded_after("import batchseg; batchseg.RunConfig, batchseg.load_config") == []


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_commands_that_compute_nothing_load_nothing_heavy(words: list[str]) -> None:
    assert loaded_after(f"from batchseg.cli.group import cli; cli({words}, standalone_mode=False)") == []


def test_workers_load_torch_for_networks_alone(sample_data: Path, tmp_path: Path) -> None:
    loaded = {}
    for model in ("threshold", str(sample_data / "model")):
        overrides = {"source": str(sample_data), "segmentor": model, "output": str(tmp_path)}
        lines = (
            "import batchseg",
            "from batchseg.engine.nodes import Nodes",
            "from batchseg.engine.placement import place",
            "from functools import partial",
            "from batchseg.pipeline.model import OpenedModel",
            "from batchseg.pipeline.assembly import before, score_and_write, segmenting",
            f"config = batchseg.load_config(overrides={overrides})",
            "placement = place(config.segmentor, Nodes(({'CPU': 2},)), 100)",
            "model = OpenedModel.open(config)",
            f"after = partial(score_and_write, config, model, {str(tmp_path)!r}, None)",
            "made = segmenting(config, model, before, after, placement)",
            "made.before(), made.model(), made.after()",
        )
        loaded[model] = "torch" in loaded_after("\n".join(lines))
    assert loaded == {"threshold": False, str(sample_data / "model"): True}


def test_nothing_to_do_starts_nothing(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    Image.new("L", (4, 4)).save(tmp_path / "images" / "a.png")
    overrides = {
        "source": str(tmp_path / "images"),
        "segmentor": "threshold",
        "output": str(tmp_path / "out"),
    }
    command = f"import batchseg; batchseg.run(batchseg.load_config(overrides={overrides}))"
    assert "ray" in loaded_after(command)
    assert "ray" not in loaded_after(command)


def test_the_report_tells_what_is_loaded() -> None:
    assert loaded_after("import pyarrow") == ["pyarrow"]


def test_it_runs_as_a_module() -> None:
    words = [sys.executable, "-m", "batchseg", "--help"]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    assert done.stdout.startswith("Usage: batchseg [OPTIONS] COMMAND")
    assert done.stderr == ""


@pytest.mark.parametrize("name", batchseg.__all__)
def test_a_public_name_is_what_its_home_has(name: str) -> None:
    assert getattr(batchseg, name) is getattr(import_module(batchseg._HOMES[name]), name)


def test_public_names_are_listed_once_and_everywhere() -> None:
    assert list(batchseg.__all__) == sorted(batchseg._HOMES)
    assert set(batchseg.__all__) <= set(dir(batchseg))


def test_a_star_import_brings_all_of_them() -> None:
    done = python("from batchseg import *; print(*sorted(name for name in dir() if name[0] != '_'))")
    assert done.stdout.split() == sorted(batchseg.__all__)


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="module 'batchseg' has no attribute 'segment_all'"):
        _ = batchseg.segment_all
