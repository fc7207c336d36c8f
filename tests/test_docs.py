"""The README says what is so: its commands, options, tables, queries and Python run."""

from __future__ import annotations

import importlib
import re
import shlex
from pathlib import Path

import click
import duckdb
import numpy as np
import pytest
from PIL import Image

import batchseg
from batchseg.cli.group import cli
from batchseg.errors import BatchsegError, ConfigError
from batchseg.schema import CLASSES, IMAGES, PIXELS, Status, as_markdown

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)


def commands() -> list[list[str]]:
    """Every batchseg command the README shows, comments removed."""
    lines = [line.partition("  #")[0] for block in blocks("sh") for line in block.splitlines()]
    parts = [part for line in lines for part in line.split("&&")]
    found = [shlex.split(part) for part in parts]
    return [words[1:] for words in found if words and words[0].endswith("batchseg")]


def benches() -> list[tuple[str, list[str]]]:
    """Every bench the README names, with its options."""
    found = re.findall(r"python -m tests\.bench\.(\w+)([^`\n]*)", README)
    return [(name, shlex.split(words)) for name, words in found]


def bench(name: str) -> click.Command:
    command: click.Command = importlib.import_module(f"tests.bench.{name}").main
    return command


@pytest.mark.parametrize("words", commands(), ids=" ".join)
def test_every_command_parses(words: list[str]) -> None:
    command: click.Command = cli
    context = click.Context(cli)
    while isinstance(command, click.Group):
        found = command.get_command(context, words[0])
        assert found is not None, words[0]
        command, words = found, words[1:]
    command.make_context(command.name, list(words))


def test_every_option_it_names_exists() -> None:
    jobs = [importlib.import_module("tests.bench.ablation.__main__").main]
    commands = [*walk(cli), *jobs, *(bench(name) for name, _ in benches())]
    known = {option for command in commands for parameter in command.params for option in parameter.opts}
    named = set(re.findall(r"(?<![\w-])--[a-z][a-z-]+", README)) - {"--help"}
    assert named <= known


@pytest.mark.parametrize(("name", "words"), benches(), ids=str)
def test_every_bench_it_names_parses(name: str, words: list[str]) -> None:
    bench(name).make_context(name, list(words))


def walk(command: click.Command) -> list[click.Command]:
    below = command.commands.values() if isinstance(command, click.Group) else []
    return [command, *(each for one in below for each in walk(one))]


def test_the_tables_are_those_of_the_schema() -> None:
    shown = README.partition("<!-- schema: generated")[2].partition("<!-- end of schema -->")[0]
    for schema in (IMAGES, PIXELS, CLASSES):
        assert as_markdown(schema) in shown


def test_every_status_is_explained() -> None:
    assert all(f"`{status.value}`" in README for status in Status)


def test_exit_codes_are_those_of_the_errors() -> None:
    assert (BatchsegError.exit_code, ConfigError.exit_code) == (1, 2)
    assert "| 1 | the job failed" in README
    assert "| 2 | wrong usage or configuration |" in README


def test_every_file_it_names_exists() -> None:
    named = re.findall(r"(?:configs|sample_data|tests|jobs)/[\w./]*\w", README)
    assert named
    assert [name for name in named if not (ROOT / name).exists()] == []


@pytest.mark.usefixtures("ray_session")
@pytest.mark.filterwarnings("ignore")
def test_queries_and_python_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On the sample manifest, whose `camera` column the query groups by."""
    job = {"source": str(ROOT / "sample_data" / "manifest.parquet"), "output": str(tmp_path / "results")}
    monkeypatch.chdir(ROOT)
    image = np.asarray(Image.open(ROOT / "sample_data" / "images" / "day" / "a" / "scene_01.jpg"))
    (code, _) = blocks("python")
    names: dict[str, object] = {"image": image}
    moved = code.replace(
        '"output.path=results"', f'"output.path={tmp_path}/results", "source={job["source"]}"'
    )
    assert moved != code
    exec(compile(moved, "README.md", "exec"), names)
    assert isinstance(names["prediction"], batchseg.Prediction)
    assert names["prediction"].labels_HW.shape == image.shape[:2]
    monkeypatch.chdir(tmp_path)
    worst, cameras = (duckdb.sql(query).fetchall() for query in blocks("sql")[0].split(";")[:2])
    assert [row[1] for row in worst] == sorted(row[1] for row in worst)
    assert len(worst) == 10
    assert {camera for camera, _ in cameras} == {"a", "b"}
