"""The command line, called in this process."""

from __future__ import annotations

from click.testing import CliRunner, Result

from batchseg.cli.group import cli


def command(*words: object) -> Result:
    return CliRunner().invoke(cli, [str(word) for word in words])
