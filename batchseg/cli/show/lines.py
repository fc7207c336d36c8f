"""Lines of a table for a terminal or a log: at most 100 columns wide, and no blanks at their ends."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from rich.cells import cell_len, set_cell_size
from rich.console import Console, RenderableType
from rich.text import Text

from batchseg.cli.show.console import printable

WIDTH = 100
GAP = "  "
ELLIPSIS = "…"
_NAMES = {"giou": "gIoU", "ciou": "cIoU", "no_target_accuracy": "N-acc"}


def print_lines(console: Console, renderable: RenderableType) -> None:
    """What rich would print, without the blanks that fill its last column."""
    with console.capture() as captured:
        console.print(renderable)
    for line in captured.get().splitlines():
        console.print(Text.from_ansi(line.rstrip()), soft_wrap=True)


def metric_name(name: str) -> str:
    """As the field writes it, where that is otherwise than in the tables."""
    return _NAMES.get(name, name)


def shortened(text: str, width: int) -> str:
    """Without its middle where it is wider: of a path both ends tell more."""
    text = printable(text)
    if cell_len(text) <= width:
        return text
    head = (width - 1) // 2
    return f"{set_cell_size(text, head).rstrip()}{ELLIPSIS}{_end(text, width - 1 - head)}"


def fact(name: str, text: str, indent: int, width: int = WIDTH) -> Iterator[str]:
    """A name and what there is to say of it, on as many lines as it takes; nothing is left out."""
    first = f"{name:<{indent}}"
    for line in _wrapped(printable(text), width - indent):
        yield f"{first}{line}".rstrip()
        first = " " * indent


def columns(
    heads: Sequence[str], rows: Iterable[Sequence[str]], indent: int, width: int = WIDTH
) -> Iterator[str]:
    """A text and then numbers; the text is shortened where a line would be too wide."""
    cells = [list(heads), *(list(row) for row in rows)]
    numbers = [max(cell_len(row[at]) for row in cells) for at in range(1, len(heads))]
    room = width - indent - sum(numbers) - len(GAP) * len(numbers)
    texts = [shortened(row[0], room) for row in cells]
    widest = max(cell_len(text) for text in texts)
    for text, row in zip(texts, cells, strict=True):
        right = [" " * (most - cell_len(cell)) + cell for most, cell in zip(numbers, row[1:], strict=True)]
        yield (" " * indent + GAP.join([set_cell_size(text, widest), *right])).rstrip()


def _wrapped(text: str, width: int) -> Iterator[str]:
    """At blanks, and within a word that is wider than a line."""
    line = ""
    for word in text.split(" "):
        if line and cell_len(f"{line} {word}") > width:
            yield line
            line = word
        else:
            line = f"{line} {word}" if line else word
        while cell_len(line) > width:
            head = _start(line, width)
            yield head
            line = line[len(head) :]
    yield line


def _start(text: str, width: int) -> str:
    """As much of a text as there is room for."""
    while cell_len(text) > width:
        text = text[: max(1, len(text) - max(1, (cell_len(text) - width) // 2))]
    return text


def _end(text: str, width: int) -> str:
    while cell_len(text) > width:
        text = text[1:]
    return text
