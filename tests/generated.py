"""The parts of the documentation that are made from the code: `python -m tests.generated` writes them anew.

Each stands between two comments in its file, so that the text around it stays by hand.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from inspect import cleandoc
from pathlib import Path

import click

from batchseg.cli.group import cli
from batchseg.config.reference import configuration_reference
from batchseg.results.explanations import EXPLANATIONS
from batchseg.schema import CLASS_HISTORY, TABLES, as_markdown

ROOT = Path(__file__).parent.parent
BEGIN, END = "<!-- generated: python -m tests.generated -->", "<!-- end of what is generated -->"


def command_line(command: click.Command = cli, name: str = "batchseg") -> str:
    """A section a command: what it does, and a table of its options."""
    below = command.commands.items() if isinstance(command, click.Group) else ()
    own = [] if command is cli else [_section(command, name)]
    return "\n\n".join([*own, *(command_line(each, f"{name} {word}").strip() for word, each in below)]) + "\n"


def tables() -> str:
    """A section a table of the results, and one of a training."""
    schemas = {**TABLES, "explanations": EXPLANATIONS, "class_history": CLASS_HISTORY}
    return "\n\n".join(f"### {name}\n\n{as_markdown(schema)}" for name, schema in schemas.items()) + "\n"


PARTS: dict[str, Callable[[], str]] = {
    "configs/README.md": configuration_reference,
    "batchseg/cli/README.md": command_line,
    "batchseg/results/README.md": tables,
}


def written(path: str) -> tuple[str, str, str]:
    """What stands before, in and after the generated part of a file."""
    before, begin, rest = (ROOT / path).read_text(encoding="utf-8").partition(BEGIN)
    part, end, after = rest.partition(END)
    assert begin and end, f"{path} lacks the comments around its generated part"
    return before + begin, part, end + after


def _section(command: click.Command, name: str) -> str:
    words = [name, *(_argument(each) for each in command.params if isinstance(each, click.Argument))]
    lines = [f"### {name}", "", f"`{' '.join(words)}`", "", cleandoc(command.help or "")]
    rows = list(_rows(command))
    return "\n".join([*lines, *(["", "| option | meaning |", "|---|---|", *rows] if rows else [])])


def _argument(argument: click.Argument) -> str:
    name = argument.metavar or str(argument.name).upper()
    return name if argument.required else f"[{name}]"


def _rows(command: click.Command) -> Iterator[str]:
    for option in command.params:
        if isinstance(option, click.Option):
            value = "" if option.is_flag else f" {_value(option)}"
            cells = f"`{', '.join(option.opts)}{value}`", " ".join((option.help or "").split())
            yield f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"


def _value(option: click.Option) -> str:
    choices = option.type.choices if isinstance(option.type, click.Choice) else ()
    return option.metavar or "|".join(map(str, choices)) or str(option.name).upper()


def main() -> None:
    for path, make in PARTS.items():
        before, _, after = written(path)
        (ROOT / path).write_text(f"{before}\n\n{make()}\n{after}", encoding="utf-8")


if __name__ == "__main__":
    main()
