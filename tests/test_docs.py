"""The documentation says what is so: its commands, options, links, tables, queries and Python hold."""

from __future__ import annotations

import importlib
import re
import shlex
from importlib.metadata import requires
from pathlib import Path
from typing import Any

import click
import duckdb
import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner
from PIL import Image

import batchseg
from batchseg import schema
from batchseg.cli.group import cli
from batchseg.config.foreign import OnnxDescription
from batchseg.config.load import read_config
from batchseg.config.run import RunConfig
from batchseg.config.train import TrainConfig
from batchseg.errors import BatchsegError, ConfigError
from batchseg.labels import label_file
from batchseg.schema import Status
from jobs.nightly import nightly
from tests.generated import PARTS, written
from tests.test_layers import LAYERS, PACKAGE

ROOT = Path(__file__).parent.parent
FOLDERS = ("batchseg", "configs", "jobs", "sample_data", "tests", ".github")
PATHS = [ROOT / "README.md", *(path for name in FOLDERS for path in sorted((ROOT / name).rglob("*.md")))]
DOCS = {path.relative_to(ROOT).as_posix(): path.read_text(encoding="utf-8") for path in PATHS}
README = DOCS["README.md"]
ALL = "\n".join(DOCS.values())
OF_OTHER_PROGRAMS = {"--help", "--check", "--exclude-editable", "--no-deps"}

FENCED = re.compile(r"^```.*?^```$", re.DOTALL | re.MULTILINE)
LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)\)")


def blocks(language: str, text: str = README) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)


def shown() -> list[list[str]]:
    """Every command line of the documentation in words, comments removed."""
    lines = [line.partition("  #")[0] for block in blocks("sh", ALL) for line in block.splitlines()]
    found = [shlex.split(part) for line in lines for part in line.split("&&")]
    return [words for words in found if words]


def commands() -> list[list[str]]:
    return [words[1:] for words in shown() if words[0].endswith("batchseg")]


def benches() -> list[tuple[str, list[str]]]:
    """Every bench the documentation names, with its options."""
    found = re.findall(r"python -m tests\.bench\.(\w+)([^`\n]*)", ALL)
    return [(name, shlex.split(words)) for name, words in found]


def bench(name: str) -> click.Command:
    module = f"tests.bench.{name}"
    folder = (ROOT / "tests" / "bench" / name).is_dir()
    command: click.Command = importlib.import_module(f"{module}.__main__" if folder else module).main
    return command


def resolve(words: list[str]) -> tuple[click.Command, list[str]]:
    """The command that words are for, and what is left of them."""
    command: click.Command = cli
    while isinstance(command, click.Group) and words:
        found = command.get_command(click.Context(command), words[0])
        assert found is not None, words[0]
        command, words = found, words[1:]
    return command, words


def walk(command: click.Command, name: str = "batchseg") -> list[tuple[str, click.Command]]:
    below = command.commands.items() if isinstance(command, click.Group) else []
    return [(name, command), *(each for word, one in below for each in walk(one, f"{name} {word}"))]


def options(command: click.Command) -> list[click.Option]:
    return [parameter for parameter in command.params if isinstance(parameter, click.Option)]


def headings(text: str) -> set[str]:
    """Their anchors, as GitHub makes them."""
    titles = re.findall(r"^#+ (.*)$", FENCED.sub("", text), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles}


# --- the command line ---


@pytest.mark.parametrize("words", commands(), ids=" ".join)
def test_every_command_parses(words: list[str]) -> None:
    command, rest = resolve(words)
    command.make_context(command.name, rest)


def test_every_night_parses() -> None:
    nights = [words[2:] for words in shown() if words[1:2] == ["jobs/nightly.py"]]
    assert nights
    for words in nights:
        nightly.make_context("nightly", list(words))
        assert (ROOT / words[0]).is_file()


@pytest.mark.parametrize("words", re.findall(r"`batchseg ([a-z][^`]*)`", FENCED.sub("", ALL)))
def test_every_command_in_a_sentence_exists(words: str) -> None:
    command, rest = resolve(words.replace("[", "").replace("]", "").split())
    known = {name for option in options(command) for name in option.opts} | OF_OTHER_PROGRAMS
    assert {word for word in rest if word.startswith("--")} <= known


def test_every_option_it_names_exists() -> None:
    every = [*(command for _, command in walk(cli)), nightly, *(bench(name) for name, _ in benches())]
    known = {name for command in every for option in options(command) for name in option.opts}
    named = set(re.findall(r"(?<![\w-])--[a-z][a-z-]+", ALL))
    assert named - OF_OTHER_PROGRAMS - {"--constraint", "--dist"} - known == set()


@pytest.mark.parametrize(("name", "words"), benches(), ids=str)
def test_every_bench_it_names_parses(name: str, words: list[str]) -> None:
    bench(name).make_context(name, list(words))


@pytest.mark.parametrize(("name", "command"), [*walk(cli), ("jobs/nightly.py", nightly)])
def test_every_command_and_option_has_help(name: str, command: click.Command) -> None:
    assert command.help, name
    assert [option.name for option in options(command) if not option.help] == []


@pytest.mark.parametrize(("name", "command"), [*walk(cli), ("jobs/nightly.py", nightly)])
def test_every_command_and_option_is_documented(name: str, command: click.Command) -> None:
    """By name in some file; every command that does something also in an example."""
    named = set(re.findall(r"(?<![\w-])--[a-z][a-z-]+", ALL))
    own = {word for option in options(command) for word in option.opts if word.startswith("--")}
    assert own - {"--version"} <= named
    examples = {resolve(words)[0] for words in commands()} | {nightly}
    assert isinstance(command, click.Group) or command in examples


def test_exit_codes_are_those_of_the_errors() -> None:
    assert (BatchsegError.exit_code, ConfigError.exit_code) == (1, 2)
    assert "| 1 | the job failed" in README
    assert "| 2 | wrong usage or configuration |" in README


# --- what is made from the code ---


@pytest.mark.parametrize("path", PARTS)
def test_what_is_generated_is_up_to_date(path: str) -> None:
    assert written(path)[1].strip() == PARTS[path]().strip(), "run python -m tests.generated"


def test_every_status_is_explained() -> None:
    text = DOCS["batchseg/results/README.md"]
    values = [status.value for kind in (Status, getattr(schema, "TruthStatus", ())) for status in kind]
    assert [value for value in values if f"| `{value.removeprefix('truth_')}` |" not in text] == []


def test_every_key_of_a_label_map_is_explained() -> None:
    keys = {*label_file._LabelFile.model_fields, *label_file._ClassEntry.model_fields}
    assert {key for key in keys if f"| `{key}` |" not in DOCS["configs/README.md"]} == set()


def test_the_rooms_are_those_of_the_package() -> None:
    text = DOCS["batchseg/CONTRIBUTING.md"]
    assert [
        path.name for path in PACKAGE.glob("*/__init__.py") if f"\n  {path.parent.name}/ " not in text
    ] == []
    rows = [set(re.findall(r"\w+", line)) for line in blocks("", text)[-1].splitlines()]
    assert rows == [row for row in LAYERS if row != {"__main__"}]


# --- files and links ---


def test_the_readme_is_short() -> None:
    assert len(README.splitlines()) <= 180


@pytest.mark.parametrize("path", DOCS)
def test_every_link_leads_somewhere(path: str) -> None:
    for link in LINK.findall(FENCED.sub("", DOCS[path])):
        file, _, anchor = link.partition("#")
        if "://" in link:
            continue
        target = (ROOT / path).parent.joinpath(file) if file else ROOT / path
        assert target.exists(), link
        assert not anchor or anchor in headings(target.read_text(encoding="utf-8")), link


@pytest.mark.parametrize("path", sorted(set(DOCS) - {"README.md"}))
def test_every_page_is_linked(path: str) -> None:
    links = {
        (ROOT / page).parent.joinpath(link.partition("#")[0]).resolve()
        for page, text in DOCS.items()
        for link in LINK.findall(text)
    }
    assert ROOT / path in links


def test_every_file_it_names_exists() -> None:
    found = re.findall(r"(?<![\w./~-])(?:batchseg|configs|sample_data|tests|jobs)/[\w./]*\w", ALL)
    named = {name for name in found if "NAME" not in name}
    assert len(named) > 20
    assert [name for name in sorted(named) if not (ROOT / name).exists()] == []


def test_both_ways_to_set_up_use_the_constraints() -> None:
    assert "-c tests/constraints.txt" in README
    assert "--constraint tests/constraints.txt" in (ROOT / ".ci" / "run").read_text(encoding="utf-8")


def test_everything_declared_is_pinned() -> None:
    pins = (ROOT / "tests" / "constraints.txt").read_text(encoding="utf-8")
    pinned = {canonical(name) for name in re.findall(r"^([\w.-]+)==", pins, re.MULTILINE)}
    declared = requires("batchseg") or []
    assert {canonical(re.split(r"[^\w.-]", each)[0]) for each in declared} - pinned - {"batchseg"} == set()


def canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


# --- what runs ---


def test_the_job_in_yaml_loads(tmp_path: Path) -> None:
    (text,) = blocks("yaml", DOCS["jobs/README.md"])
    (tmp_path / "job.yaml").write_text(text, encoding="utf-8")
    assert read_config(RunConfig, tmp_path / "job.yaml").segmentor.kind == "huggingface"


def test_trainings_in_yaml_load(tmp_path: Path) -> None:
    for text in blocks("yaml", DOCS["batchseg/training/README.md"]):
        (tmp_path / "train.yaml").write_text(text, encoding="utf-8")
        read_config(TrainConfig, tmp_path / "train.yaml", ["source=photos/", "output=trained/"])


def test_yaml_loads(tmp_path: Path) -> None:
    counts, jobs, file = [], 0, tmp_path / "some.yaml"
    for text in blocks("yaml", DOCS["configs/README.md"]):
        file.write_text(text, encoding="utf-8")
        if "classes:" in text:
            counts.append(batchseg.load_label_map(str(file)).num_classes)
        else:
            batchseg.load_config(str(file), overrides={"source": "photos", "output": "results"})
            jobs += 1
    assert (counts, jobs) == ([2, 3], 1)


def test_the_description_of_a_network_loads(tmp_path: Path) -> None:
    (text,) = blocks("yaml", DOCS["configs/models/README.md"])
    (tmp_path / "network.yaml").write_text(text, encoding="utf-8")
    assert len(read_config(OnnxDescription, tmp_path / "network.yaml").classes or ()) == 3


def test_the_segmentor_of_your_own_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (code,) = blocks("python", DOCS["configs/README.md"])
    (tmp_path / "my_module_of_the_docs.py").write_text(code, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    prepare, segmentor = batchseg.load_segmentor("my_module_of_the_docs:MySegmentor", device="cpu")
    bright = np.full((4, 6, 3), 200, np.uint8)
    (prediction,) = segmentor.segment([prepare(bright)])
    assert prediction.labels_HW.tolist() == np.ones((4, 6)).tolist()


@pytest.mark.usefixtures("ray_session")
def test_queries_and_python_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As they stand, on the results of the first command."""
    (tmp_path / "sample_data").symlink_to(ROOT / "sample_data")
    monkeypatch.chdir(tmp_path)
    first = next(words for words in shown() if words[0] == ".venv/bin/batchseg")
    assert CliRunner().invoke(cli, first[1:]).exit_code == 0
    (code,) = blocks("python")
    names: dict[str, Any] = {}
    exec(compile(code, "README.md", "exec"), names)
    image = np.asarray(Image.open(ROOT / "sample_data" / "images" / "day" / "a" / "scene_01.jpg"))
    assert names["prediction"].labels_HW.shape == image.shape[:2]
    assert (names["result"].segmented, names["result"].done_before) == (0, 24)
    assert (names["opened"].mask("day/a/scene_01.jpg") == names["prediction"].labels_HW).mean() > 0.99  # bf16
    (text,) = blocks("sql")
    worst, folders = (duckdb.sql(query).fetchall() for query in text.split(";")[:2])
    assert [row[1] for row in worst] == sorted(row[1] for row in worst)
    assert len(worst) == 10
    pixels = pd.read_parquet("results/pixels")
    pixels = pixels[pixels.truth.notna()]
    for folder, iou in folders:
        part = pixels[pixels.id.str.startswith(f"{folder}/")]
        both = part[(part.truth == 3) & (part.predicted == 3)].pixels.sum()
        assert iou == pytest.approx(both / part[(part.truth == 3) | (part.predicted == 3)].pixels.sum())
    assert sorted(folder for folder, _ in folders) == ["day", "night"]
    text, reliability, prompted = blocks("sql", DOCS["batchseg/results/README.md"])
    assert duckdb.sql(prompted).fetchall() == [(None, None, None)]  # no image here has a prompt of its own
    assert [row[:2] for row in duckdb.sql(text).fetchall()] == [("day", 12), ("night", 12)]
    bins = duckdb.sql(reliability).fetchall()
    calibration = names["opened"].record["calibration"]
    assert sum(count for _, count, _, _ in bins) == calibration["pixels"]
    gaps = [count * abs(accuracy - confidence) for _, count, confidence, accuracy in bins]
    assert sum(gaps) / calibration["pixels"] == pytest.approx(calibration["ece"], abs=1e-9)
