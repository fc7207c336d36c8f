"""Every command explains every option it has, and has a schema where it reads a file."""

from __future__ import annotations

import json
from collections.abc import Iterator

import click
import pytest
from click.testing import CliRunner

from batchseg.cli.group import cli


def options(command: click.Command, name: str) -> Iterator[tuple[str, click.Option]]:
    for parameter in command.params:
        if isinstance(parameter, click.Option):
            yield f"{name} {parameter.opts[0]}", parameter
    if isinstance(command, click.Group):
        for below, each in command.commands.items():
            yield from options(each, f"{name} {below}")


def test_every_option_has_help() -> None:
    assert [name for name, option in options(cli, "batchseg") if not option.help] == []


@pytest.mark.parametrize("command", ["run", "evaluate", "doctor", "train", "compare"])
def test_what_reads_a_file_has_a_schema(command: str) -> None:
    found = dict(options(cli, "batchseg"))
    assert {f"batchseg {command} --config", f"batchseg {command} --set"} <= found.keys()
    shown = CliRunner().invoke(cli, ["config", "schema", command])
    assert json.loads(shown.stdout)["properties"]
