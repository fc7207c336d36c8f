"""What a person sees of label maps: a line a class with its colour, and what a proposed relation comes to."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click
from rich.table import Table
from rich.text import Text

from batchseg.cli.show.console import open_console, printable
from batchseg.cli.show.lines import fact, print_lines
from batchseg.labels.label_file import BUILT_IN, load_label_map, load_wording
from batchseg.labels.names import spoken

if TYPE_CHECKING:
    from batchseg.labels.label_file import Wording
    from batchseg.labels.label_map import LabelMap
    from batchseg.segmentors.llm.relate import Proposal

_SWATCH = "    "
_NAMED = 12


def print_label_map(name: str) -> None:
    """Id, colour, name, what a truth holds for it, and in other words; swatches where there is a terminal."""
    label_map, wording = load_label_map(name), load_wording(name)
    console = open_console()
    table = Table(box=None, pad_edge=False, show_edge=False)
    for head in ("id", *(["", "colour"] if console.is_terminal else ["colour"]), "name"):
        table.add_column(head, justify="right" if head == "id" else "left", no_wrap=True)
    has_ids = label_map.remap is not None
    if has_ids:
        table.add_column("truth ids", justify="right")
    if any(_words(wording, at) for at in range(label_map.num_classes)):
        table.add_column("in other words", overflow="fold")
    for at, (own, colour) in enumerate(zip(label_map.names, label_map.colours, strict=True)):
        code = _hex(colour)
        swatch = [Text(_SWATCH, style=f"on {code}")] if console.is_terminal else []
        cells: list[str | Text] = [str(at), *swatch, code, Text(printable(own))]
        cells += [", ".join(map(str, _truth_ids(label_map, at)))] if has_ids else []
        if len(cells) < len(table.columns):
            cells.append(Text(printable("; ".join(_words(wording, at)))))
        table.add_row(*cells)
    print_lines(console, table)
    count = label_map.num_classes
    click.echo(f"{count} class{'' if count == 1 else 'es'}; void is {label_map.ignore_index} in masks")


def as_facts(name: str) -> dict[str, Any]:
    """The same in plain values."""
    label_map, wording = load_label_map(name), load_wording(name)
    classes = [
        {
            "id": at,
            "name": own,
            "colour": _hex(colour),
            "synonyms": [*wording.phrases[at][1:]],
            "descriptions": [*wording.descriptions[at]],
            "truth_ids": _truth_ids(label_map, at),
        }
        for at, (own, colour) in enumerate(zip(label_map.names, label_map.colours, strict=True))
    ]
    return {"name": name, "ignore_index": label_map.ignore_index, "classes": classes}


def built_in() -> dict[str, int]:
    """The label maps that come with the program, and how many classes each has."""
    names = sorted(path.stem for path in BUILT_IN.glob("*.yaml"))
    return {name: load_label_map(name).num_classes for name in names}


def print_built_in() -> None:
    """Their names, a line each."""
    for name, count in built_in().items():
        click.echo(f"{name:<22}{count:>4} classes")


def print_proposal(found: Proposal, *, by_text: bool) -> None:
    """How many classes go where by what, and what is to be done; on standard error, beside the file."""
    by = [row.by for row in found.rows]
    counts = [(by.count("name"), "by name"), (by.count("synonym"), "by a synonym")]
    counts += [(by.count("text"), "by text")] if by_text else []
    none = sum(row.target is None for row in found.rows)
    told = ", ".join(f"{count} {how}" for count, how in counts)
    click.echo(f"{len(found.rows)} classes: {told}, {none} to none", err=True)
    if not by_text:
        click.echo("no language model was given, so names alone were compared (--language-model)", err=True)
    if found.unmet:
        more = f" and {len(found.unmet) - _NAMED} more" if len(found.unmet) > _NAMED else ""
        for line in fact("nothing goes to ", printable(", ".join(found.unmet[:_NAMED]) + more), 16):
            click.echo(line, err=True)
    where = found.output or "it"
    click.echo(
        f"review {where}: correct each row, set reviewed: true, and give it to run as --merge", err=True
    )


def _words(wording: Wording, at: int) -> list[str]:
    own, *others = wording.phrases[at]
    return [*others, *(each.removeprefix(f"{spoken(own)}, ") for each in wording.descriptions[at])]


def _truth_ids(label_map: LabelMap, at: int) -> list[int]:
    return [truth for truth, to in label_map.known_ids.items() if to == at]


def _hex(colour: tuple[int, ...]) -> str:
    return "#{:02x}{:02x}{:02x}".format(*colour)
